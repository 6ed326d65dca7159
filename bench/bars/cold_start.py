#!/usr/bin/env python3
"""Bar: from the start of `ask` to the first token of its answer, on a GPU, files in the page cache (issue 6).

usage: bench/bars/cold_start.py [--offbook build/cuda/apps/offbook/offbook] [--device cuda] [--shapes FOLDER]
                                [--only small|7b] [--make] [--quick] [--sabotage]

A corpus of the repository's examples is read and indexed first; then the same question is asked in processes of their
own: the small model (SmolLM2-135M, 4-bit GGUF) must answer within 2 s, a model of LLaMA2-7B's shape (random bf16
weights, 13.5 GB of safetensors, the small model's tokenizer and so a vocabulary of 49,152) within 6 s. Both figures
include opening the GPU, both models, the search and the prompt of passages. Medians of 5 (--quick: 3) after one more.
--make only writes the shape's files. --sabotage counts three starts as one, which must fall short.

Exit codes: 0 both bars hold, 1 one falls short, 3 no GPU here (prints what would run), 4 program or models missing.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUESTION = "What does the office in Washington do?"
BARS = {"small": 2.0, "7b": 6.0}
HIDDEN, LAYERS, FFN, HEADS = 4096, 32, 11008, 32


def gguf_metadata(path):
    """All keys and values in front of a GGUF file's tensors."""
    formats = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    with open(path, "rb") as f:
        def text():
            return f.read(struct.unpack("<Q", f.read(8))[0]).decode("utf-8", "replace")

        def value(kind):
            if kind == 8:
                return text()
            if kind == 9:
                element, count = struct.unpack("<IQ", f.read(12))
                return [value(element) for _ in range(count)]
            form = "<" + formats[kind]
            return struct.unpack(form, f.read(struct.calcsize(form)))[0]

        _, _, _, entries = struct.unpack("<4sIQQ", f.read(24))
        return {text(): value(struct.unpack("<I", f.read(4))[0]) for _ in range(entries)}


def write_tokenizer(gguf, out):
    """The GGUF's byte-level BPE as a tokenizer.json; what is not in the GGUF stands as in the fixture of its family."""
    metadata = gguf_metadata(gguf)
    tokens = metadata["tokenizer.ggml.tokens"]
    form = json.loads((ROOT / "tests/golden/tokenizers/smollm.json").read_text())
    pairs = isinstance(form["model"]["merges"][0], list)
    merges = metadata["tokenizer.ggml.merges"]
    form["model"]["vocab"] = {token: i for i, token in enumerate(tokens)}
    form["model"]["merges"] = [m.split(" ", 1) for m in merges] if pairs else merges
    control = [i for i, kind in enumerate(metadata["tokenizer.ggml.token_type"]) if kind == 3]
    form["added_tokens"] = [{**form["added_tokens"][0], "id": i, "content": tokens[i], "special": True} for i in control]
    out.write_text(json.dumps(form, ensure_ascii=False))
    return len(tokens)


def write_shape(folder, gguf):
    folder.mkdir(parents=True, exist_ok=True)
    vocab = write_tokenizer(gguf, folder / "tokenizer.json")
    shapes = {"model.embed_tokens.weight": (vocab, HIDDEN), "lm_head.weight": (vocab, HIDDEN),
              "model.norm.weight": (HIDDEN,)}
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        shapes |= {at + f"{norm}_layernorm.weight": (HIDDEN,) for norm in ("input", "post_attention")}
        shapes |= {at + f"self_attn.{m}_proj.weight": (HIDDEN, HIDDEN) for m in "qkvo"}
        shapes |= {at + f"mlp.{m}_proj.weight": (FFN, HIDDEN) for m in ("gate", "up")}
        shapes[at + "mlp.down_proj.weight"] = (HIDDEN, FFN)
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    source = random.Random(1)
    numbers = [source.getrandbits(1) << 15 | 119 + source.getrandbits(1) << 7 | source.getrandbits(7)
               for _ in range(1 << 20)]  # ±2^-8 … 2^-6
    block = struct.pack(f"<{len(numbers)}H", *numbers) * 16
    ones = struct.pack("<H", 0x3F80) * HIDDEN
    with open(folder / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for entry in header.values():
            left = entry["data_offsets"][1] - entry["data_offsets"][0]
            while left > 0:
                left -= f.write(memoryview(ones if len(entry["shape"]) == 1 else block)[:left])
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab, "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
        "intermediate_size": FFN, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu"}))


def seconds_to_first_token(command):
    """Evidence is shown first, then the answer as it comes."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, first = b"", None
        while chunk := os.read(process.stdout.fileno(), 1 << 16):
            out += chunk
            if first is None and re.search(rb'\n    "[^\n]*"\n\n.', out, re.S):
                first = time.perf_counter() - began
        errors = process.stderr.read()
    if process.returncode != 0 or first is None:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {process.returncode}\n{(out + errors).decode()[-800:]}")
    return first


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offbook", type=pathlib.Path, default=ROOT / "build/cuda/apps/offbook/offbook")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "offbook_shapes")
    parser.add_argument("--only", choices=BARS)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sabotage", action="store_true")
    options = parser.parse_args()
    models = pathlib.Path(os.environ.get("OFFBOOK_MODELS", pathlib.Path.home() / ".local/share/offbook/models"))
    gguf = next(iter(models.glob("smollm2-135m-instruct/*.gguf")), None)
    shape = options.shapes / "llama2_7b"
    if gguf is None or not (options.make or options.offbook.is_file()):
        print(f"needs the default models in {models} and {options.offbook}: cmake --preset cuda && ninja -C build/cuda offbook")
        return 4
    if options.make:
        write_shape(shape, gguf)
        return 0
    if options.device == "cuda" and (shutil.which("nvidia-smi") is None
                                     or subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode != 0):
        print(f"no GPU here; on an H200 this asks one question in fresh processes: bars {BARS} s")
        return 3
    short = 0
    with tempfile.TemporaryDirectory() as work:
        for name, bar in BARS.items():
            if options.only not in (None, name):
                continue
            program = [options.offbook, "--quiet", "--corpora", work, "--device", options.device]
            if name == "7b":
                if not (shape / "config.json").is_file():
                    write_shape(shape, gguf)
                program += ["--model", shape, "--chat-template", "chatml"]
            subprocess.run(program + ["ingest", ROOT / "examples/documents", "--into", name], check=True)
            subprocess.run(program + ["index", name], check=True)
            ask = program + ["ask", name, QUESTION, "--max-tokens", "16"]
            runs = [seconds_to_first_token(ask) for _ in range((3 if options.quick else 5) + 1)]
            figure = statistics.median(runs[1:]) * (3 if options.sabotage else 1)
            short += figure > bar
            print(f"{name}: first {runs[0]:.2f} s, then {', '.join(f'{s:.2f}' for s in runs[1:])}: "
                  f"median {figure:.2f} s, bar {bar:g} s", flush=True)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
