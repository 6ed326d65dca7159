"""Fixture of src/compress/selective_context/golden_test.cc: what the rules of the published program keep of some
texts, given a language model's surprisals (SmolLM2 by Hugging Face transformers, f32, GGUF weights dequantised).

The rules are written here from the paper (arXiv 2310.06201) and from what its program does, with strings and
cursors as there: sentences by one regular expression, tokens matched to units by their lengths, numpy's
nanpercentile. Lengths are bytes, not characters of decoded tokens, because a token may hold a part of a
character.

usage: tools/golden/selective_context.py MODELS OUT     OUT: tests/golden/selective_context.jsonl
needs: numpy, torch, transformers, gguf, tokenizers
"""
import json
import pathlib
import random
import re
import sys

import numpy as np

SENTENCE_END = re.compile(r"(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<=\.|\?)\s")
RATIOS = (0.2, 0.35, 0.5, 0.8)


def sentences_of(text):
    collapsed = re.sub(r"\s+", " ", text)
    return collapsed, [s.strip() for s in SENTENCE_END.split(collapsed) if s.strip()]


def unit_values(pieces, surprisals, units, mean):
    """pieces: bytes of the tokens; units: bytes that concatenate to the same sentence."""
    lists = [[] for _ in units]
    at, unit = 0, 0
    for piece, value in zip(pieces, surprisals):
        at += len(piece)
        if at < len(units[unit]):
            if piece != b" ":
                lists[unit].append(value)
            continue
        ended = []
        while unit < len(units) and at >= len(units[unit]):
            at -= len(units[unit])
            ended.append(unit)
            unit += 1
        for u in ended:
            lists[u].append(value / len(ended))
    if mean:
        return [np.mean(v) if v else np.nan for v in lists]
    return [np.sum(v) if v else np.nan for v in lists]


def kept(values, ratio):
    threshold = np.nanpercentile(values, ratio * 100)
    return "".join("0" if v < threshold else "1" for v in values)


def chunks_of(sentence, rng):
    """Chunk boundaries as a parser would give them: words and marks, some runs of words merged."""
    spans = [m.span() for m in re.finditer(r"\w+(?:[-']\w+)*|[^\w\s]", sentence)]
    out = []
    for begin, end in spans:
        if out and rng.random() < 0.35 and sentence[out[-1][1] - 1].isalnum() and sentence[begin].isalnum():
            out[-1][1] = end
        else:
            out.append([begin, end])
    return out


def reference(sentences, pieces, surprisals, chunks, ratios=RATIOS):
    """Which units are kept, by level, value and ratio. pieces and surprisals: a list a sentence."""
    result = {}
    for mean in (True, False):
        levels = {"token": [v for s in surprisals for v in s],
                  "sentence": [np.mean(s) if mean else np.sum(s) for s in surprisals], "phrase": []}
        for sentence, p, s, c in zip(sentences, pieces, surprisals, chunks):
            ends = [e for _, e in c]
            if not ends or ends[-1] < len(sentence):
                ends.append(len(sentence))
            units = [sentence[a:b].encode() for a, b in zip([0] + ends[:-1], ends)]
            levels["phrase"] += unit_values(p, s, units, mean)
        for level, values in levels.items():
            for ratio in ratios:
                result[f"{level}/{'mean' if mean else 'sum'}/{ratio}"] = kept(values, ratio)
    return result


TEXTS = [
    "One sentence only.",
    "word",
    "Dr. Brown met Mr. Lee at 5 p.m. on Monday. Did they agree? Nobody knows! The U.S. office, i.e. the one in "
    "Boston, was closed.",
    "  White\tspace\n\nis   collapsed.  Here too.\u00a0And after a no-break space. ",
    "Naïve café owners — most of them — agreed: 你好 🙂 means hello. Ελληνικά too? Yes.",
    "The key is 40512. Remember it. 40512 is the key. The key is 40512. Remember it.",
    "the the the the the the the the the the the the. a a a a a a a a a a a a.",
    "no full stop and no capital letter, just words that go on until the text ends",
]


def byte_letters():
    """The letter that byte-level BPE spells a byte with → the byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}


def paragraphs(root, count):
    out = []
    for path in sorted(root.glob("docs/**/*.md")):
        for paragraph in path.read_text().split("\n\n"):
            if 200 < len(paragraph) < 900 and "|" not in paragraph and "```" not in paragraph:
                out.append(paragraph)
    return out[:: max(1, len(out) // count)][:count]


def main(models, out):
    import torch
    import transformers
    from model import gguf_state
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
    start = tk.token_to_id("<|endoftext|>")
    byte_of = byte_letters()
    rng = random.Random(5)
    texts = TEXTS + paragraphs(pathlib.Path(__file__).resolve().parents[2], 18)
    with open(out, "w") as file:
        for text in texts:
            collapsed, sentences = sentences_of(text)
            pieces, surprisals, chunks = [], [], []
            for sentence in sentences:
                encoded = tk.encode(sentence, add_special_tokens=False)
                with torch.no_grad():
                    ids = torch.tensor([[start] + encoded.ids])
                    logp = torch.log_softmax(model(ids).logits[0, :-1].double(), -1)
                surprisals.append([round(v, 7) for v in (-logp.gather(1, ids[0, 1:, None])[:, 0]).tolist()])
                pieces.append([bytes(byte_of[c] for c in t) for t in encoded.tokens])
                assert b"".join(pieces[-1]) == sentence.encode()
                chunks.append(chunks_of(sentence, rng))
            row = {"text": text, "collapsed": collapsed, "sentences": sentences,
                   "lengths": [[len(p) for p in s] for s in pieces], "surprisals": surprisals, "chunks": chunks,
                   "kept": reference(sentences, pieces, surprisals, chunks)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
