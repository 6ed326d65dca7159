#!/usr/bin/env python3
"""Bar: memory of one `ask` on the CPU, packed weights in the cache as after the first start.

    bench/bars/ask_memory.py [--offbook build/release/apps/offbook/offbook] [--quick] [--sabotage]

A corpus of the repository's examples is read and indexed; each question is asked in a process of its own. The most that is
resident (the kernel's own count) is at most the packed weights of both models, the keys and values of the prompt and the
answer, and 100 MiB. Exit: 0 holds, 1 falls short, 4 program or models missing. --quick asks three questions; --sabotage
leaves the weights out of what is allowed.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUESTIONS = ["When did GSA officially launch 18F?", "What does the office in Washington do?", "Who may take parental leave?",
             "How are expenses of a journey paid back?", "Which tools does the team use?", "What is a discovery sprint?",
             "How long is a probation period?", "Where are decisions written down?"]
MIB = 1 << 20
KV_BYTES = 30 * 2 * 3 * 64 * 2  # of a token of SmolLM2-135M in bf16
ANSWER = 48


def packed_bytes(root):
    return sum(f.stat().st_size for f in root.rglob("*.packed"))


def ask(command):
    """Text, resident bytes."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"ask ended with {process.returncode}: {text}")
    return text, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offbook", type=pathlib.Path, default="build/release/apps/offbook/offbook")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sabotage", action="store_true")
    args = parser.parse_args()
    models = pathlib.Path(os.environ.get("OFFBOOK_MODELS") or pathlib.Path.home() / ".local/share/offbook/models")
    if not args.offbook.exists() or not (models / "smollm2-135m-instruct").exists():
        print("the program or the default model is missing")
        return 4
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        environment = os.environ | {"XDG_CACHE_HOME": str(work / "cache")}
        os.environ.update(environment)
        command = [str(args.offbook), "--corpora", str(work / "corpora"), "--quiet", "--device", "cpu"]
        subprocess.run([*command, "ingest", str(ROOT / "examples/documents"), "--into", "bar"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*command, "index", "bar"], check=True, stdout=subprocess.DEVNULL)
        question = [*command, "ask", "bar", "--stats", "--max-tokens", str(ANSWER)]
        ask([*question, QUESTIONS[0]])  # packs weights and keeps them
        weights = packed_bytes(work / "cache")
        worst, share = 0, 0
        for text_of in QUESTIONS[: 3 if args.quick else None]:
            text, resident = ask([*question, text_of])
            tokens = sum(int(n) for n in re.search(r"prompt \d+ ms \((\d+) tokens.*answer \d+ ms \((\d+) tokens", text).groups())
            allowed = (0 if args.sabotage else weights) + tokens * KV_BYTES + 100 * MIB
            worst = max(worst, resident - allowed)
            print(f"{text_of}: {resident / MIB:.1f} MiB resident, {allowed / MIB:.1f} allowed ({tokens} tokens)")
    holds = worst <= 0
    print(f"packed weights of both models {weights / MIB:.1f} MiB; at most {worst / MIB:+.1f} MiB from what is allowed: "
          f"{'holds' if holds else 'FALLS SHORT'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
