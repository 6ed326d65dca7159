"""Writes the seed corpora of the fuzz targets gguf, safetensors, model_config and peft_config.

    python3 tools/golden/model_fuzz_seeds.py tests/fuzz/corpus

Needs only the standard library. The model is a Llama of two layers whose weights count upwards.
"""
import json
import struct
import sys
from pathlib import Path

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCAB = 8, 2, 2, 1, 4, 16, 6
LINEAR = {"attn_q": (HEADS * HEAD_DIM, HIDDEN), "attn_k": (KV_HEADS * HEAD_DIM, HIDDEN),
          "attn_v": (KV_HEADS * HEAD_DIM, HIDDEN), "attn_output": (HIDDEN, HEADS * HEAD_DIM),
          "ffn_gate": (FFN, HIDDEN), "ffn_up": (FFN, HIDDEN), "ffn_down": (HIDDEN, FFN)}


def text(s):
    s = s.encode()
    return struct.pack("<Q", len(s)) + s


def value(v):
    if isinstance(v, bool):
        return struct.pack("<I?", 7, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, str):
        return struct.pack("<I", 8) + text(v)
    kind = {str: 8, int: 5, float: 6}[type(v[0])]
    return struct.pack("<IIQ", 9, kind, len(v)) + b"".join(value(x)[4:] for x in v)


def gguf(metadata, tensors):
    """tensors: name -> (row-major shape, ggml type, bytes)."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, v in metadata.items():
        out += text(key) + value(v)
    offset = 0
    for name, (shape, kind, data) in tensors.items():
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, offset)
        offset += (len(data) + 31) // 32 * 32
    for _, _, data in tensors.values():
        out += b"\0" * (-len(out) % 32) + data
    return out + b"\0" * (-len(out) % 32)


def f32(shape, start=0.0):
    count = 1
    for size in shape:
        count *= size
    return shape, 0, struct.pack(f"<{count}f", *(start + i for i in range(count)))


def llama_metadata():
    return {"general.architecture": "llama", "llama.embedding_length": HIDDEN, "llama.block_count": LAYERS,
            "llama.feed_forward_length": FFN, "llama.context_length": 64, "llama.attention.head_count": HEADS,
            "llama.attention.head_count_kv": KV_HEADS, "llama.attention.layer_norm_rms_epsilon": 1e-5,
            "llama.rope.freq_base": 1e4, "llama.rope.dimension_count": HEAD_DIM}


def tokenizer_metadata(kind):
    out = {"tokenizer.ggml.model": kind, "tokenizer.ggml.tokens": ["<s>", "a", "b", "ab", "c", "abc"],
           "tokenizer.ggml.token_type": [3, 1, 1, 1, 1, 1], "tokenizer.ggml.bos_token_id": 0,
           "tokenizer.ggml.add_bos_token": True, "tokenizer.chat_template": "{{ x }}"}
    if kind == "gpt2":
        return out | {"tokenizer.ggml.pre": "smollm", "tokenizer.ggml.merges": ["a b", "ab c"]}
    return out | {"tokenizer.ggml.scores": [0.0, -1.0, -2.0, -3.0, -4.0, -5.0]}


def llama_tensors():
    out = {"token_embd.weight": f32((VOCAB, HIDDEN)), "output_norm.weight": f32((HIDDEN,))}
    for i in range(LAYERS):
        out |= {f"blk.{i}.{name}.weight": f32(shape) for name, shape in LINEAR.items()}
        out |= {f"blk.{i}.{name}.weight": f32((HIDDEN,)) for name in ("attn_norm", "ffn_norm")}
    return out


def safetensors(tensors, metadata=None):
    """tensors: name -> (dtype, shape, bytes)."""
    header, data = {"__metadata__": metadata or {"format": "pt"}}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


def peft():
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none",
              "rank_pattern": {}, "use_rslora": False, "base_model_name_or_path": "tiny"}
    name = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    pairs = {name.format(i, side): ("F32", shape, f32(shape)[2])
             for i in range(LAYERS) for side, shape in (("A", (2, HIDDEN)), ("B", (HEADS * HEAD_DIM, 2)))}
    return json.dumps(config).encode() + b"\0" + safetensors(pairs)


def decoder_config(kind, **more):
    return json.dumps({"model_type": kind, "vocab_size": VOCAB, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
                       "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "intermediate_size": FFN,
                       "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4} | more).encode()


def seeds():
    blocks = {"q8_0": (8, 32, 34), "q4_0": (2, 32, 18), "q4_1": (3, 32, 20), "q5_0": (6, 32, 22), "q5_1": (7, 32, 24),
              "q4_k": (12, 256, 144), "q5_k": (13, 256, 176), "q6_k": (14, 256, 210), "f16": (1, 1, 2), "bf16": (30, 1, 2)}
    every_type = {name: ((2, elems), kind, bytes(2 * size)) for name, (kind, elems, size) in blocks.items()}
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 32}
    bert = {"model_type": "bert", "vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "max_position_embeddings": 32, "hidden_act": "gelu"}
    return {
        "gguf": {
            "llama": gguf(llama_metadata() | tokenizer_metadata("gpt2"), llama_tensors()),
            "sentencepiece": gguf(llama_metadata() | tokenizer_metadata("llama"), {"token_embd.weight": f32((6, 8))}),
            "every_type": gguf({"general.alignment": 32}, every_type),
            "rope_freqs": gguf(llama_metadata(), {"rope_freqs.weight": f32((2,), 1), "token_embd.weight": f32((6, 8))}),
            "yarn": gguf(llama_metadata() | {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0},
                         {"token_embd.weight": f32((6, 8))}),
        },
        "safetensors": {
            "types": safetensors({"a": ("F32", (2, 2), bytes(16)), "b": ("BF16", (3,), bytes(6)), "c": ("U8", (1,), b"x"),
                                  "d": ("I64", (0, 4), b""), "e": ("F8_E4M3", (2,), bytes(2)), "f": ("F32", (), bytes(4))}),
            "header_only": json.dumps({"t": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}}).encode(),
        },
        "model_config": {
            "llama3": decoder_config("llama", rope_scaling=llama3),
            "yarn": decoder_config("qwen3", rope_parameters=yarn, head_dim=16),
            "window": decoder_config("mistral", sliding_window=16,
                                     layer_types=["full_attention", "sliding_attention"]),
            "qwen2": decoder_config("qwen2", sliding_window=16, use_sliding_window=True, max_window_layers=1),
            "bert": json.dumps(bert).encode(),
        },
        "peft_config": {"adapter": peft()},
    }


def main():
    for target, files in seeds().items():
        folder = Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
