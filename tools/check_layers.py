#!/usr/bin/env python3
"""Checks that every include points from a folder of src/ to one before it in the order below.

usage: tools/check_layers.py [ROOT]     exit 0: all do; 1: lists those that do not
Tests and testing helpers may include the folder they test and anything before it. Kernel files include
isa_begin.h behind everything that is not vector code (src/backend/cpu/isa_begin.h says why).
"""
import pathlib
import re
import sys

ORDER = ["base", "tensor", "records", "backend", "ops", "autograd", "text", "model", "train", "metrics", "ingest",
         "store", "compress", "retrieve", "answer", "learn", "evaluate", "serve"]
VECTOR_HEADERS = re.compile(r"(simd|_cpu|(attention/(forward|backward|softmax|tiles|transpose)|rope/rotate))\.h$")
INCLUDE = re.compile(r'^\s*#include "src/([a-z_]+)/', re.M)


def plain_headers_behind_isa_begin(path):
    """Includes behind isa_begin.h that are not vector headers."""
    behind = path.read_text(encoding="utf-8").partition('#include "src/backend/cpu/isa_begin.h"')[2]
    names = re.findall(r'^#include [<"]([^>"]+)', behind, re.M)
    return [n for n in names if not VECTOR_HEADERS.search(n) and not n.endswith("isa_end.h")]


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    wrong, seen = [], 0
    for path in sorted((root / "src").rglob("*")):
        if path.suffix not in {".h", ".cc", ".cu", ".cuh"}:
            continue
        folder = path.relative_to(root / "src").parts[0]
        if folder not in ORDER:
            wrong.append(f"{path}: folder {folder} has no place in the order")
            continue
        if path.name.endswith("_cpu.cc"):
            wrong += [f"{path}: {name} stands behind isa_begin.h" for name in plain_headers_behind_isa_begin(path)]
        for target in INCLUDE.findall(path.read_text(encoding="utf-8")):
            seen += 1
            if target not in ORDER or ORDER.index(target) > ORDER.index(folder):
                wrong.append(f"{path}: {folder} includes {target}")
    print("\n".join(wrong) or f"{seen} includes, all from later folders to earlier ones")
    return 1 if wrong or seen == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
