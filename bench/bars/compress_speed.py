#!/usr/bin/env python3
"""Bar: text on disk to slots on disk, at least 400,000 tokens/s with SmolLM2 on an H200.

The whole of `offbook ingest` (files are read, cut, stored, indexed by their words) and `offbook compress` (slots are made, quantised, written
and synced), processes started anew: tokens of the documents over the time of both commands. Every context is made; their checksums are read
back by `offbook check` afterwards, outside the time.

usage: bench/bars/compress_speed.py [OFFBOOK] [--folder DIR] [--tokens N] [--ratio R] [--kv-bits B] [--device cuda] [--work DIR] [--quick] [--sabotage]
OFFBOOK: default build/cuda/apps/offbook/offbook. --folder: text files; default: made of the shared pretrain_more_1 set. --device cpu shows the
figures without a bar. --sabotage: the budget of bytes holds no context. Exit codes: bench/bars/bar.h.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

BAR = 400_000
BYTES_PER_TOKEN = 4.3


def options():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("offbook", nargs="?", default="build/cuda/apps/offbook/offbook")
    parser.add_argument("--folder")
    parser.add_argument("--tokens", type=int, default=8_000_000)
    parser.add_argument("--ratio", default="16")
    parser.add_argument("--kv-bits", default="8")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--work", default=tempfile.gettempdir())
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sabotage", action="store_true")
    return parser.parse_args()


def make_folder(directory, tokens):
    data = pathlib.Path(os.environ.get("OFFBOOK_DATA", "../shared")) / "data" / "pretrain_more_1.jsonl.zst"
    if not data.exists() or shutil.which("zstd") is None:
        print(f"missing: {data} or zstd")
        sys.exit(4)
    left = tokens * BYTES_PER_TOKEN
    directory.mkdir()
    with subprocess.Popen(["zstd", "-dcq", str(data)], stdout=subprocess.PIPE) as unpacked:
        for i, line in enumerate(unpacked.stdout):
            text = json.loads(line)["text"].encode()
            (directory / f"{i:05}.txt").write_bytes(text[: int(left) + 1])
            left -= len(text)
            if left <= 0:
                unpacked.kill()
                break


def run(command):
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode != 0:
        print(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
        sys.exit(2)
    return seconds, done.stdout


def main():
    o = options()
    if o.device != "cpu" and shutil.which("nvidia-smi") is None:
        print(f"needs a GPU: would run ingest and compress over {o.tokens} tokens of text with --device {o.device}")
        sys.exit(3)
    if o.quick:
        o.tokens = min(o.tokens, 1_000_000 if o.device != "cpu" else 20_000)
    work = pathlib.Path(tempfile.mkdtemp(prefix="offbook_speed_", dir=o.work))
    try:
        folder = pathlib.Path(o.folder) if o.folder else work / "docs"
        if not o.folder:
            make_folder(folder, o.tokens)
        base = [o.offbook, "--device", o.device, "--corpora", str(work / "corpora"), "--json", "--quiet"]
        read_seconds, read = run(base + ["ingest", str(folder), "--into", "speed"])
        budget = "1" if o.sabotage else "1TiB"
        made_seconds, made = run(base + ["compress", "speed", "--method", "beacon", "--ratio", o.ratio, "--kv-bits", o.kv_bits, "--context-budget", budget])
        ingest, compress = json.loads(read)["ingest"], json.loads(made)["compress"]
        tokens = compress["tokens_before"]
        rate = tokens / (read_seconds + made_seconds)
        _, checked = run(base + ["check", "speed"])
        print(f"{ingest['read']} files, {ingest['text_bytes'] / 1e6:.1f} MB; ingest {read_seconds:.2f} s, compress {made_seconds:.2f} s; "
              f"{compress['made']} contexts, {compress['bytes'] / 1e6:.0f} MB, {compress['left_out']} left out; sound: {json.loads(checked).get('is_sound')}")
        print(f"  ingest alone {tokens / read_seconds:,.0f}, compress alone {tokens / made_seconds:,.0f} tokens/s")
        print(f"text on disk to slots on disk: {rate:,.0f} tokens/s (bar {BAR:,})")
        sys.exit(0 if rate >= BAR and compress["left_out"] == 0 else 1)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
