"""
32,033 first names as numbers: the data that every model of this folder learns from, except Bengio's and the n-gram.

    python makemore/names.py                                # a few names, the split, what a model sees

A name is read letter by letter. "." stands before and after it, so that a model also learns how names begin
and when they end:  .emma.  gives five examples,  "..." -> e,  "..e" -> m,  ".em" -> m,  "emm" -> a,  "mma" -> .

Every model here has the signature forward(idx, targets=None) -> (logits, loss): idx (B, T) int64, the T letters
before the one to guess; logits (B, V); loss in nats per letter, or None without targets.

B = batch, T = letters of context, V = 27 letters, "." among them, N = examples
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import random
from pathlib import Path

import torch

from bpe import datasets

ALPHABET = ".abcdefghijklmnopqrstuvwxyz"
V = len(ALPHABET)


def load():
    """All names, lower case, in the order of the file; exits with the remedy where there are none."""
    names = datasets.fetch("names")["names.txt"].read_text(encoding="utf-8").split()
    if strange := set("".join(names)) - set(ALPHABET[1:]):
        sys.exit(f"names.txt holds {''.join(sorted(strange))!r}; only a to z can be read. Restore it with\n"
                 "    python bpe/datasets.py --fetch names")
    return names


def split(names):
    """(train, dev, test), 80/10/10, shuffled as in the lectures, so that figures compare: 25,626, 3,203, 3,204."""
    names = list(names)
    random.Random(42).shuffle(names)
    a, b = int(0.8 * len(names)), int(0.9 * len(names))
    return names[:a], names[a:b], names[b:]


def examples(names, context):
    """x: (N, T) int64, the letters before each letter of each name;  y: (N,) int64, that letter."""
    text = torch.tensor([ALPHABET.index(c) for name in names for c in "." * context + name + "."])
    windows = text.unfold(0, context + 1, 1)                 # (all but a few, T + 1)
    starts, at = [], 0
    for name in names:                                       # a window that reaches into the next name is no example
        starts.append(torch.arange(at, at + len(name) + 1))
        at += context + len(name) + 1
    windows = windows[torch.cat(starts)]                     # (N, T + 1)
    return windows[:, :-1].contiguous(), windows[:, -1].contiguous()


@torch.no_grad()
def loss_of(model, x, y, batch=8192):
    """Nats per letter over all examples, in evaluation mode; the model is left in the mode in which it came."""
    was, total = model.training, 0.0
    model.eval()
    for i in range(0, len(x), batch):
        xs, ys = x[i:i + batch], y[i:i + batch]
        total += model(xs, ys)[1].item() * len(xs)
    model.train(was)
    return total / len(x)


@torch.no_grad()
def generate(model, n, context, generator, temperature=1.0, longest=30):
    """n new names, one letter at a time; one that does not end by itself is cut at `longest` letters."""
    was = model.training
    model.eval()
    idx = torch.zeros(n, context, dtype=torch.int64)         # (n, T) only "."
    drawn = []
    for _ in range(longest):
        p = torch.softmax(model(idx)[0] / temperature, dim=-1)   # (n, V)
        letter = torch.multinomial(p, 1, generator=generator)
        idx = torch.cat([idx[:, 1:], letter], dim=1)
        drawn.append(letter)
    model.train(was)
    rows = torch.cat(drawn, dim=1).tolist()                  # n times `longest`
    return ["".join(ALPHABET[i] for i in row).split(".")[0] for row in rows]


def save(folder, kind, config, model, context):
    """model.pt for sample.py: which file's model it is, how it was made, its weights."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"kind": kind, "config": config, "context": context, "weights": model.state_dict()}, folder / "model.pt")


def main():
    names = load()
    train, dev, test = split(names)
    print(f"{len(names):,} names, the first {', '.join(names[:3])}; "
          f"{len(train):,} train, {len(dev):,} dev, {len(test):,} test")
    x, y = examples(train[:1], 3)
    for context, letter in zip(x, y):
        print("".join(ALPHABET[i] for i in context), "->", ALPHABET[letter])
    print(f"a uniform guess loses {torch.tensor(float(V)).log():.4f} nats a letter; next: python makemore/bigram.py")


if __name__ == "__main__":
    main()
