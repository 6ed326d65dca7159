"""Dumps what the reference libraries give for lines of all the data, for bench/bars/tokenizers.

    python tools/golden/tokenizer_lines.py --models DIR --data DIR --fixtures tests/golden/tokenizers \
        --out FILE [--lines 24000]

Takes the same number of lines from every file (evenly spread), the fixture's own lines, lines with
characters of every script, and a few whole documents.
"""
import argparse
import io
import json
import pathlib
import random

import zstandard

from tokenizer_pairs import LINES, pairs, references


def lines_of(path):
    """All lines of a file's texts and questions, and its first text as one piece."""
    with open(path, "rb") as f:
        stream = io.TextIOWrapper(zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(f), "utf-8")
        out, whole = [], []
        for number, record in enumerate(stream):
            record = json.loads(record)
            out += [line for line in record["text"].split("\n") if line]
            out += [q["question"] for q in record.get("questions", [])]
            if number == 0:
                whole.append(record["text"][:50_000])
            if len(out) > 400_000:
                break
    return out, whole


def spread(items, count):
    step = max(1, len(items) // max(1, count))
    return items[::step][:count]


def odd_lines(seed, count):
    """Random mixtures of scripts, marks, digits, spaces and broken bytes."""
    rng = random.Random(seed)
    blocks = [(0x20, 0x7e), (0xa0, 0x17f), (0x300, 0x36f), (0x370, 0x3ff), (0x400, 0x4ff), (0x5d0, 0x5ea),
              (0x620, 0x65f), (0x900, 0x97f), (0xe00, 0xe5b), (0x1100, 0x11ff), (0x1e00, 0x1eff), (0x2000, 0x206f),
              (0x2190, 0x22ff), (0x2460, 0x24ff), (0x2600, 0x27bf), (0x3000, 0x30ff), (0x4e00, 0x9fff),
              (0xac00, 0xd7a3), (0xf900, 0xfaff), (0xff00, 0xffef), (0x1d400, 0x1d7ff), (0x1f300, 0x1faff),
              (0x20000, 0x2a6df)]
    out = []
    for _ in range(count):
        text = bytearray()
        for _ in range(rng.randint(1, 12)):
            low, high = rng.choice(blocks)
            for _ in range(rng.randint(1, 8)):
                text += chr(rng.randint(low, high)).encode("utf-8")
            text += rng.choice([b"", b" ", b"  ", b"\n", b"\t", b"12345", b"'s", b"\r\n ", b"."])
            if rng.random() < 0.05:
                text += bytes(rng.randrange(256) for _ in range(rng.randint(1, 4)))
        out.append(bytes(text))
    return out


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("models", "data", "fixtures", "out"):
        args.add_argument(f"--{name}", type=pathlib.Path, required=True)
    args.add_argument("--lines", type=int, default=24_000)
    args = args.parse_args()
    files = sorted(args.data.glob("*.jsonl.zst"))
    odd = odd_lines(1, args.lines // 6)
    each = (args.lines - len(odd)) // max(1, len(files)) + 1
    rows, spare = LINES + odd, []
    for path in files:
        lines, whole = lines_of(path)
        rows += [line.encode("utf-8") for line in spread(lines, each) + whole]
        spare += lines[1::97]
    # Files with few lines leave room for more from the others.
    rows += [line.encode("utf-8") for line in spread(spare, max(0, args.lines - len(rows)))]
    with open(args.out, "w") as f:
        f.writelines(line + "\n" for line in pairs(references(args.models, args.fixtures), rows))
    print(f"{len(rows)} lines from {len(files)} files")


if __name__ == "__main__":
    main()
