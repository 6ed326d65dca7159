"""Reference scores of src/metrics: from the packages rouge-score, sacrebleu, rapidfuzz and scipy, and
the SQuAD, LLoCO, L-Eval, BAMBOO and QUITO scripts' logic. Used by tools/golden/metrics.py (fixtures of the unit tests)
and bench/bars/metrics_reference.py (the full bar).

pip install rouge-score==0.1.2 sacrebleu==2.6.0 rapidfuzz==3.14.6 scipy
"""
import re
import string
import subprocess
import sys
import types
from collections import Counter

import sacrebleu
from rapidfuzz import fuzz
from rouge_score import rouge_scorer

ROUGE_KINDS = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
PLAIN = rouge_scorer.RougeScorer(ROUGE_KINDS, use_stemmer=False)
STEMMED = rouge_scorer.RougeScorer(ROUGE_KINDS, use_stemmer=True)
SENTENCE_BLEU = sacrebleu.BLEU(effective_order=True)


def normalize_answer(text):
    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def token_f1(prediction, reference, no_answer=False):
    predicted, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    if no_answer and (not predicted or not wanted):
        return float(predicted == wanted)
    same = sum((Counter(predicted) & Counter(wanted)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(predicted), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def exact(prediction, reference):
    return float(normalize_answer(prediction) == normalize_answer(reference))


def squad2(prediction, references):
    gold = [r for r in references if normalize_answer(r)] or [""]
    return (max(exact(prediction, r) for r in gold),
            max(token_f1(prediction, r, no_answer=True) for r in gold))


def contains_normalized(prediction, references):
    text = f" {normalize_answer(prediction)} "
    gold = [normalize_answer(r) for r in references]
    return float(any(g and f" {g} " in text for g in gold))


def quito(prediction, references):
    plain = lambda text: re.sub(r"[^\x00-\x7F]", "?", text).lower()
    return float(any(plain(r) in plain(prediction) for r in references))


def asqa_em_recall(prediction, answer_sets):
    text = prediction.lower()
    return sum(any(a.lower() in text for a in aliases) for aliases in answer_sets) / len(answer_sets)


def code_similarity(prediction, reference):
    candidate = ""
    for line in prediction.lstrip("\n").split("\n"):
        if "`" not in line and "#" not in line and "//" not in line:
            candidate = line
            break
    return round(fuzz.ratio(candidate, reference)) / 100


def altqa(prediction, reference):
    plain = lambda text: text.strip().strip(".").lower()
    return float(plain(prediction) == plain(reference))


def pair_scores(prediction, references):
    """Everything that is defined for one prediction and its references."""
    squad_exact, squad_f1 = squad2(prediction, references)
    scores = {
        "exact_match": max(exact(prediction, r) for r in references),
        "token_f1": max(token_f1(prediction, r) for r in references),
        "squad2_exact": squad_exact,
        "squad2_f1": squad_f1,
        "contains_exactly": float(any(r in prediction for r in references)),
        "contains_normalized": contains_normalized(prediction, references),
        "contains_quito": quito(prediction, references),
        "asqa_em_recall": asqa_em_recall(prediction, [[r] for r in references]),
        "hotpotqa_f1": max(token_f1(prediction.split(".")[0], r) for r in references),
        "edit_similarity": fuzz.ratio(prediction, references[0]) / 100,
        "longbench_code": code_similarity(prediction, references[0]),
        "altqa": altqa(prediction, references[0]),
        "sentence_bleu": SENTENCE_BLEU.sentence_score(prediction, references).score,
    }
    for suffix, scorer in (("", PLAIN), ("_stem", STEMMED)):
        for kind, score in scorer.score_multi(references, prediction).items():
            scores[f"{kind}{suffix}_p"] = score.precision
            scores[f"{kind}{suffix}_r"] = score.recall
            scores[f"{kind}{suffix}_f"] = score.fmeasure
    return {name: round(float(score), 9) for name, score in scores.items()}


def set_scores(pairs):
    """Scores of a whole set: sacrebleu's corpus BLEU and SCROLLS' geometric mean (in [0, 1])."""
    most = max(len(references) for _, references in pairs)
    streams = [[r[i] if i < len(r) else None for _, r in pairs] for i in range(most)]
    bleu = sacrebleu.BLEU().corpus_score([p for p, _ in pairs], streams).score
    product = 1.0
    for kind in ("rouge1", "rouge2", "rougeL"):
        product *= sum(PLAIN.score_multi(r, p)[kind].fmeasure for p, r in pairs) / len(pairs)
    return {"corpus_bleu": bleu, "scrolls": product ** (1 / 3)}


def choice(rule, prediction):
    """Letter that a paper's rule reads from a prediction, or None."""
    if rule == "first_letter":  # LLoCO, QuALITY
        return prediction[:1] or None
    if rule == "leval":
        if not prediction.strip() or prediction in "ABCD":
            return prediction if len(prediction) == 1 else None
        return next((c for c in prediction if c in "ABCD"), None)
    assert rule == "bamboo", rule
    line = prediction.strip().split("\n")[0].strip(" ")
    first = line[:1].upper()
    return first if first and line[0] in "abcdABCD" else None


def choice_row(rule, options, predictions):
    """Each prediction against two labels."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    cases = [[p, label, float(choice(rule, p) == letters[label])]
             for p in predictions for label in (1, len(p) % len(options))]
    return {"kind": "choice", "rule": rule, "options": options, "cases": cases}


class InfiniteBench:
    """The scorer of the public repository, read from a clone (a bare one will do)."""

    def __init__(self, clone):
        self.clone = clone
        source = self.show("src/compute_scores.py").decode()
        # Its two imports that are not scoring: the command line, and ROUGE through `evaluate`, which
        # is rouge-score with its defaults.
        arguments = types.ModuleType("args")
        arguments.parse_args = None
        evaluate = types.ModuleType("evaluate")
        evaluate.load = lambda name: self
        tqdm = types.ModuleType("tqdm")
        tqdm.tqdm = lambda items: items
        sys.modules.update(args=arguments, evaluate=evaluate, tqdm=tqdm)
        self.module = types.ModuleType("infinitebench_compute_scores")
        exec(compile(source, "compute_scores.py", "exec"), self.module.__dict__)

    def show(self, path):
        return subprocess.run(["git", "-C", self.clone, "show", f"HEAD:{path}"], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    def compute(self, predictions, references, use_aggregator):
        assert not use_aggregator
        score = [PLAIN.score_multi(r if isinstance(r, list) else [r], p)
                 for p, r in zip(predictions, references)]
        return {kind: [s[kind].fmeasure for s in score] for kind in ROUGE_KINDS}

    def row(self, task, prediction, label, model=""):
        """A fixture row, or None where the reference itself stops with an exception."""
        try:
            score = self.module.get_score_one(prediction, label, task, model)
        except Exception:
            return None
        return {"kind": "infinitebench", "task": task, "prediction": prediction, "label": label,
                "gpt4": model == "gpt4", "score": score}
