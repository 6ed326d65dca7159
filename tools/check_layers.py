#!/usr/bin/env python3
"""Checks that every include points from a folder of src/ to one before it in the order below.

usage: tools/check_layers.py [ROOT]     exit 0: all do; 1: lists those that do not
Tests and testing helpers may include the folder they test and anything before it.
"""
import pathlib
import re
import sys

ORDER = ["base", "tensor", "records", "backend", "ops", "autograd", "text", "model", "train", "metrics", "ingest",
         "store", "compress", "retrieve", "answer", "learn", "evaluate", "serve"]
INCLUDE = re.compile(r'^\s*#include "src/([a-z_]+)/', re.M)


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
        for target in INCLUDE.findall(path.read_text(encoding="utf-8")):
            seen += 1
            if target not in ORDER or ORDER.index(target) > ORDER.index(folder):
                wrong.append(f"{path}: {folder} includes {target}")
    print("\n".join(wrong) or f"{seen} includes, all from later folders to earlier ones")
    return 1 if wrong or seen == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
