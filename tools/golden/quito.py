"""Fixture of src/compress/quito/golden_test.cc: attention rows of SmolLM2 by Hugging Face transformers (eager, f32,
GGUF weights dequantised), and what the filters of the published program keep on them.

The rules are written here from what the program does (github Wenshansilvia/attention_compressor, its trees of August
2024 and November 2025), with token strings and word lists as there, scipy's Gaussian, and numbers in double
(the program's are single: there ties come from rounding). Sentence ends are given, because the program's own
alignment of sentences and words by substrings stops with an error on ordinary text; get_sorted_ids, which the
later tree calls and does not define, is the indices by falling score.

usage: tools/golden/quito.py MODELS OUT     OUT: tests/golden/quito.jsonl
needs: numpy, scipy, torch, transformers, gguf, tokenizers
"""
import json
import pathlib
import re
import sys

import numpy as np
from scipy.ndimage import gaussian_filter1d

RATIOS = (0.1, 0.25, 0.5, 0.9)


def words_of(tokens, weights):
    """tokens: surfaces with Ġ for a space. → words, scores, counts."""
    words, scores, counts = [], [], []
    word, score, count = "", 0, 1
    for token, weight in zip(tokens, weights):
        token = token.replace("Ċ", "\n")
        if token.startswith("Ġ"):
            if word:
                words.append(word), scores.append(score), counts.append(count)
            word, score, count = token[1:], weight, 1
        else:
            word, score, count = word + token, max(score, weight), count + 1
    if word:
        words.append(word), scores.append(score), counts.append(count)
    return words, scores, counts


def phrase_2024(scores, ratio):
    rank = {i: r for r, (i, _) in enumerate(sorted(enumerate(scores), key=lambda x: x[1]))}
    return [i for i in range(len(scores)) if rank[i] > len(scores) * (1 - ratio)]


def phrase_2025(scores, counts, ratio):
    kept, total = [], 0
    for i in sorted(range(len(scores)), key=lambda i: scores[i], reverse=True):
        total += counts[i]
        if total >= sum(counts) * ratio:
            break
        kept.append(i)
    return sorted(kept)


def sentences(scores, ends, ratio, dynamic):
    budget = len(scores) * ratio
    parts = [list(range(a, b)) for a, b in zip([0] + ends[:-1], ends)]
    best = [max(scores[i] for i in p) for p in parts]
    selected, length, overflow = [], 0, None
    for s in sorted(range(len(parts)), key=lambda s: best[s], reverse=True):
        if length + len(parts[s]) > budget:
            overflow = parts[s]
            break
        selected.append(s)
        length += len(parts[s])
    kept = [i for s in sorted(selected) for i in parts[s]]
    if not dynamic or overflow is None:
        return kept
    top = max(range(len(overflow)), key=lambda i: scores[overflow[i]])
    chosen, left, right = [top], top - 1, top + 1
    while len(chosen) < budget - length:
        if left < 0 and right >= len(overflow):
            break
        if left >= 0:
            chosen.append(left)
            left -= 1
        if right < len(overflow):
            chosen.append(right)
            right += 1
    return kept + [overflow[i] for i in sorted(chosen)]


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


def reference(tokens, row, sentence_ends, ratios=RATIOS):
    words, scores, counts = words_of(tokens, softmax(np.asarray(row, np.float64)).tolist())
    smooth = gaussian_filter1d(np.asarray(scores), 1.0).tolist() if scores else []
    out = {}
    for ratio in ratios:
        out[f"paper/phrase/{ratio}"] = phrase_2024(smooth, ratio)
        out[f"head/phrase/{ratio}"] = phrase_2025(smooth, counts, ratio)
        for rules, values in (("paper", scores), ("head", smooth)):
            out[f"{rules}/sentence/{ratio}"] = sentences(values, sentence_ends, ratio, False) if values else []
            out[f"{rules}/dynamic/{ratio}"] = sentences(values, sentence_ends, ratio, True) if values else []
    return words, out


def ends_of(words):
    ends = [i + 1 for i, w in enumerate(words) if re.search(r"[.!?][\"')\]]*$", w)]
    if words and (not ends or ends[-1] < len(words)):
        ends.append(len(words))
    return ends


def main(models, out):
    import torch
    import transformers
    from model import gguf_state
    from selective_context import TEXTS, byte_letters, paragraphs
    from smollm2_tokenizer import tokenizer
    path = models / "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
    config = transformers.LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=49152, max_position_embeddings=8192, rope_theta=100000.0, rms_norm_eps=1e-5,
        tie_word_embeddings=True, attn_implementation="eager")
    model = transformers.LlamaForCausalLM(config)
    model.load_state_dict(gguf_state(path, config), strict=False)
    model.eval()
    tk = tokenizer(path)
    byte_of = byte_letters()
    texts = [t.strip() for t in TEXTS] + paragraphs(pathlib.Path(__file__).resolve().parents[2], 18)
    with open(out, "w") as file:
        for text in texts:
            encoded = tk.encode(text, add_special_tokens=False)
            ask = tk.encode(" What is said about the main subject?", add_special_tokens=False).ids
            before = tk.encode("<|im_start|>user\n", add_special_tokens=False).ids
            after = tk.encode("<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False).ids
            ids = before + encoded.ids + ask + after
            with torch.no_grad():
                attention = model(torch.tensor([ids]), output_attentions=True).attentions[-1][0, :, -1]
            row = attention.double().mean(0)[len(before):len(before) + len(encoded.ids)].tolist()
            row = [float(f"{w:.9g}") for w in row]
            words, _, _ = words_of(encoded.tokens, row)
            ends = ends_of(words)
            _, kept = reference(encoded.tokens, row, ends)
            lengths = [len(bytes(byte_of[c] for c in t)) for t in encoded.tokens]
            file.write(json.dumps({"text": text, "lengths": lengths, "row": row, "ids": ids, "begin": len(before),
                                   "sentence_ends": ends, "kept": kept}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
