#!/usr/bin/env python3
"""Asks the questions of a jsonl file one by one, prints the cited answers and counts.

usage: tools/ask_questions.py --offbook PROGRAM --corpora DIR --corpus NAME FILE.jsonl
A line is {"question": …}, with optional "answers" (accepted phrases) and "file" (where the answer stands).
"""
import argparse
import json
import subprocess
import sys


def ask(args, question):
    command = [args.offbook, "--corpora", args.corpora, "--json", "ask", args.corpus, question]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"ask failed with exit code {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("offbook", "corpora", "corpus"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("questions")
    args = parser.parse_args()
    asked = right_file = has_phrase = 0
    with open(args.questions, encoding="utf-8") as lines:
        for line in filter(str.strip, lines):
            row = json.loads(line)
            answer = ask(args, row["question"])
            asked += 1
            print(f"\nQ: {row['question']}\nA: {answer['answer'].strip()}")
            for citation in answer["citations"]:
                place = " > ".join(citation.get("headings") or []) or (f"page {citation['page']}" if citation.get("page") else "")
                print(f"   [{citation['number']}] {citation['file']}{', ' + place if place else ''}: \"{citation['quote']}\"")
            told = answer["answer"] + " ".join(c["quote"] for c in answer["citations"])
            right_file += any(c["file"] == row.get("file") for c in answer["citations"])
            has_phrase += any(a.lower() in told.lower() for a in row.get("answers", []))
    print(f"\n{asked} questions: {right_file} cite the expected file, {has_phrase} show the expected phrase.")


if __name__ == "__main__":
    main()
