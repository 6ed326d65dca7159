"""Writes the predictions of the ∞Bench repository with its own scorer's scores, for
bar_infinitebench_scorers. Exit 4: clone or packages missing (tools/golden/metric_references.py)."""
import argparse
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "golden"))
try:
    from metric_references import InfiniteBench
except ImportError as error:
    print(f"infinitebench_scorers: {error}", file=sys.stderr)
    sys.exit(4)

MODELS = ["chatglm3", "claude2", "gpt4", "kimi", "yarn-mistral", "yi-34b-200k", "yi-6b-200k"]


def predictions(bench, model, task):
    """Rows of one file, read as the reference reads them; none where it cannot."""
    try:
        lines = [json.loads(x) for x in bench.show(f"results/{model}/preds_{task}.jsonl").decode().split("\n") if x.strip()]
        return list(zip(bench.module.get_preds(lines, task), bench.module.get_labels(lines)))
    except (subprocess.CalledProcessError, ValueError, IndexError) as error:
        print(f"{model} {task}: left out, {type(error).__name__}: {error}", file=sys.stderr)
        return []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clone", required=True)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    try:
        bench = InfiniteBench(arguments.clone)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        print(f"infinitebench_scorers: no clone at {arguments.clone}: {error}", file=sys.stderr)
        sys.exit(4)
    stopped = 0
    for model in MODELS:
        for task in bench.module.ALL_TASKS:
            members = predictions(bench, model, task)
            for prediction, label in members[::20] if arguments.quick else members:
                row = bench.row(task, prediction, label, model)
                stopped += row is None
                if row:
                    print(json.dumps(row, ensure_ascii=False))
    print(f"{stopped} predictions on which the reference itself stops were left out", file=sys.stderr)


if __name__ == "__main__":
    main()
