#!/usr/bin/env python3
"""Bars: the sentence encoder against sentence-transformers, and LoRA training against PyTorch, on the CPU, in turn.

    bench/bars/cpu_peers.py --offbook build/release/apps/offbook/offbook --python PEER_VENV/bin/python [--figure encoder]

With --llama and --minilm-gguf the encoder also against llama.cpp's embedding. The peers' interpreter has torch, transformers and sentence-transformers. The encoder reads the texts of `offbook bench`
(192 of 16 to 256 pieces) with MiniLM, batches of 32 and 64; training is a step of 4 × 512 tokens of SmolLM2-135M's shape
(random weights: time does not depend on them) with a LoRA of rank 8 on q, k, v, o. Each peer runs in f32 and bf16, with
--compile also through torch.compile; pairs are taken with the fastest. Bars: ≥ 2× and ≥ 1.4× the peer's tokens/s, and
training ≥ 55% of the bf16 peak that offbook measures beside it, counted as 4 N + attention. Exit: 0 every bar holds, 1 one
falls short, 4 peer or model missing. --quick takes two pairs; --sabotage runs offbook on AVX2 kernels with one thread,
which must fall short.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

FIGURES = {"encoder": ("sentence encoder", 2.0, None), "training": ("LoRA training", 1.4, 0.55)}

PEER = '''
import json, sys, time
import torch
figure, variant, threads, runs, model = sys.argv[1:6]
torch.set_num_threads(int(threads))

def times(work):
    work()
    out = []
    for _ in range(int(runs)):
        began = time.perf_counter()
        work()
        out.append(time.perf_counter() - began)
    return sorted(out)

def encoder():
    from sentence_transformers import SentenceTransformer
    kind = torch.bfloat16 if variant.startswith("bf16") else torch.float32
    st = SentenceTransformer(model, device="cpu", model_kwargs={"dtype": kind})
    if variant.endswith("/compiled"):
        st[0].auto_model = torch.compile(st[0].auto_model, dynamic=True)
    sentence = "the committee met on monday and decided that the budget would be published in march . "
    texts = [sentence * (1 + (i * 7) % 14) for i in range(192)]
    pieces = sum(min(len(ids), st.max_seq_length) for ids in st.tokenizer(texts)["input_ids"])
    seconds = times(lambda: st.encode(texts, batch_size=int(variant.split("/")[1]), show_progress_bar=False))
    return pieces / seconds[len(seconds) // 2]

def training():
    from transformers import LlamaConfig, LlamaForCausalLM
    config = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                         num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
                         tie_word_embeddings=True, rope_theta=100000.0)
    config._attn_implementation = "sdpa"
    kind = torch.bfloat16 if variant.startswith("bf16") else torch.float32
    net = LlamaForCausalLM(config).to(kind)
    net.requires_grad_(False)

    class Adapted(torch.nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base
            self.a = torch.nn.Parameter(torch.randn(8, base.in_features) * base.in_features ** -0.5)
            self.b = torch.nn.Parameter(torch.zeros(base.out_features, 8))
        def forward(self, x):
            low = torch.nn.functional.linear(x, self.a.to(x.dtype))
            return self.base(x) + 2.0 * torch.nn.functional.linear(low, self.b.to(x.dtype))

    for layer in net.model.layers:
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(layer.self_attn, name, Adapted(getattr(layer.self_attn, name)))
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    ids = (torch.arange(4 * 512).reshape(4, 512) * 7919 + 11) % 49152
    step_net = torch.compile(net) if variant.endswith("/compiled") else net

    def step():
        loss = step_net(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    seconds = times(step)
    return 4 * 512 / seconds[len(seconds) // 2]

print(json.dumps(encoder() if figure == "encoder" else training()))
'''


def llama_rate(args, kind):
    """llama.cpp over one text of as many pieces as the texts have on average."""
    model = args.work / f"minilm-{kind}.gguf"
    if not model.exists():
        args.work.mkdir(parents=True, exist_ok=True)
        subprocess.run([args.llama / "llama-quantize", args.minilm_gguf, model, kind], check=True, capture_output=True)
    text = subprocess.run([args.llama / "llama-bench", "-m", model, "-t", str(args.threads), "-r", "20", "-o", "json", "-p", "112",
                           "-n", "0", "-embd", "1"], check=True, capture_output=True, text=True).stdout
    return json.loads(text)[0]["avg_ts"]


def peer_rate(args, figure, variant):
    if variant.startswith("llama.cpp/"):
        return llama_rate(args, variant.split("/")[1])
    done = subprocess.run([args.python, "-c", PEER, figure, variant, str(args.threads), str(args.runs), str(args.minilm)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        print(f"peer {variant}: {done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode}")
        return 0.0
    return json.loads(done.stdout.strip().splitlines()[-1])


def our_rate(args, figure):
    """Tokens/s and the share of the machine's peak."""
    slow = ["--device", "avx2", "--threads", "1"] if args.sabotage else ["--threads", str(args.threads)]
    name = FIGURES[figure][0]
    text = subprocess.run([args.offbook, *slow, "--json", "bench", "--only", name, "--runs", str(args.runs)],
                          check=True, capture_output=True, text=True).stdout
    speed = next(s for s in json.loads(text)["speeds"] if s["name"] == name)
    return speed["rate"], speed["share_of_peak"]


