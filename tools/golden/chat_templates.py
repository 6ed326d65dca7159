"""Renders conversations with models' own chat templates, for chat_template_test.cc.

    python tools/golden/chat_templates.py --templates FILE.json --out tests/golden/tokenizers/chats.json

FILE.json maps each format of src/text/chat_formats.cc to the templates (Jinja text, as in
tokenizer_config.json) that it stands for; they belong to their models and are not kept here. All
templates of one format must render alike.
"""
import argparse
import json

from jinja2.sandbox import ImmutableSandboxedEnvironment

S, U, A = "system", "user", "assistant"
TALKS = [
    [(U, "Hello")],
    [(S, "You are brief."), (U, "Hello there.\n\nTwo paragraphs.")],
    [(U, "  spaces around  \n"), (A, " Hi! "), (U, "\n\nNew lines first")],
    [(S, "Système: é 漢字 😀"), (U, "a"), (A, "b"), (U, "c"), (A, "d"), (U, "e 123")],
    [(U, "a"), (A, "<think>\nsome thought\n</think>\n\nb"), (U, "c")],
]


def fail(message):
    raise ValueError(message)


def render(template, talk):
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.globals.update(raise_exception=fail, strftime_now=lambda _: "26 Jul 2024")
    return env.from_string(template).render(
        messages=[{"role": r, "content": c} for r, c in talk], add_generation_prompt=True,
        bos_token="<s>", eos_token="</s>")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--templates", required=True)
    args.add_argument("--out", required=True)
    args = args.parse_args()
    rows = []
    for name, templates in json.load(open(args.templates)).items():
        for talk in TALKS:
            try:
                texts = {render(t, talk) for t in templates}
            except ValueError:  # no place for a system message
                continue
            assert len(texts) == 1, (name, texts)
            rows.append({"format": name, "messages": talk, "text": texts.pop()})
    with open(args.out, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n")


if __name__ == "__main__":
    main()
