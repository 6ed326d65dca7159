"""all-MiniLM-L6-v2 by NumPy and the tokenizers library, independent of the product: what bars compare our sentence
vectors and our retrieval with. f32, padding masked, mean of the last hidden states, length 1.

needs: numpy, tokenizers
"""
import json
import math
import pathlib
import struct

import numpy as np
from tokenizers import Tokenizer


def read_safetensors(path):
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    tensors = {}
    for name, t in header.items():
        if name != "__metadata__" and t["dtype"] == "F32":
            begin, end = t["data_offsets"]
            tensors[name] = np.frombuffer(raw[8 + size + begin : 8 + size + end], "<f4").reshape(t["shape"])
    return tensors


# NumPy has no erf: a table with linear interpolation, whose error is below 1e-6 in f32.
STEPS = 20_000  # a unit
ERF = np.array([math.erf(i / STEPS) for i in range(-6 * STEPS, 6 * STEPS + 2)])
ERF, SLOPE = ERF[:-1].astype(np.float32), np.diff(ERF).astype(np.float32)


def erf(x):
    at = (np.clip(x, -5.99, 5.99) + np.float32(6)) * np.float32(STEPS)
    place = at.astype(np.int32)
    return ERF[place] + SLOPE[place] * (at - place)


class MiniLm:
    def __init__(self, directory):
        directory = pathlib.Path(directory)
        config = json.loads((directory / "config.json").read_text())
        self.heads, self.layers = config["num_attention_heads"], config["num_hidden_layers"]
        self.epsilon = config["layer_norm_eps"]
        self.window = json.loads((directory / "sentence_bert_config.json").read_text())["max_seq_length"]
        weights = read_safetensors(directory / "model.safetensors")
        self.w = {name.removeprefix("bert."): value for name, value in weights.items()}
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.window)

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.epsilon))
        return x * self.w[name + ".weight"] + self.w[name + ".bias"]

    def attention(self, x, mask, layer):
        batch, time, hidden = x.shape
        split = lambda t: t.reshape(batch, time, self.heads, hidden // self.heads).transpose(0, 2, 1, 3)
        q, k, v = (split(self.linear(x, f"{layer}.attention.self.{n}")) for n in ("query", "key", "value"))
        scores = q @ k.transpose(0, 1, 3, 2) / np.float32(math.sqrt(hidden // self.heads)) + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores = scores / scores.sum(-1, keepdims=True)
        mixed = (scores @ v).transpose(0, 2, 1, 3).reshape(batch, time, hidden)
        return self.norm(x + self.linear(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")

    def batch(self, ids):
        time = max(map(len, ids))
        padded = np.array([i + [0] * (time - len(i)) for i in ids])
        kept = np.array([[1] * len(i) + [0] * (time - len(i)) for i in ids], np.float32)
        x = (self.w["embeddings.word_embeddings.weight"][padded]
             + self.w["embeddings.position_embeddings.weight"][:time]
             + self.w["embeddings.token_type_embeddings.weight"][0])
        x = self.norm(x, "embeddings.LayerNorm")
        mask = (1 - kept)[:, None, None, :] * np.float32(-1e9)
        for i in range(self.layers):
            layer = f"encoder.layer.{i}"
            x = self.attention(x, mask, layer)
            h = self.linear(x, f"{layer}.intermediate.dense")
            h = h * np.float32(0.5) * (1 + erf(h / np.float32(math.sqrt(2))))
            x = self.norm(x + self.linear(h, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        mean = (x * kept[:, :, None]).sum(1) / kept.sum(1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def encode(self, texts, rows=16):
        """f32 [texts, dim]; texts beyond the window are cut, as the reference cuts them."""
        ids = [self.tokenizer.encode(t).ids for t in texts]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out = np.zeros((len(ids), self.w["embeddings.LayerNorm.weight"].size), np.float32)
        for begin in range(0, len(order), rows):
            some = order[begin : begin + rows]
            out[some] = self.batch([ids[i] for i in some])
        return out
