#!/usr/bin/env python3
"""Random blocks of every quantised type with the values NumPy gives them, for dequantize_test.

Decoders below are written from docs/formats/quantised.md in float32, and compared with the `gguf`
package (PyPI) when it is installed. Output: for each type u32 dtype number, u32 values, u32 bytes,
the blocks, the values as f32; all little-endian.

    python3 tools/golden/quantised.py src/ops/dequantize/testdata/quantised.bin
"""
import struct
import sys

import numpy as np

F = np.float32
# name: (number in dtype.h, values and bytes of a block, offsets of f16 fields)
TYPES = {
    "Q8_0": (16, 32, 34, [0]), "Q4_0": (17, 32, 18, [0]), "Q4_1": (18, 32, 20, [0, 2]),
    "Q5_0": (19, 32, 22, [0]), "Q5_1": (20, 32, 24, [0, 2]), "Q4_K": (21, 256, 144, [0, 2]),
    "Q5_K": (22, 256, 176, [0, 2]), "Q6_K": (23, 256, 210, [208]),
}


def half(b, at):
    return F(np.frombuffer(bytes(b[at:at + 2]), "<f2")[0])


def small(b, at, fifth, offset):
    """Nibbles of 16 bytes at `at`, low ones first, with fifth bits at `fifth`."""
    q = np.concatenate([b[at:at + 16] & 15, b[at:at + 16] >> 4]).astype(int)
    if fifth is not None:
        bits = int.from_bytes(bytes(b[fifth:fifth + 4]), "little")
        q += 16 * np.array([bits >> i & 1 for i in range(32)])
    return (q - offset).astype(F)


def six_bits(b):
    low, mid, top = b[4:8].astype(int), b[8:12].astype(int), b[12:16].astype(int)
    scales = np.concatenate([low & 63, (top & 15) | (low >> 6 << 4)])
    minima = np.concatenate([mid & 63, (top >> 4) | (mid >> 6 << 4)])
    return scales, minima


def k_type(b, quants, has_fifth):
    scales, minima = six_bits(b)
    out = []
    for g in range(8):
        q = b[quants + g // 2 * 32:][:32].astype(int) >> (4 * (g % 2)) & 15
        if has_fifth:
            q += 16 * (b[16:48].astype(int) >> g & 1)
        out.append(half(b, 0) * F(scales[g]) * q.astype(F) - half(b, 2) * F(minima[g]))
    return np.concatenate(out)


def q6_k(b):
    out = np.empty(256, F)
    for i in range(256):
        h, quarter = i // 128, i % 128 // 32
        four = int(b[h * 64 + quarter % 2 * 32 + i % 32]) >> (4 * (quarter // 2)) & 15
        two = int(b[128 + h * 32 + i % 32]) >> (2 * quarter) & 3
        scale = half(b, 208) * F(np.int8(b[192 + i // 16]))
        out[i] = scale * F(four + 16 * two - 32)
    return out


def decode(name, b):
    if name == "Q8_0":
        return b[2:].view(np.int8).astype(F) * half(b, 0)
    if name == "Q4_0":
        return small(b, 2, None, 8) * half(b, 0)
    if name == "Q4_1":
        return small(b, 4, None, 0) * half(b, 0) + half(b, 2)
    if name == "Q5_0":
        return small(b, 6, 2, 16) * half(b, 0)
    if name == "Q5_1":
        return small(b, 8, 4, 0) * half(b, 0) + half(b, 2)
    if name == "Q6_K":
        return q6_k(b)
    return k_type(b, 16 if name == "Q4_K" else 48, name == "Q5_K")


def main():
    rng = np.random.default_rng(20)
    try:
        import gguf
    except ImportError:
        gguf = None
        print("gguf is not installed: values are not cross-checked")
    with open(sys.argv[1], "wb") as out:
        for name, (number, elems, size, halves) in TYPES.items():
            count = 1024 // elems
            blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
            for at in halves:
                blocks[:, at:at + 2] = rng.normal(0, 0.02, (count, 1)).astype("<f2").view(np.uint8)
            values = np.concatenate([decode(name, b) for b in blocks]).astype("<f4")
            if gguf:
                theirs = gguf.dequantize(blocks, getattr(gguf.GGMLQuantizationType, name)).reshape(-1)
                assert np.array_equal(values.view("<u4"), theirs.astype("<f4").view("<u4")), name
            out.write(struct.pack("<3I", number, values.size, blocks.size))
            out.write(blocks.tobytes() + values.tobytes())
    print("checked against gguf" if gguf else "done")


if __name__ == "__main__":
    main()
