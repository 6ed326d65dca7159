"""Makes the fixtures of tests/golden/tokenizers: small tokenisers and what the reference libraries
(tokenizers, sentencepiece) give for some lines.

    python tools/golden/tokenizer_pairs.py --models DIR --data DIR --out tests/golden/tokenizers

--models holds smollm2-135m-instruct/ and all-minilm-l6-v2/; --data holds pretrain_heldout.jsonl.zst,
of which only books in the public domain and PEPs (public domain or CC0) are trained on. The lines
are ours. With --reuse the tokenisers stay as they are and only the pairs are made again.
"""
import argparse
import io
import json
import pathlib
import re

import sentencepiece
import zstandard
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

LINES = [
    b"", b" ", b"\n", b"a", b" a", b"a ", b"\t\tx", b"Hello, world!", b"  two  spaces   three ",
    b"It's we're I'LL they'Ve o'clock 'Twas", b"don't stop 'til you're 'd",
    b"\n\n  \n\t \n x\r\n\r\ny \r z", b"   \n   indented\n\tTabbed\n", b"x" * 300, b" " * 200 + b"end",
    b"1 12 123 1234 12345 3.14159 1,000,000 0x1F 2024-02-29 1e-9", b"a1b22c333d4444",
    "¹²³ ½ ⅷ ٠١٢٣ १२३ 一二三 ①②".encode(), "Ⅳ Ⅻ ৫৬ 𝟘𝟙𝟚".encode(),
    b"def f(x: int) -> str:\n    return f\"{x!r}\"  # comment\n\n\nclass A:\n\tpass\n",
    b"for (int i = 0; i < n; ++i) { a[i] *= b->c[i] & 0xFF; }  /* \xc2\xa9 */",
    b"<html><body class=\"x\">&nbsp;</body></html>", b"{\"k\": [1, 2.5, null, true]}",
    b"SELECT * FROM t WHERE a >= 'b''c' -- d", b"https://example.org/a?b=c&d=%20#e",
    b"user@example.com +1 (555) 010-9999 #tag @name $5.00 50% ~/.bashrc C:\\x\\y",
    "😀 👍🏽 👩‍👩‍👧‍👦 🇩🇪 🏴‍☠️ ❤️ ☺︎ 🤷🏾‍♀️!".encode(), "text😀text 😀😀😀".encode(),
    "中文字符，没有空格。这是一个测试！".encode(), "日本語のテキスト、カタカナとひらがな。".encode(),
    "한국어 텍스트와 띄어쓰기".encode(), "漢字kanji混在text 𠮷野家".encode(),
    "Русский текст, ЗАГЛАВНЫЕ и строчные".encode(), "Ελληνικά άλφα ΣΊΣΥΦΟΣ".encode(),
    "العربية نص مع تَشْكِيل".encode(), "עברית עם נִקּוּד".encode(), "हिन्दी में पाठ क्षत्रिय".encode(),
    "ภาษาไทยไม่มีช่องว่าง".encode(), "Tiếng Việt có dấu".encode(), "বাংলা কো ৌ".encode(),
    "e\u0301 e\u0323\u0302 \u0041\u030a a\u0308\u0304 q\u0307\u0323".encode(),
    "\u1100\u1161\u11a8 \uac00\u11a8 각".encode(), "\u212b \u2126 \u212a ﬁ ﬀ ™ ㎏ Å é".encode(),
    "İstanbul ıI ŞŞ ß ẞ ǅ ŉ".encode(), "naïve café Ångström São Łódź Œuvre".encode(),
    "“curly” ‘quotes’ — dashes – … • § ¶ † ‰ « »".encode(), "a\u00a0b\u2003c\u3000d\u200be\ufefff".encode(),
    "\u2028line\u2029para\u0085next\u000bvt\u000cff".encode(), b"\x00\x01\x02\x1b[31mred\x7f",
    "\u00adsoft\u00adhyphen zero\u200dwidth\u200cjoin".encode(), "∑∫√∞≠≤ α→β ×÷ ² x₁".encode(),
    "▁under ▁▁ block▁mid".encode(), "\ufffd replacement".encode(), "\ue000 private \U000f0000".encode(),
    b"bad \xff\xfe bytes", b"cut \xf0\x9f\x98", b"\xe2\x82 half \xc3", b"\xed\xa0\x80 surrogate",
    b"\xc0\xaf overlong \xf8\x88\x80\x80\x80", b"\x80\x81 lone \xe4\xb8\xad\xe6", b"caf\xe9 latin-1",
    b"<s> </s> <unk> <|endoftext|> <|im_start|> [CLS] [SEP] [UNK] text", b"<0x41> <0xFF>",
    b"supercalifragilisticexpialidocious antidisestablishmentarianism pneumonoultramicroscopic",
    b"THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG", b"the_quick_brown_fox camelCaseWords kebab-case-words",
    b"...!!!???---===___***///\\\\\\|||", b"a.b.c d,e,f g;h:i", b"\"'`\"'` (([[{{}}]]))",
    "Mr. O’Neill’s cat; “it’s” —said she— was 9 lives’ worth.".encode(),
]


