#!/usr/bin/env python3
"""Bar: a CPU without AVX-512 runs every figure of `offbook bench` at no less than 1 / 2.5 of the rate with it.

    bench/bars/avx2_speed.py [--offbook build/release/apps/offbook/offbook] [--only "prefill 512"] [--quick] [--sabotage]

The same program, AVX-512 masked (--device avx2), in turn on one machine; medians of 3 pairs. Exit: 0 every figure holds, 1 one
falls short, 4 the program or AVX-512 is missing here. --quick takes one pair of "prefill 512" and "decode at 512";
--sabotage gives the AVX2 side one thread.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

BAR = 2.5


def rates(args, device, threads):
    only = ["--only", *(args.only or (["prefill 512", "decode at 512"] if args.quick else []))]
    text = subprocess.run([args.offbook, "--device", device, "--threads", str(threads), "--json", "bench", "--runs", "3",
                           *(only if len(only) > 1 else [])], check=True, capture_output=True, text=True).stdout
    found = json.loads(text)
    return found["backend"], {s["name"]: s["rate"] for s in found["speeds"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offbook", type=pathlib.Path, default="build/release/apps/offbook/offbook")
    parser.add_argument("--only", action="append", help="figures whose names begin so")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sabotage", action="store_true")
    args = parser.parse_args()
    if not args.offbook.exists():
        print(f"missing: {args.offbook}")
        return 4
    wide, narrow = [], []
    for _ in range(1 if args.quick else 3):
        backend, found = rates(args, "cpu", args.threads)
        if backend != "cpu_avx512":
            print(f"this CPU runs {backend}")
            return 4
        wide.append(found)
        narrow.append(rates(args, "avx2", 1 if args.sabotage else args.threads)[1])
    worst = 0
    for name in wide[0]:
        pairs = [(w[name], n[name]) for w, n in zip(wide, narrow)]
        ratio = statistics.median(w / n for w, n in pairs)
        worst = max(worst, ratio)
        print(f"{name}: {statistics.median(w for w, _ in pairs):.1f} against {statistics.median(n for _, n in pairs):.1f}: {ratio:.2f} x")
    print(f"AVX-512 at most {worst:.2f} x as fast as AVX2 (bar {BAR}): {'holds' if worst <= BAR else 'FALLS SHORT'}")
    return 0 if worst <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
