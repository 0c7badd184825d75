"""
What is learned one after another: streams of domains, with the documents that are trained on, tuned on, tested on.

    python continual/streams.py                  # what each stream consists of, with a line of each domain

    embedded   fiction, code, science of the made-up world (bpe/tinyworld.py): seconds, and no network
    real       five novels, Python's standard library, abstracts and medical answers
    novels     TinyStories, then each of the five novels: one language throughout, so that a router cannot cheat

The first domain of an order is what the base was pretrained on (continual/base.py), the others are the tasks. A novel
is cut into stretches, every tenth of which is for testing and the one after it for tuning, before anything is
trained; where documents could be near duplicates (bpe/splits.py), training gives way.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import subprocess
from functools import cache
from pathlib import Path

import numpy as np

from bpe import datasets
from bpe.documents import records, stories
from bpe.splits import near_duplicates

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path("out/tinyworld/corpus")
ORDERS = {  # the first order is the one that is reported, the second the one that hyperparameters are chosen on
    "embedded": (("fiction", "code", "science"), ("fiction", "science", "code"),
                 ("science", "code", "fiction"), ("code", "fiction", "science")),
    "real": (("fiction", "code", "science"), ("fiction", "science", "code"),
             ("science", "code", "fiction"), ("code", "fiction", "science")),
    "novels": (("stories", "frankenstein", "a-tale-of-two-cities", "treasure-island", "pride-and-prejudice",
                "the-adventures-of-sherlock-holmes"),
               ("stories", "the-adventures-of-sherlock-holmes", "pride-and-prejudice", "treasure-island",
                "a-tale-of-two-cities", "frankenstein"))}
LETTERS = 1500       # of a passage of a novel or of a program, at least
LARGEST = 3_000_000  # letters of a domain's training texts, at most


def passages(text, ends="\n\n"):
    """A text in passages of at least LETTERS letters that end at a paragraph, or at a line."""
    found = [""]
    for part in text.split(ends):
        found[-1] += part + ends
        if len(found[-1]) >= LETTERS:
            found.append("")
    return [passage.strip("\n") + "\n" for passage in found if passage.strip()]


def stretches(texts, of=10):
    """{"train", "valid", "test"}: passages of long texts, every tenth stretch held out and the next one tuned on."""
    parts = {"train": [], "valid": [], "test": []}
    for text in texts:
        for n, stretch in enumerate(np.array_split(passages(text), 5 * of)):
            parts[{3: "valid", 2: "test"}.get(n % of, "train")] += map(str, stretch)
    return parts


def apart(texts, rng):
    """The same of short texts in random order, a tenth each; training gives up near duplicates of the others."""
    texts = [texts[n] for n in rng.permutation(len(texts))]
    cut = len(texts) // 10
    parts = {"test": texts[:cut], "valid": texts[cut:2 * cut], "train": texts[2 * cut:]}
    twins = set(near_duplicates(parts["train"], parts["test"] + parts["valid"], share=0.5))
    parts["train"] = [text for n, text in enumerate(parts["train"]) if n not in twins]
    return parts


# ----------------------------------------------------------------------------
# the domains

def tinyworld(name):
    if not (CORPUS / "meta.json").exists():
        subprocess.run([sys.executable, ROOT / "bpe/tinyworld.py", "--out", CORPUS], check=True)

    return {part: [row["text"] for _, row in records(CORPUS / f"{name}_{part}.jsonl")]
            for part in ("train", "valid", "test")}


def real(name):
    rng = np.random.default_rng(0)
    paths = datasets.fetch(name).values()
    if name == "science":
        rows = [row for path in paths for _, row in records(path)]
        return apart([row.get("abstract") or f"{row['question']}\n{row['answer']}" for row in rows], rng)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths]
    if name == "fiction":
        return stretches(texts)
    files = apart(texts, rng)                                # whole files are held out, then cut
    return {part: [p for text in texts for p in passages(text, "\n")] for part, texts in files.items()}


def novels(name):
    if name == "stories":
        train, valid = (list(stories(path)) for path in datasets.fetch("tinystories").values())
        return {"train": train[100:], "valid": train[:100], "test": valid}
    paths = datasets.fetch("fiction")
    return stretches([next(path for file, path in paths.items() if name in file).read_text(encoding="utf-8")])


@cache
def domain(stream, name):
    """{"train": [texts], "valid": [...], "test": [...]}, the same every time; exits where data cannot be had."""
    parts = {"embedded": tinyworld, "real": real, "novels": novels}[stream](name)
    rng, size = np.random.default_rng(0), 0
    shuffled = [parts["train"][n] for n in rng.permutation(len(parts["train"]))]
    enough = next((n for n, text in enumerate(shuffled) if (size := size + len(text)) > LARGEST), len(shuffled))
    return parts | {"train": shuffled[:enough]}


def main():
    for stream, (order, *_) in ORDERS.items():
        print(f"{stream}: {' -> '.join(order)}")
        for name in order:
            parts = domain(stream, name)
            sizes = ", ".join(f"{part} {sum(map(len, texts)) / 1e6:.2f}" for part, texts in parts.items())
            print(f"   {name:34} {sizes} million letters   {parts['test'][0][:60]!r}")


if __name__ == "__main__":
    main()