def book_text(data):
    """About 1 MB of text that may be used for anything."""
    out = []
    with open(data / "pretrain_heldout.jsonl.zst", "rb") as f:
        stream = io.TextIOWrapper(zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(f), "utf-8")
        for line in stream:
            record = json.loads(line)
            if record["group"] in ("book", "pep"):
                out += record["text"].split("\n")
    return out[:12000] + [line.decode("utf-8", "replace") for line in LINES]


def train_bpe(pre, normalizer, text, vocab_size, ignore_merges=False):
    special = [AddedToken("<|begin|>", special=True), AddedToken("<|end|>", special=True)]
    tk = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tk.normalizer = normalizer
    tk.pre_tokenizer = pre
    tk.decoder = decoders.ByteLevel()
    tk.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tk


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train_all(data, out):
    text = book_text(data)
    llama3 = train_bpe(split(LLAMA3), None, text, 1500, ignore_merges=True)
    llama3.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])])
    llama3.save(str(out / "llama3.json"), pretty=False)
    qwen = train_bpe(split(QWEN2), normalizers.NFC(), text, 1500)
    qwen.add_tokens([AddedToken("<tool>", normalized=True), AddedToken("<think>", lstrip=True, rstrip=True)])
    qwen.save(str(out / "qwen2.json"), pretty=False)
    smollm = train_bpe(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                pre_tokenizers.ByteLevel(add_prefix_space=False)]),
                       None, text, 1200)
    smollm.save(str(out / "smollm.json"), pretty=False)
    gpt2 = train_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), None, text, 1200)
    gpt2.save(str(out / "gpt2.json"), pretty=False)
    train_word_piece(text).save(str(out / "wordpiece.json"), pretty=False)
    for kind in ("bpe", "unigram"):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text), model_prefix=str(out / f"sp_{kind}"), model_type=kind, vocab_size=1500,
            byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
            character_coverage=0.9995, split_digits=True, max_sentence_length=20000,
            allow_whitespace_only_pieces=True, minloglevel=2)
        (out / f"sp_{kind}.vocab").unlink()
    llama2_from(out / "sp_bpe.model").save(str(out / "llama2.json"), pretty=False)


def train_word_piece(text):
    tk = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tk.normalizer = normalizers.BertNormalizer()
    tk.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tk.decoder = decoders.WordPiece()
    tk.train_from_iterator(text, trainers.WordPieceTrainer(
        vocab_size=1500, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    tk.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(t, tk.token_to_id(t)) for t in ("[CLS]", "[SEP]")])
    return tk


def llama2_from(path):
    """The tokenizer.json of Llama 2's kind for a SentencePiece BPE model."""
    sp = sentencepiece.SentencePieceProcessor(model_file=str(path))
    vocab = {sp.id_to_piece(i): i for i in range(sp.vocab_size())}
    plain = [p for p, i in vocab.items() if not (sp.is_control(i) or sp.is_unknown(i) or sp.is_byte(i))]
    known = set(plain)
    merges = [(-sp.get_score(vocab[p]), p[:k], p[k:]) for p in plain for k in range(1, len(p))
              if p[:k] in known and p[k:] in known]
    merges.sort(key=lambda m: (m[0], vocab[m[1]], vocab[m[2]]))
    tk = Tokenizer(models.BPE(vocab=vocab, merges=[m[1:] for m in merges], unk_token="<unk>", fuse_unk=True,
                              byte_fallback=True))
    tk.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tk.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                    decoders.Strip(" ", 1, 0)])
    tk.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tk.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tk


