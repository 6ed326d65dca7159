"""What the published programs' rules keep, given surprisals and attention weights (text_methods_reference.cc).

usage: text_methods_reference.py IN OUT     needs: numpy, scipy
The rules are those of tools/golden/selective_context.py and tools/golden/quito.py.
"""
import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools/golden"))
import quito
import selective_context
from scipy.ndimage import gaussian_filter1d


def pieces_of(data, lengths):
    out, at = [], 0
    for length in lengths:
        out.append(data[at:at + length])
        at += length
    assert at == len(data), (at, len(data))
    return out


def words_kept(row):
    """quito.reference without its softmax: the weights come normalised, twice, from our side."""
    tokens = []
    for piece in pieces_of(row["text"].encode(), row["weight_lengths"]):
        # A token may hold a part of a character; only its beginning with a space matters.
        text = piece.decode("latin-1")
        tokens.append("Ġ" + text[1:] if text.startswith(" ") else text)
    words, scores, counts = quito.words_of(tokens, row["weights"])
    smooth = gaussian_filter1d(scores, 1.0).tolist() if scores else []
    ends = quito.ends_of(words)
    out = {}
    for ratio in quito.RATIOS:
        out[f"paper/phrase/{ratio}"] = quito.phrase_2024(smooth, ratio)
        out[f"head/phrase/{ratio}"] = quito.phrase_2025(smooth, counts, ratio)
        for rules, values in (("paper", scores), ("head", smooth)):
            out[f"{rules}/sentence/{ratio}"] = quito.sentences(values, ends, ratio, False)
            out[f"{rules}/dynamic/{ratio}"] = quito.sentences(values, ends, ratio, True)
    return ends, out


def main():
    rng = random.Random(5)
    with open(sys.argv[1]) as rows, open(sys.argv[2], "w") as out:
        for line in rows:
            row = json.loads(line)
            collapsed, sentences = selective_context.sentences_of(row["text"])
            assert collapsed == row["collapsed"]
            pieces = [pieces_of(s.encode(), n) for s, n in zip(sentences, row["lengths"], strict=True)]
            chunks = [selective_context.chunks_of(s, rng) for s in sentences]
            kept = selective_context.reference(sentences, pieces, row["surprisals"], chunks)
            ends, words = words_kept(row)
            out.write(json.dumps({"text": row["text"], "chunks": chunks, "kept": kept, "sentence_ends": ends,
                                  "words_kept": words}) + "\n")


if __name__ == "__main__":
    main()
