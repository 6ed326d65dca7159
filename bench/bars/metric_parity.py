"""Writes pairs of the shared data with reference scores, for bar_metric_parity. Exit 4: data or
packages missing (see tools/golden/metric_references.py)."""
import argparse
import json
import os
import random
import sys
import unicodedata

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "golden"))
try:
    import scipy.stats
    from metric_references import pair_scores, set_scores
    from metrics import ODD_TEXTS, documents
except ImportError as error:
    print(f"metric_parity: {error}", file=sys.stderr)
    sys.exit(4)

# Pairs of each set in the full bar; --quick takes a tenth.
SIZES = {"fairytaleqa": 2400, "squad": 900, "covidqa": 500, "hotpotqa": 80, "qasper": 170, "nq_multidoc": 700,
         "qmsum": 220, "squality": 90, "text": 200, "odd": 400}


def questions(data, name):
    return [(d, q) for d in documents(f"{data}/{name}.jsonl.zst") for q in d["questions"]]


def sentence_with(text, answer):
    """The line part around a verbatim answer: what a talkative model would say."""
    at = text.find(answer)
    if at < 0:
        return answer
    return text[max(text.rfind(".", 0, at), at - 200) + 1:at + len(answer) + 40]


def answer_pairs(data, name, rng):
    """An annotator against the others; else the answer's surroundings, another answer, or nothing."""
    rows = questions(data, name)
    for document, question in rng.sample(rows, min(SIZES[name], len(rows))):
        answers = question["answers"]
        kind = rng.random()
        if len(answers) > 1 and kind < 0.6:
            yield answers[0], answers[1:]
        elif kind < 0.85:
            yield sentence_with(document["text"], answers[0]), answers
        elif kind < 0.95:
            yield rng.choice(rows)[1]["answers"][0], answers
        else:
            yield "", answers


def summary_pairs(data, name, rng):
    rows = questions(data, name)
    for _, question in rng.sample(rows, min(SIZES[name], len(rows))):
        split = [a.replace(". ", ".\n") for a in question["answers"][:2]]
        yield (split[0], split[1:]) if len(split) > 1 else (rng.choice(rows)[1]["answers"][0], split)


def text_pairs(data, rng):
    """Neighbouring stretches of real text as it stands, other scripts and all."""
    texts = [d["text"] for d in documents(f"{data}/pretrain_heldout.jsonl.zst")]
    texts += [d["text"] for d in documents(f"{data}/wikitext2.jsonl.zst")]
    for _ in range(SIZES["text"]):
        text = rng.choice(texts)
        at = rng.randrange(max(1, len(text) - 400))
        foreign = [i for i in range(0, len(text), 7) if ord(text[i]) > 0x2FF]
        if foreign:
            at = max(0, rng.choice(foreign) - 60)
        yield text[at:at + 160], [text[at + 40:at + 220], text[at + 80:at + 160]]


def odd_pairs(rng):
    for _ in range(SIZES["odd"]):
        references = rng.sample(ODD_TEXTS, rng.choice([1, 1, 2, 3]))
        prediction = rng.choice([rng.choice(ODD_TEXTS), references[0], " ".join(rng.sample(ODD_TEXTS, 3))])
        yield prediction, references


def all_pairs(data, rng):
    for name in ("fairytaleqa", "squad", "covidqa", "hotpotqa", "qasper", "nq_multidoc"):
        yield from ((name, *pair) for pair in answer_pairs(data, name, rng))
    for name in ("qmsum", "squality"):
        yield from ((name, *pair) for pair in summary_pairs(data, name, rng))
    yield from (("text", *pair) for pair in text_pairs(data, rng))
    yield from (("odd", *pair) for pair in odd_pairs(rng))


def unicode_rows():
    """Every character of Unicode 3.2 to this interpreter's version that has a case or is a space."""
    special = [c for c in map(chr, range(sys.maxunicode + 1))
               if not 0xD800 <= ord(c) < 0xE000 and c != "\n" and
               (c.lower() != c or c.upper() != c or c.isspace()) and unicodedata.category(c) != "Cn"]
    for at in range(0, len(special), 64):
        text = " ".join(f"a{c}b {c} 1{c}" for c in special[at:at + 64])
        yield {"kind": "unicode", "text": text, "lower": text.lower(), "upper": text.upper(), "words": text.split()}


def rows(data):
    rng = random.Random(5)
    pairs, names = {}, None
    for name, prediction, references in all_pairs(data, rng):
        scores = pair_scores(prediction, references)
        if names is None:
            names = list(scores)
            yield {"kind": "names", "names": names}
        pairs.setdefault(name, []).append((prediction, references))
        yield {"kind": "pair", "set": name, "prediction": prediction, "references": references,
               "scores": list(scores.values())}
    for name, members in pairs.items():
        yield {"kind": "set", "set": name, "scores": set_scores(members)}
    yield from unicode_rows()
    for size in (5, 50, 2000):
        x = [round(rng.random(), 2) for _ in range(size)]
        y = [round(rng.random() + v, 1) for v in x]
        yield {"kind": "spearman", "x": x, "y": y, "rho": scipy.stats.spearmanr(x, y).statistic}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        for name in SIZES:
            SIZES[name] //= 10
    try:
        for row in rows(arguments.data):
            print(json.dumps(row, ensure_ascii=False))
    except FileNotFoundError as error:
        print(f"metric_parity: {error}", file=sys.stderr)
        sys.exit(4)


if __name__ == "__main__":
    main()