def gguf_metadata(path):
    """tokenizer.ggml.* of a GGUF file."""
    import mmap
    import struct
    scalar = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    with open(path, "rb") as f:
        buf = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    pos = 8

    def take(fmt):
        nonlocal pos
        value = struct.unpack_from("<" + fmt, buf, pos)[0]
        pos += struct.calcsize("<" + fmt)
        return value

    def string():
        nonlocal pos
        size = take("Q")
        pos += size
        return buf[pos - size:pos].decode("utf-8")

    def value(kind):
        if kind == 9:
            sub, count = take("I"), take("Q")
            return [value(sub) for _ in range(count)]
        return string() if kind == 8 else take(scalar[kind])

    take("Q")
    meta = {}
    for _ in range(take("Q")):
        key = string()
        meta[key] = value(take("I"))
    return meta


def smollm2_from(path):
    """SmolLM2's byte-level BPE, rebuilt from the GGUF metadata."""
    meta = gguf_metadata(path)
    tokens, kinds = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    tk = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tk.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tk.decoder = decoders.ByteLevel()
    tk.add_special_tokens([AddedToken(t, special=True, normalized=False)
                           for t, k in zip(tokens, kinds) if k == 3])
    return tk


class Hf:
    """encode(text) with and without special tokens read from the text, as EncodeOptions means it."""

    def __init__(self, tk):
        self.tk = tk
        tk.no_truncation()
        tk.no_padding()

    def encode(self, text, parse_special):
        self.tk.encode_special_tokens = not parse_special
        return self.tk.encode(text).ids


class Sp:
    def __init__(self, path):
        self.sp = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, text, parse_special):
        if not parse_special:
            return [1] + self.sp.encode(text)
        ids = [1]
        for part in re.split(r"(<s>|</s>|<unk>)", text):
            is_special = part in ("<s>", "</s>", "<unk>")
            ids += [self.sp.piece_to_id(part)] if is_special else self.sp.encode(part) if part else []
        return ids


def references(models_dir, fixtures):
    """name → encoder; the names are those of the programs that compare."""
    out = {name: Hf(Tokenizer.from_file(str(fixtures / f"{name}.json")))
           for name in ("llama3", "qwen2", "smollm", "gpt2", "wordpiece", "llama2")}
    out["sp_bpe"] = Sp(fixtures / "sp_bpe.model")
    out["sp_unigram"] = Sp(fixtures / "sp_unigram.model")
    if models_dir:
        out["smollm2"] = Hf(smollm2_from(models_dir / "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"))
        out["minilm"] = Hf(Tokenizer.from_file(str(models_dir / "all-minilm-l6-v2/tokenizer.json")))
    return out


def pairs(encoders, lines):
    """One record a line: {"line": hex, "ids": {name: [plain, with special tokens read]}}."""
    for line in lines:
        text = line.decode("utf-8", "replace")
        ids = {}
        for name, encoder in encoders.items():
            plain, special = encoder.encode(text, False), encoder.encode(text, True)
            ids[name] = [plain] if plain == special else [plain, special]
        yield json.dumps({"line": line.hex(), "ids": ids}, separators=(",", ":"))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--models", type=pathlib.Path, required=True)
    args.add_argument("--data", type=pathlib.Path)
    args.add_argument("--out", type=pathlib.Path, required=True)
    args.add_argument("--reuse", action="store_true")
    args = args.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.reuse:
        train_all(args.data, args.out)
    encoders = references(args.models, args.out)
    with open(args.out / "pairs.jsonl", "w") as f:
        f.writelines(line + "\n" for line in pairs(encoders, LINES))


if __name__ == "__main__":
    main()
