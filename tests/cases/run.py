#!/usr/bin/env python3
"""Runs text cases: command lines with the output and exit code they must have.

usage: run.py OFFBOOK CASE.txt …

A case file holds
  # a comment
  ? a command line      the next step is left out, and said so, where this fails
  $ a command line for bash
  the lines it must print (standard output and standard error in order), where … stands for any
  text inside a line, and a line of nothing but … for any number of lines
  exit N                (the last line; left out for 0)
  < name                writes the lines that follow, up to a line <, into a file
$AS_USER in front of a command takes root's right to read and write everything.
Every file runs in a new directory, with its own home, corpora and cache; OFFBOOK_MODELS names the
models. Commands of a file run in order and see what the earlier ones left.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile


def parse(path):
    """[(line number, kind, payload)]: ("run", command, expected lines, code) or ("file", …)."""
    steps = []
    lines = path.read_text(encoding="utf-8").splitlines()
    i = 0
    while i < len(lines):
        line = lines[i]
        if line.startswith("< "):
            end = lines.index("<", i)
            steps.append((i + 1, "file", line[2:], "\n".join(lines[i + 1 : end]) + "\n"))
            i = end + 1
        elif line.startswith("$ "):
            expected = []
            i += 1
            while i < len(lines) and not re.match(r"(\$ |< |\? |#)", lines[i]):
                expected.append(lines[i])
                i += 1
            while expected and not expected[-1]:
                expected.pop()
            code = 0
            if expected and re.fullmatch(r"exit \d+", expected[-1]):
                code = int(expected.pop()[5:])
            steps.append((i, "run", line[2:], (expected, code)))
        elif line.startswith("? "):
            steps.append((i + 1, "unless", line[2:], None))
            i += 1
        else:
            i += 1
    return steps


def matches(expected, got):
    pattern = []
    for line in expected:
        if line == "…":
            pattern.append(r"(?:.*\n)*?")
        else:
            pattern.append(".*".join(re.escape(part) for part in line.split("…")) + r"\n")
    text = got.rstrip("\n") + "\n" if got.strip("\n") else ""
    return re.fullmatch("".join(pattern), text) is not None


def run_file(offbook, path, models):
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="offbook_case_"))
    environment = {
        "PATH": f"{offbook.parent}:{os.environ['PATH']}",
        "HOME": str(scratch),
        "LANG": "C.UTF-8",
        "OFFBOOK_MODELS": str(models),
        "AS_USER": "setpriv --bounding-set=-dac_override,-dac_read_search --" if os.geteuid() == 0 else "",
        "SOURCE": str(pathlib.Path(__file__).resolve().parents[2]),
    }
    failures = 0
    is_left_out = False
    for number, kind, head, payload in parse(path):
        if kind == "unless":
            is_left_out = subprocess.run(["bash", "-c", head], cwd=scratch, env=environment, check=False,
                                         stdin=subprocess.DEVNULL, capture_output=True).returncode != 0
            continue
        if is_left_out:
            print(f"{path.name}:{number}: left out on this machine: $ {head}")
            is_left_out = False
            continue
        if kind == "file":
            target = scratch / head
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(payload, encoding="utf-8")
            continue
        expected, code = payload
        done = subprocess.run(
            ["bash", "-c", head], cwd=scratch, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        got = done.stdout.decode("utf-8", "replace")
        if done.returncode != code or not matches(expected, got):
            failures += 1
            print(f"{path.name}:{number}: $ {head}")
            print(f"  wanted exit {code} and\n    " + "\n    ".join(expected))
            print(f"  came exit {done.returncode} and\n    " + "\n    ".join(got.splitlines()))
    subprocess.run(["chmod", "-R", "u+rwX", str(scratch)], check=False)
    shutil.rmtree(scratch)
    return failures


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: run.py OFFBOOK CASE.txt …")
    models = os.environ.get("OFFBOOK_MODELS", "")
    if not models:
        sys.exit("OFFBOOK_MODELS must name the directory of the models")
    failures = 0
    for name in sys.argv[2:]:
        failures += run_file(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(name),
                             pathlib.Path(models).resolve())
    print(f"{failures} of the commands failed" if failures else "all as expected")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
