#!/usr/bin/env python3
"""Bar: an evaluation that is killed (SIGKILL) again and again comes to the same predictions and scores.

usage: evaluation_resumes.py OFFBOOK [--quick] [--sabotage]     OFFBOOK_MODELS names the models
Sabotaged, a kept prediction is changed between two starts. Exit 0 holds, 1 falls short, 4 model missing.
"""
import hashlib
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time


def questions(path, documents):
    rng = random.Random(3)
    with open(path, "w") as out:
        for d in range(documents):
            rooms = [(i, rng.randrange(100, 999)) for i in range(30)]
            text = " ".join(f"Room {i} of house {d} has the key {k}." for i, k in rooms)
            for i, k in rng.sample(rooms, 4):
                out.write(json.dumps({"context": text, "question": f"Which key has room {i}?", "answers": [str(k)]}) + "\n")


def command(offbook, data, out):
    return [offbook, "evaluate", "--suite", str(data), "--methods", "truncate,selective_context,quito", "--ratios", "4,8",
            "--retriever", "bm25", "--out", str(out), "--quiet"]


def result(out):
    scores = json.loads((out / "results.json").read_text())
    values = [[c["cell"], c.get("scores", {})] for t in scores["tasks"] for c in t["cells"]]
    return hashlib.sha256((out / "predictions.jsonl").read_bytes()).hexdigest(), values


def main():
    offbook, quick, sabotage = sys.argv[1], "--quick" in sys.argv, "--sabotage" in sys.argv
    if not os.environ.get("OFFBOOK_MODELS"):
        print("OFFBOOK_MODELS must name the models")
        sys.exit(4)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="offbook_resumes_"))
    data = scratch / "questions.jsonl"
    questions(data, 2 if quick else 8)
    began = time.monotonic()
    subprocess.run(command(offbook, data, scratch / "whole"), check=True, stdout=subprocess.DEVNULL)
    whole_seconds = time.monotonic() - began
    whole = result(scratch / "whole")
    rng = random.Random(int.from_bytes(os.urandom(4), "big"))
    kills = 0
    for _ in range(1000):
        process = subprocess.Popen(command(offbook, data, scratch / "killed"), stdout=subprocess.DEVNULL)
        try:
            process.wait(timeout=rng.uniform(0.3, 0.7) * whole_seconds if kills < (3 if quick else 10) else None)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        if sabotage:
            for journal in sorted((scratch / "killed/journal").glob("*.jsonl")):
                journal.write_text(re.sub(r'"text":"[^"]*"', '"text":"changed"', journal.read_text(), count=1))
    finished = (scratch / "killed/results.json").exists()  # a sabotaged run may be refused
    same = finished and result(scratch / "killed") == whole
    print(f"evaluation_resumes: {kills} kills, predictions and scores {'the same' if same else 'differ'}")
    sys.exit(0 if same and kills > 0 else 1)


if __name__ == "__main__":
    main()