def variants_of(args, figure):
    plain = [f"{kind}/{batch}" for kind in ("f32", "bf16") for batch in (32, 64)] if figure == "encoder" else ["f32", "bf16"]
    if figure == "encoder" and args.minilm_gguf:
        plain += [f"llama.cpp/{kind}" for kind in ("F32", "BF16", "Q8_0")]
    return plain + ([v + "/compiled" for v in plain if "llama" not in v] if args.compile else [])


def measure(args, figure):
    name, bar, share_bar = FIGURES[figure]
    first = {v: peer_rate(args, figure, v) for v in variants_of(args, figure)}
    best = max(first, key=first.get)
    if first[best] == 0:
        sys.exit(4)
    print(f"{name}: peer by variant {({k: round(v, 1) for k, v in first.items()})}")
    pairs, shares = [], []
    for _ in range(2 if args.quick else args.pairs):
        rate, share = our_rate(args, figure)
        shares.append(share)
        pairs.append((rate, peer_rate(args, figure, best)))
    ratio = statistics.median(a / b for a, b in pairs)
    share = statistics.median(shares)
    print(f"  pairs with {best}: " + ", ".join(f"{a:.1f} / {b:.1f}" for a, b in pairs))
    held = ratio >= bar and (share_bar is None or share >= share_bar)
    also = "" if share_bar is None else f", bar {100 * share_bar:.0f}%"
    print(f"  {ratio:.2f} x the peer's tokens/s, bar {bar} x; {100 * share:.1f}% of the peak{also}: "
          f"{'holds' if held else 'FALLS SHORT'}", flush=True)
    return held


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offbook", type=pathlib.Path, default="build/release/apps/offbook/offbook")
    parser.add_argument("--python", default=os.environ.get("OFFBOOK_PEER_PYTHON", "python3"))
    parser.add_argument("--figure", action="append", choices=list(FIGURES), help="default: all")
    parser.add_argument("--llama", type=pathlib.Path, help="folder of llama-bench and llama-quantize")
    parser.add_argument("--minilm-gguf", type=pathlib.Path, help="MiniLM as its convert_hf_to_gguf.py --outtype f32 writes it")
    parser.add_argument("--work", type=pathlib.Path, default="build/peer-models")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3, help="of each process; the median counts")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="peers also through torch.compile")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sabotage", action="store_true")
    args = parser.parse_args()
    data = pathlib.Path(os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share")
    args.minilm = pathlib.Path(os.environ.get("OFFBOOK_MODELS") or data / "offbook/models") / "all-minilm-l6-v2"
    if not (args.minilm / "config.json").exists():
        print(f"missing: {args.minilm}")
        return 4
    held = [measure(args, figure) for figure in (args.figure or FIGURES)]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
