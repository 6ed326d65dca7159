#!/usr/bin/env python3
"""Writes documents about people, places and firms that do not exist, with questions and answers.

No weights can have seen them: names are made of syllables drawn from a seed that is chosen after the
weights' hash is known. Each document tells the story of one invented town and its people in 60 to 90
facts, in an order and wording drawn for it, with sentences between them that hold no answer.

usage: invented_documents.py --seed N [--documents 36] [--questions 12] --out invented.jsonl
"""
import argparse
import json
import random

ONSETS = "b br c ch d dr f g gr h j k kl l m n p pr qu r s sk st t th tr v w z".split()
VOWELS = "a e i o u ae ia ou ei".split()
CODAS = ["", "", "", "n", "r", "l", "s", "th", "m", "x", "nd", "rk"]
MONTHS = ("January February March April May June July August September October November December").split()
TRADES = ["clockmaker", "botanist", "cartographer", "glassblower", "surveyor", "bookbinder", "beekeeper",
          "physician", "shipwright", "organist", "stonemason", "printer", "teacher", "astronomer", "weaver"]
GOODS = ["salt", "amber", "barley", "copper wire", "violins", "lamp oil", "wool", "porcelain", "tin", "rope",
         "mustard seed", "paper", "cedar planks", "dried plums", "glass beads"]
BUILDINGS = ["granary", "observatory", "library", "foundry", "bathhouse", "lighthouse", "theatre", "mill",
             "customs house", "chapel", "covered market", "school"]
REASONS = ["a flood had washed out the lower road", "the old roof could not carry the snow",
           "the council wanted a place for the archive", "the harbour had silted up",
           "a fire had spared nothing but the cellar", "too many children had to be taught in the open",
           "the wells ran dry two summers in a row", "merchants complained about thieves"]
ANIMALS = ["heron", "badger", "otter", "lynx", "goat", "raven", "hare", "sturgeon", "owl", "hedgehog"]
COLOURS = ["green", "ochre", "dark blue", "white", "crimson", "grey", "violet", "black"]
FILLERS = [
    "Not everyone agreed, and the minutes of that winter are full of crossings-out.",
    "Travellers who passed through wrote little about it.",
    "The weather that year was unremarkable.",
    "Older residents still argue about it on market days.",
    "Several letters on the matter have been lost.",
    "It is mentioned only briefly in the parish register.",
    "What followed was slower than anyone had hoped.",
    "A copy of the agreement hangs in the town hall, behind glass.",
    "Nobody thought to ask the ferrymen for their opinion.",
    "The accounts of the time do not say what it cost.",
    "Some of this was later denied.",
    "The road was bad, as it always had been in spring.",
]


def word(rng, syllables):
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + (rng.choice(CODAS) if i == syllables - 1 else "")
                   for i in range(syllables)).capitalize()


def facts(rng):
    """Pairs: sentence, [(question, answer)]."""
    town, river, firm = word(rng, 3), word(rng, 2), word(rng, 2)
    title = f"A short history of {town}"
    out = [(f"{town} lies on the river {river}, a day's walk from the coast.",
            [(f"On which river does {town} lie?", river)])]
    people = []
    for _ in range(9):
        name = f"{word(rng, 2)} {word(rng, 3)}"
        trade, year = rng.choice(TRADES), rng.randint(1704, 1898)
        origin = word(rng, 3)
        people.append((name, trade))
        out.append((f"{name}, a {trade} from {origin}, came to {town} in {year}.",
                    [(f"Where did {name} come from?", origin), (f"In which year did {name} come to {town}?", str(year)),
                     (f"What was the trade of {name}?", trade)]))
    for building in rng.sample(BUILDINGS, 7):
        name, _ = rng.choice(people)
        year, reason, month = rng.randint(1710, 1905), rng.choice(REASONS), rng.choice(MONTHS)
        out.append((f"The {building} was built in {year} under {name}, because {reason}.",
                    [(f"Why was the {building} of {town} built?", reason), (f"Who was in charge of building the {building}?", name),
                     (f"In which year was the {building} built?", str(year))]))
        colour = rng.choice(COLOURS)
        out.append((f"The doors of the {building} were painted {colour} every {month}, longer than anywhere else in {town}.",
                    [(f"In which colour were the doors of the {building} painted?", colour)]))
    for _ in range(6):
        (name, _), (other, _) = rng.sample(people, 2)
        thing, price = rng.choice(GOODS), rng.randint(12, 940)
        out.append((f"When {name} owed {other} {price} crowns for a load of {thing}, the two did not speak for years.",
                    [(f"How many crowns did {name} owe {other}?", str(price)),
                     (f"What had {name} taken from {other} without paying?", thing)]))
    goods = rng.sample(GOODS, 3)
    out.append((f"The house of {firm} and Sons traded in {goods[0]} and {goods[1]}, and later only in {goods[2]}.",
                [(f"What did the house of {firm} and Sons trade in at last?", goods[2])]))
    animal = rng.choice(ANIMALS)
    out.append((f"The arms of {town} show a {animal} above two crossed oars.",
                [(f"Which animal is on the arms of {town}?", animal)]))
    for _ in range(5):
        name, trade = rng.choice(people)
        place, animal = word(rng, 2), rng.choice(ANIMALS)
        out.append((f"{name} kept a tame {animal} in a house at {place} Gate.",
                    [(f"Which animal did {name} keep?", animal), (f"At which gate did {name} live with an animal?", f"{place} Gate")]))
    return title, town, out


def document(rng, index, questions):
    title, town, told = facts(rng)
    first, rest = told[0], told[1:]
    rng.shuffle(rest)
    paragraphs, asked, sentences = [], [], []
    for sentence, pairs in [first] + rest:
        sentences.append(sentence)
        asked.extend(pairs)
        if rng.random() < 0.6:
            sentences.append(rng.choice(FILLERS))
        if len(sentences) >= rng.randint(5, 9):
            paragraphs.append(" ".join(sentences))
            sentences = []
    paragraphs.append(" ".join(sentences))
    # What two facts answer is no question: a question with one answer in the document alone.
    answers = {}
    for question, answer in asked:
        answers.setdefault(question, set()).add(answer)
    unique = sorted((q, a) for q, a in asked if len(answers[q]) == 1)
    chosen = rng.sample(unique, min(questions, len(unique)))
    return {"id": f"invented-{index}", "dataset": "invented", "title": title, "licence": "CC0-1.0",
            "text": title + "\n\n" + "\n\n".join(p for p in paragraphs if p),
            "questions": [{"id": f"invented-{index}-{i}", "question": q, "answers": [a]} for i, (q, a) in enumerate(chosen)]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--documents", type=int, default=36)
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with open(args.out, "w", encoding="utf-8") as out:
        for index in range(args.documents):
            out.write(json.dumps(document(rng, index, args.questions)) + "\n")


if __name__ == "__main__":
    main()
