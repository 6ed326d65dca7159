#!/usr/bin/env python3
"""Bar: the first token of `ask`, process start included, from a corpus of 1,000 documents.

    bench/bars/ask_latency.py --offbook build/release/apps/offbook/offbook [--work DIR] [--quick]

200 different questions (of squad and covidqa), once each: with the keys and values of their passages stored p50 is at most
0.25 s, without any at most 0.6 s, p95 at most twice that. Memory of the process: at most the packed weights of both models, its
keys and values, and 100 MiB. The corpus is made once below --work, without its compressed form. Exit: 0 the bars hold,
1 one falls short, 4 data missing. --quick asks 20 questions; --sabotage keeps nothing on disk (--shelf 0), so that "stored"
is as slow as without.
"""
import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

SETS = ["squad", "covidqa", "nq_multidoc", "fairytaleqa"]
DOCUMENTS = 1000
DOCUMENT_BYTES = 3500  # at least; whole paragraphs
CACHE_TOKENS = 1200  # of a prompt and its answer: 22.5 KiB each


def records(name):
    path = pathlib.Path(os.environ.get("OFFBOOK_DATA", "../shared")) / "data" / f"{name}.jsonl.zst"
    if not path.exists():
        print(f"missing: {path}")
        sys.exit(4)
    text = subprocess.run(["zstd", "-dc", "--long=27", path], capture_output=True, check=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def parts_of(text):
    part = ""
    for paragraph in text.split("\n\n"):
        part += paragraph + "\n\n"
        if len(part) > DOCUMENT_BYTES:
            yield part
            part = ""
    if part:
        yield part


def make_folder(folder):
    """DOCUMENTS files, and the questions whose documents are in it whole, in an order that their ids decide."""
    folder.mkdir(parents=True, exist_ok=True)
    questions, count = [], 0
    for name in SETS:
        for record in records(name):
            for i, part in enumerate(parts_of(record["text"])):
                if count < DOCUMENTS:
                    (folder / f"{name}-{record['id'].replace('/', '_')}-{i}.txt").write_text(part)
                    count += 1
            if count < DOCUMENTS and name in SETS[:2]:
                questions += [(hashlib.sha256(q["id"].encode()).hexdigest(), q["question"])
                              for q in record["questions"] if q["answers"][0] != "Unanswerable"]
    return [q for _, q in sorted(questions)]


class Corpus:
    def __init__(self, args):
        self.args = args
        self.root = args.work / "corpora"
        self.shelf = self.root / "latency" / "shelf"
        questions = args.work / "questions.json"
        if not questions.exists():
            found = make_folder(args.work / "documents")
            self.run("ingest", str(args.work / "documents"), "--into", "latency")
            self.run("index", "latency")
            questions.write_text(json.dumps(found))
        self.questions = list(dict.fromkeys(json.loads(questions.read_text())))[: 20 if args.quick else 200]
        shutil.rmtree(self.shelf, ignore_errors=True)

    def command(self, *arguments):
        return [str(self.args.offbook), "--corpora", str(self.root), "--quiet", *arguments]

    def run(self, *arguments):
        subprocess.run(self.command(*arguments), check=True)

    def ask(self, question):
        """Seconds to the first token, passages found and read, resident KiB."""
        budget = ["--shelf", "0"] if self.args.sabotage else []
        began = time.perf_counter()
        process = subprocess.Popen(self.command("ask", "latency", question, "--stats", "--max-tokens", "4",
                                                "--reading", "apart", *budget),
                                   stdout=subprocess.PIPE)
        text, first = b"", None
        while chunk := os.read(process.stdout.fileno(), 65536):
            text += chunk
            # The best evidence stands in front of the answer.
            if first is None and re.match(rb'\[1\] [^\n]*\n    "[^\n]*"\n\n.', text, re.S):
                first = time.perf_counter() - began
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"ask ended with {process.returncode}: {question}")
        found = re.search(rb"(\d+) passages found stored, (\d+) read", text)
        return first, int(found[1]) if found else 0, int(found[2]) if found else 0, usage.ru_maxrss

    def put_aside(self, aside):
        """Takes the passages out of the shelf; what belongs to no document stays."""
        for directory in self.shelf.iterdir() if self.shelf.exists() else []:
            if directory.name != "0":
                (aside / directory.name).mkdir(parents=True, exist_ok=True)
                for file in directory.iterdir():
                    file.rename(aside / directory.name / file.name)

    def put_back(self, aside):
        for directory in aside.iterdir() if aside.exists() else []:
            (self.shelf / directory.name).mkdir(parents=True, exist_ok=True)
            for file in directory.iterdir():
                file.rename(self.shelf / directory.name / file.name)


def figure(name, rows, bar):
    times = sorted(first for first, *_ in rows if first is not None)
    p50, p95 = times[len(times) // 2], times[int(0.95 * (len(times) - 1))]
    found, read = sum(r[1] for r in rows), sum(r[2] for r in rows)
    holds = p50 <= bar and p95 <= 2 * bar
    print(f"{name}: first token p50 {p50:.3f} s (bar {bar}), p95 {p95:.3f} s (bar {2 * bar}), {len(times)} answers; of the passages "
          f"{100 * found / max(1, found + read):.1f}% were stored ({found} of {found + read}): {'holds' if holds else 'FALLS SHORT'}",
          flush=True)
    return holds


def memory(rows):
    models = pathlib.Path(os.environ.get("OFFBOOK_MODELS", "models"))
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "offbook"
    weights = max((f.stat().st_size for f in cache.glob("*.packed")), default=0)
    weights += sum(f.stat().st_size for f in (models / "all-minilm-l6-v2").rglob("*.safetensors")) / 2  # as bf16
    bar = weights + CACHE_TOKENS * 22.5 * 1024 + (100 << 20)
    most = 1024 * max(r[3] for r in rows)
    print(f"memory: {most / 2**20:.0f} MiB resident at most (bar {bar / 2**20:.0f} MiB, of which {weights / 2**20:.0f} packed weights): "
          f"{'holds' if most <= bar else 'FALLS SHORT'}")
    return most <= bar


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offbook", type=pathlib.Path, default="build/release/apps/offbook/offbook")
    parser.add_argument("--work", type=pathlib.Path, default="build/ask-latency")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sabotage", action="store_true")
    args = parser.parse_args()
    corpus = Corpus(args)
    aside = args.work / "aside"
    shutil.rmtree(aside, ignore_errors=True)
    corpus.ask(corpus.questions[-1])  # files in memory, the prompt's beginning stored
    corpus.put_aside(aside)
    without = []
    for question in corpus.questions:
        without.append(corpus.ask(question))
        corpus.put_aside(aside)
    held = [figure("passages not stored", without, 0.6)]
    corpus.put_back(aside)
    stored = [corpus.ask(question) for question in corpus.questions]
    held.append(figure("passages stored", stored, 0.25))
    held.append(memory(without + stored))
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
