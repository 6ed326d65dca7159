"""Golden values for src/model/golden_test.cc from independent implementations: logits of SmolLM2 by Hugging
Face transformers in f32 with the GGUF's dequantised weights, logits of tiny random Llama, Mistral, Qwen2 and
Qwen3 models, and sentence vectors by sentence-transformers.

usage: tools/golden/model.py MODELS OUT     MODELS: the model directory; OUT: tests/golden/model
needs: torch, transformers, sentence-transformers, safetensors, gguf
"""
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file

TEXT = ("The committee met on Tuesday to discuss class sizes in primary schools. Several members said that thirty "
        "pupils were too many for one teacher, and asked the minister what a lower limit would cost. She answered "
        "that the figures would be published in March, after the review of school buildings had been completed. "
        "def area(r):\n    return 3.14159 * r ** 2\n\nNaïve café — 42 % of 1,234 people agreed: 你好 🙂")
SENTENCES = ["Class sizes were the main subject of the meeting.", "Prices rose by four per cent last year.",
             "a", "How many pupils are in a class?", "The quick brown fox jumps over the lazy dog. " * 8,
             "Naïve café, Ελληνικά, 你好", "int main() { return 0; }", "The minister spoke about schools and teachers."]
KEPT_IDS = 1500  # of the vocabulary: every 33rd


def gguf_state(path, config):
    """Weights of a llama-architecture GGUF under Hugging Face's names, q and k in half-split order."""
    reader = GGUFReader(path)
    raw = {t.name: dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}

    def half_split(w, heads):
        rows, cols = w.shape
        return w.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)

    state = {"model.embed_tokens.weight": raw["token_embd.weight"], "model.norm.weight": raw["output_norm.weight"]}
    names = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    for layer in range(config.num_hidden_layers):
        for ours, theirs in names.items():
            w = raw[f"blk.{layer}.{ours}.weight"]
            if ours == "attn_q":
                w = half_split(w, config.num_attention_heads)
            if ours == "attn_k":
                w = half_split(w, config.num_key_value_heads)
            state[f"model.layers.{layer}.{theirs}.weight"] = w
    return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}


def smollm2(models, out):
    path = models / "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
    config = transformers.LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=49152, max_position_embeddings=8192, rope_theta=100000.0, rms_norm_eps=1e-5,
        tie_word_embeddings=True, attn_implementation="eager")
    model = transformers.LlamaForCausalLM(config)
    missing, unexpected = model.load_state_dict(gguf_state(path, config), strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from smollm2_tokenizer import tokenizer
    ids = tokenizer(path).encode(TEXT, add_special_tokens=False).ids
    with torch.no_grad():
        logits = model.float().eval()(torch.tensor([ids])).logits[0].numpy()
    rows = np.array([0, 1, 17, len(ids) // 2, len(ids) - 1], np.int32)
    kept = np.arange(0, 49152, 33, dtype=np.int32)[:KEPT_IDS]
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits[:-1]), torch.tensor(ids[1:]), reduction="none")
    save_file({"ids": np.array(ids, np.int32), "rows": rows, "vocab": kept,
               "logits": np.ascontiguousarray(logits[rows][:, kept], np.float32),
               "losses": loss.numpy().astype(np.float32)}, out / "smollm2.safetensors")


def tiny(kind, out):
    """A random two-layer model as a Hugging Face directory, and its logits on 40 tokens."""
    torch.manual_seed(7)
    shape = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, vocab_size=60, max_position_embeddings=256, attn_implementation="eager")
    if kind == "llama3":
        config = transformers.LlamaConfig(**shape, tie_word_embeddings=False, rope_theta=10000.0, rope_scaling={
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32})
        model = transformers.LlamaForCausalLM(config)
    elif kind == "mistral":
        config = transformers.MistralConfig(**shape, sliding_window=6, head_dim=8, tie_word_embeddings=False)
        model = transformers.MistralForCausalLM(config)
    elif kind == "qwen2":
        config = transformers.Qwen2Config(**shape, tie_word_embeddings=True)
        model = transformers.Qwen2ForCausalLM(config)
    else:
        config = transformers.Qwen3Config(**shape, head_dim=16, tie_word_embeddings=True)
        model = transformers.Qwen3ForCausalLM(config)
    for name, p in model.named_parameters():
        torch.nn.init.normal_(p, 1.0 if "norm" in name else 0.0, 0.2)
    model = model.float().eval()
    ids = torch.randint(0, 60, (1, 40))
    with torch.no_grad():
        logits = model(ids).logits[0].numpy()
    folder = out / kind
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.numpy().copy() for k, v in model.state_dict().items()
             if not (k == "lm_head.weight" and config.tie_word_embeddings)}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1, default=str))
    save_file({"ids": ids[0].numpy().astype(np.int32), "logits": logits.astype(np.float32)},
              folder / "golden.safetensors")


def minilm(models, out):
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(str(models / "all-minilm-l6-v2"), device="cpu")
    vectors = model.encode(SENTENCES, normalize_embeddings=True).astype(np.float32)
    save_file({"vectors": vectors}, out / "minilm.safetensors")
    (out / "minilm.json").write_text(json.dumps(SENTENCES, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    models, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    smollm2(models, out)
    for kind in ("llama3", "mistral", "qwen2", "qwen3"):
        tiny(kind, out)
    minilm(models, out)
