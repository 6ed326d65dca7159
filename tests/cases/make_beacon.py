#!/usr/bin/env python3
"""Writes beacon weights that change nothing (rank 1, zero) for the model a corpus was learned with, so that cases need no
training run. Slots made with them are poor, which is all the same here.

usage: make_beacon.py CORPUS_DIRECTORY OUT.safetensors [--other-model]
"""
import json
import pathlib
import sqlite3
import struct
import sys

HIDDEN, LAYERS = 576, 30  # SmolLM2-135M
ROWS = {"q_proj": (576, 576), "k_proj": (192, 576), "v_proj": (192, 576)}


def main():
    corpus, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    rows = sqlite3.connect(corpus / "corpus.db").execute("SELECT settings FROM generations ORDER BY number DESC LIMIT 1")
    settings = json.loads(rows.fetchone()[0])
    model = "f" * 32 if "--other-model" in sys.argv else settings["model"]
    tensors = {"slot.vectors": ([2, HIDDEN], bytes(2 * HIDDEN * 4)), "slot.pool": ([1], struct.pack("<f", 1.0))}
    for layer in range(LAYERS):
        for name, (o, i) in ROWS.items():
            tensors[f"lora.layers.{layer}.{name}.a"] = ([1, i], bytes(i * 4))
            tensors[f"lora.layers.{layer}.{name}.b"] = ([o, 1], bytes(o * 4))
    header = {"__metadata__": {"format": "offbook.compressor.1", "method": "beacon", "base.model": model,
                               "base.family": settings["model_family"], "recipe": "", "tokens_seen": "0",
                               "settings": json.dumps({"rank": 1, "alpha": 1, "ratios": [8, 16]}), "held_out": "{}"}}
    at, blob = 0, b""
    for name in sorted(tensors):
        shape, data = tensors[name]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
        blob += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    out.write_bytes(struct.pack("<Q", len(text)) + text + blob)


if __name__ == "__main__":
    main()
