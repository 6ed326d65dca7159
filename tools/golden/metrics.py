"""Makes tests/golden/metrics/rows.jsonl: texts with the scores that the reference packages give them.

  tools/golden/metrics.py --data ../shared/data --infinitebench CLONE > tests/golden/metrics/rows.jsonl

Texts: fairytaleqa (Apache-2.0), qmsum (MIT), squality answers (CC BY 4.0), predictions of the ∞Bench
repository (MIT), and our own odd cases.
"""
import argparse
import json
import random

import scipy.stats
import zstandard
from nltk.stem.porter import PorterStemmer

from metric_references import InfiniteBench, choice_row, pair_scores, set_scores

ODD_TEXTS = [
    "", " ", "\n\n", "the", "The A an", "a–b", "unanswerable", "Unanswerable.", "...", "٣٤ apples", "naïve café",
    "NAÏVE CAFÉ", "İstanbul", "ΟΔΥΣΣΕΥΣ ΣΟΦΟΣ", "ὈΔΥΣΣΕΎΣ·Σ", "straße STRASSE", "ﬁne ﬁsh", "K elvin K", "日本語 の テスト。",
    "胡一刀，马行空", "emoji 😀 the end 👩‍👩‍👧", "zero\u200bwidth", "no\u00a0break\u2003space", "line\u2028sep\x1cfs\x85nel",
    "a\u0301 combining the\u0301", "_a_ a_b the_", "don't can't it's", "U.S.A. vs. U.S.", "3.14 1,000 -5 5-6 $4.50 50%",
    "x&quot;y&amp;lt;z &lt;b&gt;", "hyphen-\nated word", "<skipped>gone</skipped>", "a.b,c.d ,.,. ..5 5.. ,5,", "(see [1]; {2})",
    "'quoted' \"double\" `tick`", "Yes", "yes.", "No, it is not.", "flying flies dies died lying sky skies news innings",
    "relational conditional rational hopefulness generally radically fulli apologi", "ÀÉÎÕÜ àéîõü ǅ ǆ ŉ", "І ї кириллица КИРИЛЛИЦА",
    "שלום עולם", "مرحبا ١٢٣", "x = foo(bar)  # comment\nreturn 1", "`code`\nreal line // no\nfoo(bar, baz)", "foo(bar,  baz)",
    "one\ntwo three\nfour", "two three\n\none four", "aaaa aaaa aaaa", "aaaa", "The cat sat on the mat.", "the the the the the the the",
    "There is a cat on the mat.", "Ⅻ ⅻ ² ½ ª º", "e\u0301 é", "ß ẞ SS ss", "\ufeffbom", "tab\tsep\x0bvt\x0cff", "Dr. A. B. See",
    "\U00010400\U00010428 deseret", "Σ", "ΑΣ ΑΣ. ΑΣα Σα", "''", "-", "--", ".", "a", "an apple", "apple",
]

CHOICES = ["", " ", "A", "B", " B", "b", "(B)", "B.", "B) second", "AB", "ABCD", "BC", "CA", "None", "Based on the text, C",
           "The answer is D", "the answer is: d", "I think it is second", "C and D", "\nB", "D\nC", "é", "[B]", "A house"]

# task, prediction, label, model: the quirks that infinitebench.h lists.
INFINITE_CASES = [
    ("passkey", "The pass key is 01234.", "01234", ""), ("passkey", "1234", "01234", ""), ("passkey", "", "5", ""),
    ("passkey", "5", 5, ""), ("number_string", "12 345", ["12"], ""), ("number_string", "٣", "3", ""),
    ("kv_retrieval", 'key: "ab-12".', "ab-12", ""), ("kv_retrieval", "ab-12", ["ab-12"], ""), ("kv_retrieval", "xab-12", "ab-12", ""),
    ("longbook_choice_eng", "Based on", ["Snow", "B"], ""), ("longbook_choice_eng", "x AB", ["Snow", "A"], ""),
    ("longbook_choice_eng", "i say B", ["Snow", "B"], ""), ("longbook_choice_eng", "the answer is: B", ["Snow", "B"], ""),
    ("longbook_choice_eng", "the answer is:B", ["Snow", "B"], ""), ("longbook_choice_eng", "the answer is", ["Snow", "B"], ""),
    ("longbook_choice_eng", "the answer is ", ["Snow", "B"], ""), ("longbook_choice_eng", "the answer is：B", ["Snow", "B"], ""),
    ("longbook_choice_eng", "snow", ["snow", "B"], ""), ("longbook_choice_eng", "the option is Snow", ["Snow", "B"], ""),
    ("longbook_choice_eng", "  ", ["Snow", "B"], ""), ("longbook_choice_eng", "é BCD", ["Snow", "B"], ""),
    ("longbook_qa_eng", "The Snow!", ["snow", "rain"], ""), ("longbook_qa_eng", "", ["snow"], ""),
    ("longbook_qa_chn", "是胡一刀，和马行空。", ["胡一刀, 马行空"], ""), ("longbook_qa_chn", "", ["胡"], ""), ("longbook_qa_chn", "《胡》", ["胡〃"], ""),
    ("longdialogue_qa_eng", "Ace Rothstein.", ["ACE", "ACE ROTHSTEIN"], ""), ("longdialogue_qa_eng", "rothstein", ["ACE", "ROTHSTEIN"], ""),
    ("longdialogue_qa_eng", "straße", ["STRASSE"], ""), ("code_debug", "B.", ["f.g", "B"], ""), ("code_debug", "B", ["f.g", "B"], ""),
    ("code_debug", "answer is: B", ["f.g", "B"], ""), ("code_debug", "**Answer is:** f.g", ["f.g", "B"], ""), ("code_debug", "correct option is: B", ["f.g", "B"], ""),
    ("code_debug", "answer: Option B", ["f.g", "B"], ""), ("code_debug", "answer is:", ["f.g", "B"], ""), ("code_debug", "it is: x answer is: B", ["f.g", "B"], ""),
    ("code_run", "-3", [-3], ""), ("code_run", "the value is -3.", -3, ""), ("code_run", "3%", 3, ""), ("code_run", "f(3)", 3, ""), ("code_run", "+1_0", 10, ""),
    ("code_run", "1__0", 10, ""), ("code_run", "٣", 3, ""), ("code_run", "99999999999999999999999", 3, ""), ("code_run", "", 3, ""), ("code_run", "4", "4", ""),
    ("math_find", "50", 50.0, ""), ("math_find", "50.0", 50.0, ""), ("math_find", "50.5", 50, ""), ("math_find", "-50", 50, ""), ("math_find", "a 7.x", 7, ""),
    ("math_find", "٣.٥", 3.5, ""), ("math_find", "none", 3, ""), ("math_find", "7", [7], ""), ("math_calc", "1, 2, 3", [1, 2, 4], ""), ("math_calc", "9 1 2", [1, 2], ""),
    ("math_calc", "9 1 2", [1, 2], "gpt4"), ("math_calc", "", [[1, 2]], ""), ("math_calc", "01 2 -3", [[1, 2, 3]], ""), ("math_calc", "", [1], "gpt4"),
]
SHORT_TASKS = ["passkey", "number_string", "kv_retrieval", "longdialogue_qa_eng", "longbook_choice_eng", "longbook_qa_eng",
               "longbook_qa_chn", "math_find", "code_run", "code_debug"]


