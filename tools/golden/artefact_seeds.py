#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus/artefact: small artefact files after docs/formats/artefact.md.

The checksum is left zero; the fuzz target computes it. usage: artefact_seeds.py OUT_DIRECTORY
"""
import json
import pathlib
import struct
import sys

SIZES = {"f32": 4, "bf16": 2, "f16": 2, "i64": 8, "i32": 4, "u8": 1, "i8": 1}


def artefact(kind, fields, tensors, version=1):
    meta = json.dumps(
        {"fields": fields, "tensors": [{"dtype": d, "name": n, "shape": s} for n, d, s, _ in tensors]},
        sort_keys=True, separators=(",", ":")).encode()
    payload = b""
    for _, dtype, shape, fill in tensors:
        size = SIZES[dtype]
        for dim in shape:
            size *= dim
        payload += b"\0" * (-len(payload) % 64)
        payload += bytes(fill) if fill is not None else b"\1" * size
    header = struct.pack("<8sIIQQ16s16s", b"OFFBOOK\n", version, kind, len(meta), len(payload), b"", b"")
    head = header + meta
    return head + b"\0" * (-len(head) % 64) + payload


def context(kind, extra):
    return {"method": "beacon", "weights": "w", "family": "f", "kind": kind, "tokens_before": 8,
            "tokens_after": 2, "ratio": 4.0, **extra}


SPANS = ("slot_spans", "i64", [2, 2], struct.pack("<4q", 0, 3, 3, 9))
SEEDS = {
    "vectors": artefact(1, {}, [("ids", "i64", [2], struct.pack("<2q", 1, 2)), ("vectors", "bf16", [2, 3], None)]),
    "text": artefact(2, context(0, {}), [SPANS, ("text", "u8", [4], None)]),
    "soft": artefact(2, context(1, {}), [SPANS, ("soft_tokens", "bf16", [2, 4], None)]),
    "kv16": artefact(2, context(2, {"kv_bits": 16, "kv_dtype": "f32"}),
                     [SPANS, ("kv", "f32", [1, 2, 2, 1, 2], None), ("sink_kv", "f32", [1, 2, 1, 1, 2], None)]),
    "kv4": artefact(2, context(2, {"kv_bits": 4, "kv_dtype": "bf16"}),
                    [SPANS, ("kv_codes", "u8", [1, 2, 2, 1, 2], None), ("kv_ranges", "bf16", [1, 2, 1, 4, 2], None)]),
    "kv8_empty": artefact(2, context(2, {"kv_bits": 8, "kv_dtype": "f16"}),
                          [("slot_spans", "i64", [0, 2], None), ("kv_codes", "u8", [1, 2, 0, 1, 2], None),
                           ("kv_ranges", "bf16", [1, 2, 1, 2, 2], None)]),
    "adapter": artefact(3, {"rank": 8}, [("safetensors", "u8", [16], None)]),
    "job": artefact(4, {"step": 3}, []),
    "newer": artefact(4, {}, [], version=2),
    "huge_axes": artefact(4, {}, [("a", "i64", [0, 1 << 60, 1 << 60], b"")]),
    "unknown_kind": artefact(9, {}, []),
}

if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name, data in SEEDS.items():
        (out / name).write_bytes(data)
