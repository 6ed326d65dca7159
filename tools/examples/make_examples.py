#!/usr/bin/env python3
"""Makes examples/documents from the question-answering and plain-text sets (see examples/README.md).

usage: make_examples.py DATA_DIR OUT_DIR    needs the programs zstd, the packages reportlab, python-docx

Run once; what it made is committed. The texts are whole and unchanged but for their container: a
meeting becomes a PDF, a handbook page a DOCX, an article an HTML page; e-mail addresses are left out.
"""
import csv
import html
import json
import re
import subprocess
import sys
from pathlib import Path

import docx
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer


def records(path):
    lines = subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout
    for line in lines.decode().split("\n"):
        if line:
            yield json.loads(line)


def find(data, name, test):
    return next(r for r in records(data / name) if test(r))


def write_pdf(path, title, text):
    styles = getSampleStyleSheet()
    body = [Paragraph(html.escape(title), styles["Title"])]
    for line in text.split("\n"):
        speaker, colon, words = line.partition(": ")
        content = f"<b>{html.escape(speaker)}:</b> {html.escape(words)}" if colon else html.escape(line)
        body += [Paragraph(content, styles["BodyText"]), Spacer(1, 12)]
    SimpleDocTemplate(str(path), pagesize=A4, title=title, invariant=1).build(body)


def plain(markdown):
    """Inline Markdown marks → nothing."""
    return re.sub(r"\*\*(.+?)\*\*|\*(.+?)\*", lambda m: m[1] or m[2], markdown)


def write_docx(path, text):
    document = docx.Document()
    for block in re.split(r"\n\s*\n|\n(?=- )", text):
        block = block.strip()
        level = len(block) - len(block.lstrip("#"))
        if level:
            document.add_heading(plain(block[level:].strip()), level)
        elif block.startswith("- "):
            document.add_paragraph(plain(block[2:]), style="List Bullet")
        elif block:
            document.add_paragraph(plain(" ".join(block.split())))
    document.save(path)


def write_html(path, text):
    out, title = [], ""
    for block in re.split(r"\n\s*\n", text):
        level = len(block) - len(block.lstrip("#"))
        words = html.escape(plain(block[level:].strip()), quote=False)
        title = title or words
        out.append(f"<h{level}>{words}</h{level}>" if level else f"<p>{words}</p>")
    path.write_text(
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
        "<body>\n<nav><a href=\"/\">Home</a> <a href=\"/blog\">Blog</a></nav>\n<article>\n"
        + "\n".join(out)
        + "\n</article>\n</body>\n</html>\n",
        encoding="utf-8",
    )


def without_addresses(text):
    return re.sub(r" ?<[^<>@\s]+@[^<>@\s]+>", "", text)


def write_pep_table(data, path):
    """Number, title, status, type and date of the PEPs in the plain-text set."""
    rows = []
    for r in records(data / "pretrain.jsonl.zst"):
        if r["group"] == "pep":
            head = dict(re.findall(r"^(PEP|Title|Status|Type|Created): *(.+)$", r["text"][:1500], re.M))
            if len(head) == 5:
                rows.append([head[k] for k in ("PEP", "Title", "Status", "Type", "Created")])
    rows.sort(key=lambda row: int(row[0]))
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(["PEP", "Title", "Status", "Type", "Created"])
        writer.writerows(rows[:60])


def main():
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    for folder in ("minutes", "guides", "stories", "python"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    meeting = find(data, "qmsum.jsonl.zst", lambda r: r["id"] == "qmsum-education_3")
    write_pdf(out / "minutes/education-committee.pdf",
              "Children, Young People and Education Committee: Estyn's annual report 2018-19",
              meeting["text"])
    more = {r["title"]: r["text"] for r in records(data / "pretrain_more_2.jsonl.zst")}
    write_docx(out / "guides/history-and-values.docx", more["History and values of 18F"])
    write_html(out / "guides/distributed-teams.html", more["Building distributed teams"])
    (out / "guides/washington-office.md").write_text(more["Washington, D.C."] + "\n")
    tales = {r["id"]: r for r in records(data / "fairytaleqa.jsonl.zst")}
    for name, file in (("the-selfish-giant", "selfish-giant.txt"),
                       ("shinansha-or-south-pointing-carriage", "south-pointing-carriage.txt"),
                       ("the-boyhood-of-cuchulain", "boyhood-of-cuchulain.txt")):
        (out / "stories" / file).write_text(tales["fairytaleqa-" + name]["text"] + "\n")
    paw = re.sub(r"^# Title: (.+)\n+## Author: (.+)\n+## Year: (.+)\n+-+\n", r"# \1\n\nBy \2, \3\n",
                 more["W. W. Jacobs/The Monkey's Paw"])
    (out / "stories/monkeys-paw.md").write_text(paw + "\n")
    pep = find(data, "pretrain.jsonl.zst", lambda r: r["title"].startswith("pep-8001"))
    (out / "python/pep-8001.rst").write_text(without_addresses(pep["text"]) + "\n")
    write_pep_table(data, out / "python/peps.csv")


main()