def documents(path):
    with open(path, "rb") as file:
        for line in zstandard.ZstdDecompressor().stream_reader(file).read().decode().splitlines():
            yield json.loads(line)


def real_pairs(data):
    """(set, prediction, references): one person's answer against the others', or near misses."""
    rng = random.Random(8)
    fairy = [q["answers"] for d in documents(f"{data}/fairytaleqa.jsonl.zst") for q in d["questions"]]
    for answers in rng.sample([a for a in fairy if len(a) > 1], 60):
        yield "fairytaleqa", answers[0], answers[1:]
    squality = [q["answers"] for d in documents(f"{data}/squality.jsonl.zst") for q in d["questions"]]
    for answers in rng.sample([a for a in squality if len(a) > 2 and len(a[0]) < 1200], 6):
        yield "squality", answers[0], answers[1:3]
    qmsum = [q["answers"][0] for d in documents(f"{data}/qmsum.jsonl.zst") for q in d["questions"]]
    for answer in rng.sample(qmsum, 16):
        other = rng.choice(qmsum)
        yield "qmsum", other.replace(". ", ".\n"), [answer.replace(". ", ".\n")]


def rows(data, clone):
    pairs = list(real_pairs(data))
    rng = random.Random(9)
    for text in ODD_TEXTS:
        references = [text, rng.choice(ODD_TEXTS)] if rng.random() < 0.4 else [rng.choice(ODD_TEXTS)]
        pairs.append(("odd", rng.choice(ODD_TEXTS) if rng.random() < 0.4 else text, references))
    scored = [pair_scores(prediction, references) for _, prediction, references in pairs]
    yield {"kind": "names", "names": list(scored[0])}
    for (name, prediction, references), scores in zip(pairs, scored):
        yield {"kind": "pair", "set": name, "prediction": prediction, "references": references,
               "scores": list(scores.values())}
    for name in ("fairytaleqa", "squality", "qmsum", "odd"):
        yield {"kind": "set", "set": name, "scores": set_scores([(p, r) for n, p, r in pairs if n == name])}
    for text in ODD_TEXTS:
        yield {"kind": "unicode", "text": text, "lower": text.lower(), "upper": text.upper(), "words": text.split()}
    stemmer = PorterStemmer()
    words = sorted({w for _, p, r in pairs for w in " ".join([p, *r]).lower().split() if w.isascii() and w.isalpha()})
    words = rng.sample(words, 900)
    extra = "yyyy eed ied ties tie ying sayings crying rationalli logi geologi fulli agreed feed hissing fizzed oing ion s ss ies sses".split()
    yield {"kind": "stem", "words": words + extra, "stems": [stemmer.stem(w) for w in words + extra]}
    for rule in ("first_letter", "leval", "bamboo"):
        yield choice_row(rule, ["first", "second", "third", "fourth"], CHOICES)
    x = [round(rng.random(), 1) for _ in range(40)]
    y = [round(rng.random() + v, 1) for v in x]
    yield {"kind": "spearman", "x": x, "y": y, "rho": scipy.stats.spearmanr(x, y).statistic}
    bench = InfiniteBench(clone)
    for case in INFINITE_CASES:
        row = bench.row(*case)
        if row:
            yield row
    for model in ("gpt4", "claude2", "kimi"):
        for task in SHORT_TASKS:
            lines = bench.show(f"results/{model}/preds_{task}.jsonl").splitlines()
            short = [r for r in map(json.loads, lines) if len(r["prediction"]) < 200]
            for line in rng.sample(short, min(8, len(short))):
                yield bench.row(task, line["prediction"], line["ground_truth"], model)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--infinitebench", required=True)
    arguments = parser.parse_args()
    for row in rows(arguments.data, arguments.infinitebench):
        print(json.dumps(row, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
