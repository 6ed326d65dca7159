#!/usr/bin/env python3
"""Bar: operations on one H200, composed as the engine composes them, against the peers' best (issue 6).

usage: bench/bars/gpu_operations.py [--quick] [--sabotage] [--bench build/cuda/bench/ops/cuda_bench]

Runs cuda_bench (random weights made on the device; a step or a pass over all layers, without the embedding
look-up and the host's work between steps) and compares each figure with the bar of the issue. Shares are of
the copy bandwidth of the same run. --quick leaves out what takes longer than a second a run; --sabotage
judges the same cases with one kernel for each operation and without cuDNN, which must fall short.

Exit codes: 0 every bar holds, 1 one falls short, 3 no GPU here (prints what would run), 4 cuda_bench is not built.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys

# Case of cuda_bench, what is compared, the bar, whether --quick runs it. "ms" at most, the others at least.
BARS = [
    ("decode step LLaMA2-7B bf16 at 4096", "share", 86.0, True),
    ("decode step LLaMA2-7B bf16 at 32768", "share", 91.0, True),
    ("decode step LLaMA2-7B bf16 at 131072", "share", 98.0, True),
    ("decode step Llama-3.1-8B bf16 at 4369", "share", 86.0, True),
    ("decode step Llama-3.1-8B bf16 at 131072", "share", 87.0, True),
    ("decode step SmolLM2 bf16 at 8192", "ms", 0.45, True),
    ("prefill LLaMA2-7B 4096 by 4096", "ms", 102.0, True),
    ("prefill LLaMA2-7B 4369 by 4369", "ms", 109.0, True),
    ("prefill LLaMA2-7B 32768 by 16384", "ms", 1190.0, False),
    ("prefill LLaMA2-7B 131072 by 16384", "ms", 10900.0, False),
    ("prefill SmolLM2 8192 by 8192", "ms", 12.5, True),
    ("compressor LLaMA2-7B 8 x (1536 + 50)", "tokens/s", 43000.0, True),
    ("attention LLaMA2-7B 1 x 4096 forward", "TFLOP/s", 494.0, True),
    ("attention LLaMA2-7B 1 x 4096 backward", "TFLOP/s", 379.0, True),
]
# The same case with one kernel an operation, or with our own attention.
SABOTAGED = {"decode step": "{}, unfused", "attention": "{0} own kernels {1}"}

LINE = re.compile(r"^(?P<name>.{58})\s+(?P<us>[\d.]+) us\s+(?P<rate>[\d.]+) (?P<unit>GB/s|TFLOP/s)\s+"
                  r"(?P<share>[\d.]+)% of (copy|product)")
TOKENS = re.compile(r"^\s+(?P<ms>[\d.]+) ms\s+(?P<tokens>[\d.]+) tokens/s")


def figures(text):
    """{case: {ms, share, TFLOP/s, tokens/s}} of cuda_bench's lines."""
    out, last = {}, None
    for line in text.splitlines():
        if found := LINE.match(line):
            last = out.setdefault(found["name"].strip(), {})
            last["ms"] = float(found["us"]) / 1e3
            last["share"] = float(found["share"])
            last[found["unit"]] = float(found["rate"])
        elif last is not None and (found := TOKENS.match(line)):
            last["tokens/s"] = float(found["tokens"])
    return out


def sabotaged(case):
    for start, form in SABOTAGED.items():
        if case.startswith(start):
            head, _, tail = case.rpartition(" ")
            return form.format(head, tail) if "{1}" in form else form.format(case)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sabotage", action="store_true")
    parser.add_argument("--bench", default="build/cuda/bench/ops/cuda_bench")
    options = parser.parse_args()
    rows = [(case, what, bar) for case, what, bar, quick in BARS if quick or not options.quick]
    if options.sabotage:
        rows = [(sabotaged(case), what, bar) for case, what, bar in rows if sabotaged(case)]
    command = [options.bench] + [case for case, _, _ in rows]
    if shutil.which("nvidia-smi") is None or subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode != 0:
        print("no GPU here; on an H200 this runs:", " ".join(f'"{part}"' for part in command))
        return 3
    if not pathlib.Path(options.bench).is_file():
        print(f"{options.bench} is not built: cmake --preset cuda && ninja -C build/cuda cuda_bench")
        return 4
    run = subprocess.run(command, capture_output=True, text=True)
    print(run.stdout + run.stderr)
    found = figures(run.stdout)
    short = 0
    for case, what, bar in rows:
        value = found.get(case, {}).get(what)
        holds = value is not None and (value <= bar if what == "ms" else value >= bar)
        short += not holds
        shown = "no figure" if value is None else f"{value:.4g}"
        print(f"{'holds' if holds else 'SHORT':6} {case}: {shown} {what}, bar {bar:g}")
    print(f"{len(rows) - short} of {len(rows)} bars hold")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
