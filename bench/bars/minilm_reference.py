"""What MiniLM by NumPy says of texts, for bar_minilm_vectors and bar_retrieval.

usage: minilm_reference.py MODEL vectors TEXTS OUT             TEXTS: a JSON string a line; OUT: f32 rows
       minilm_reference.py MODEL search PASSAGES QUESTIONS OUT  OUT: a line of five passage numbers a question
Exit 4: numpy or tokenizers missing.
"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "golden"))
try:
    import numpy as np
    from minilm import MiniLm
except ImportError as error:
    print(f"minilm_reference: {error}", file=sys.stderr)
    sys.exit(4)

TOP = 5


def texts(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main():
    model = MiniLm(sys.argv[1])
    if sys.argv[2] == "vectors":
        model.encode(texts(sys.argv[3])).tofile(sys.argv[4])
        return
    passages = model.encode(texts(sys.argv[3]))
    questions = model.encode(texts(sys.argv[4]))
    with open(sys.argv[5], "w", encoding="ascii") as out:
        for begin in range(0, len(questions), 512):
            for row in questions[begin : begin + 512] @ passages.T:
                out.write(" ".join(map(str, np.argsort(-row, kind="stable")[:TOP])) + "\n")


main()
