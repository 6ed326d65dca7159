"""What MiniLM by NumPy says of texts, for bar_minilm_vectors and bar_retrieval.

usage: minilm_reference.py MODEL vectors TEXTS OUT             TEXTS: a JSON string a line; OUT: f32 rows
       minilm_reference.py MODEL search PASSAGES QUESTIONS OUT  OUT: a line of five passage numbers a question
Exit 4: numpy or tokenizers missing.
"""
import json
import multiprocessing
import os
import sys

# A process a core, each with one thread: most of NumPy's time is spent outside matrix products.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
CORES = len(os.sched_getaffinity(0))
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


def encode(model, some):
    """model.encode, over all cores; texts of like length are shared out evenly."""
    order = sorted(range(len(some)), key=lambda i: len(some[i]))
    shares = [order[core::CORES] for core in range(CORES)]
    with multiprocessing.get_context("fork").Pool(CORES) as pool:
        rows = pool.map(model.encode, [[some[i] for i in share] for share in shares], chunksize=1)
    out = np.zeros((len(some), rows[0].shape[1]), np.float32)
    for share, of_share in zip(shares, rows):
        out[share] = of_share
    return out


def main():
    model = MiniLm(sys.argv[1])
    if sys.argv[2] == "vectors":
        encode(model, texts(sys.argv[3])).tofile(sys.argv[4])
        return
    passages = encode(model, texts(sys.argv[3]))
    questions = encode(model, texts(sys.argv[4]))
    with open(sys.argv[5], "w", encoding="ascii") as out:
        for begin in range(0, len(questions), 512):
            for row in questions[begin : begin + 512] @ passages.T:
                out.write(" ".join(map(str, np.argsort(-row, kind="stable")[:TOP])) + "\n")


main()
