"""Prints the golden values of src/model/import/golden_test.cc from the two default models.

    python3 tools/golden/import_golden.py MODELS_DIRECTORY

Needs numpy and safetensors. The GGUF file is read by hand here: offsets, order of q and k rows and
first values are found without any code of offbook.
"""
import struct
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

SCALAR = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def read(data):
    at = 8

    def take(fmt):
        nonlocal at
        out = struct.unpack_from("<" + fmt, data, at)[0]
        at += struct.calcsize("<" + fmt)
        return out

    def string():
        nonlocal at
        size = take("Q")
        at += size
        return data[at - size:at]

    def skip(kind):
        if kind == 8:
            string()
        elif kind == 9:
            sub, count = take("I"), take("Q")
            for _ in range(count):
                skip(sub)
        else:
            take(SCALAR[kind])

    tensors, pairs = take("Q"), take("Q")
    for _ in range(pairs):
        string()
        skip(take("I"))
    infos = {}
    for _ in range(tensors):
        name = string().decode()
        dims = [take("Q") for _ in range(take("I"))]
        infos[name] = (dims[::-1], take("I"), take("Q"))
    base = (at + 31) // 32 * 32
    return {name: (shape, kind, base + offset) for name, (shape, kind, offset) in infos.items()}


def main():
    models = Path(sys.argv[1])
    data = (models / "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf").read_bytes()
    infos = read(data)
    shape, kind, offset = infos["blk.7.attn_q.weight"]
    rows = np.frombuffer(data, np.uint8, shape[0] * shape[1] // 32 * 20, offset).reshape(shape[0], -1)
    split = rows.reshape(9, 32, 2, -1).swapaxes(1, 2).reshape(shape[0], -1)
    print("q rows 33, 100, 575:", *(split[i, :8].tobytes().hex() for i in (33, 100, 575)))
    shape, kind, offset = infos["blk.29.ffn_norm.weight"]
    print("ffn_norm 29:", np.frombuffer(data, "<f4", 3, offset).tolist())
    shape, kind, offset = infos["token_embd.weight"]
    print("embedding row 49151:", data[offset + 49151 * 612:offset + 49151 * 612 + 8].hex())
    bert = load_file(models / "all-minilm-l6-v2/model.safetensors")
    print("word 2000:", bert["embeddings.word_embeddings.weight"][2000, :3].tolist())
    print("layer 5 down bias:", bert["encoder.layer.5.output.dense.bias"][:3].tolist())


if __name__ == "__main__":
    main()
