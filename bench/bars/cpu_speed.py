#!/usr/bin/env python3
"""The CPU engine against llama.cpp, interleaved on one machine.

    bench/bars/cpu_speed.py --offbook build/release/apps/offbook/offbook --peer LLAMA_BIN_DIR [--figure prefill512] [--quick]

LLAMA_BIN_DIR holds llama-bench, llama-batched-bench and llama-quantize of a native build. The peer's formats of the default
model are made once beside --work. Of these every one is measured; pairs are taken with the fastest whose perplexity is within
0.5% of f32 (Q4_1, Q8_0, BF16, F32; Q4_0 is not). Exit: 0 every bar holds, 1 one falls short, 4 peer or model missing.
--sabotage runs offbook on one thread with AVX2 kernels, which must fall short.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

# Without flash attention the peer is slower in every format: docs/results/cpu.md.
BEST = ["-fa", "on"]
FIGURES = {  # name: (offbook's figure, arguments of llama-bench, formats, bar)
    "prefill512": ("prefill 512", ["-p", "512", "-n", "0", *BEST], ["BF16", "Q8_0", "F32"], 1.8),
    "prefill2048": ("prefill 2048", ["-p", "2048", "-n", "0", *BEST], ["BF16", "Q8_0", "F32"], 2.0),
    "decode512": ("decode at 512", ["-p", "0", "-n", "32", "-d", "512", *BEST], ["Q4_1", "Q8_0"], 1.5),
    "decode4096": ("decode at 4096", ["-p", "0", "-n", "32", "-d", "4096", *BEST], ["Q4_1", "Q8_0"], 1.5),
    "rows8": ("decode at 512, 8 rows", None, ["Q4_1", "Q8_0"], 1.5),
}


def formats(args):
    """Paths of the default model in the peer's formats."""
    data = pathlib.Path(os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share")
    models = pathlib.Path(os.environ.get("OFFBOOK_MODELS") or data / "offbook/models") / "smollm2-135m-instruct"
    source = next(models.glob("*.gguf"), None)
    if source is None or not (args.peer / "llama-bench").exists():
        print(f"missing: a GGUF in {models}, or llama-bench in {args.peer}")
        sys.exit(4)
    args.work.mkdir(parents=True, exist_ok=True)
    out = {"Q4_1": source}
    for name in ["Q8_0", "BF16", "F32"]:
        out[name] = args.work / f"smollm2-{name}.gguf"
        if not out[name].exists():
            subprocess.run([args.peer / "llama-quantize", "--allow-requantize", source, out[name], name], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return out


def peer_rate(args, model, figure):
    arguments = FIGURES[figure][1]
    if arguments is None:
        text = subprocess.run([args.peer / "llama-batched-bench", "-m", model, "-t", str(args.threads), "-c", "8192",
                               "-npp", "512", "-ntg", "32", "-npl", "8", *BEST], check=True, capture_output=True, text=True).stdout
        row = next(line for line in text.splitlines() if re.match(r"\|\s*512\s*\|\s*32\s*\|\s*8\s*\|", line))
        return float(row.split("|")[8])  # S_TG t/s
    text = subprocess.run([args.peer / "llama-bench", "-m", model, "-t", str(args.threads), "-r", "2", "-o", "json",
                           *arguments], check=True, capture_output=True, text=True).stdout
    return json.loads(text)[0]["avg_ts"]


def our_rate(args, figure):
    slow = ["--device", "avx2", "--threads", "1"] if args.sabotage else ["--threads", str(args.threads)]
    text = subprocess.run([args.offbook, *slow, "--json", "bench", "--only", FIGURES[figure][0], "--runs", "3"],
                          check=True, capture_output=True, text=True).stdout
    speeds = json.loads(text)["speeds"]
    return next(s["rate"] for s in speeds if s["name"] == FIGURES[figure][0])


def measure(args, figure, paths):
    _, _, names, bar = FIGURES[figure]
    first = {name: peer_rate(args, paths[name], figure) for name in names}
    best = max(first, key=first.get)
    pairs = []
    for _ in range(2 if args.quick else 5):
        pairs.append((our_rate(args, figure), peer_rate(args, paths[best], figure)))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(f"{figure}: peer by format {({k: round(v, 1) for k, v in first.items()})}")
    print(f"  pairs with {best}: " + ", ".join(f"{a:.1f} / {b:.1f}" for a, b in pairs))
    print(f"  offbook {statistics.median(a for a, _ in pairs):.1f}, llama.cpp {statistics.median(b for _, b in pairs):.1f}"
          f" tokens/s: {ratio:.2f} x, bar {bar} x: {'holds' if ratio >= bar else 'FALLS SHORT'}", flush=True)
    return ratio >= bar


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offbook", type=pathlib.Path, default="build/release/apps/offbook/offbook")
    parser.add_argument("--peer", type=pathlib.Path, default=os.environ.get("OFFBOOK_PEER_LLAMA", "llama.cpp/build/bin"))
    parser.add_argument("--work", type=pathlib.Path, default="build/peer-models")
    parser.add_argument("--figure", action="append", choices=list(FIGURES), help="default: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sabotage", action="store_true")
    args = parser.parse_args()
    paths = formats(args)
    held = [measure(args, figure, paths) for figure in (args.figure or FIGURES)]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
