"""
How often does the router pick the right task, by how much it has read, and against what?

    python continual/routing.py                         # the embedded stream: three domains
    python continual/routing.py --stream novels         # six books in one language: the hard case

Ours counts tokens (continual/router.py). Rivals, all of them incremental, too: the same over single bytes, and over the
base's hidden states the nearest mean by cosine and Gaussians at every depth (continual/hidden_router.py). Then what a
router must also do: abstain on a domain that was never taught, and say something of a text that is half one thing and
half another.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
from pathlib import Path

import numpy as np
import torch

from continual import base
from continual.learn import examples
from continual.hidden_router import DEPTH, FAR as FAR_AWAY, HiddenRouter, features
from continual.router import FAR, READ, Router
from continual.streams import ORDERS
from continual.transfer import interval
from gpt import checkpoint
from train.loader import Loader
from train.log import write_metrics

LENGTHS = 8, 16, 32, 64


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--stream", choices=ORDERS, default="embedded", help="[%(default)s]")
    add("--seeds", type=int, default=3, help="of the base and the rows [%(default)s]")
    add("--train-rows", type=int, default=400, help="of each domain that the router sees [%(default)s]")
    add("--test-rows", type=int, default=200, help="of each domain [%(default)s]")
    add("--out", type=Path, default=Path("out/continual"), help="where the bases are [%(default)s]")
    return p.parse_args(argv)


def rows_of(args, name, part, count, tokenizer, seed):
    """(count, READ) ids of held-out or training text: each row begins with a document."""
    documents = examples(args.stream, name, part, tokenizer, letters=30 * count * READ)
    return Loader(documents, tokenizer.specials["<|pad|>"], count, READ, seed).next()[0]


# ----------------------------------------------------------------------------
# ours and its rivals: learn(train) -> choose(x (n, T)) -> n names; train: {name: rows}

def counting(n_vocab, far=float("inf")):
    def learn(train):
        router = Router(n_vocab)
        for name, x in train.items():
            router.add(name, x)
        return lambda x: router.choose(x, far)
    return learn


def bytewise(tokenizer):
    """The same over bytes: what a text is written with, without the tokenizer's words."""
    spelled = [torch.tensor(list(tokenizer.vocab[i]), dtype=torch.int64) for i in range(tokenizer.n_vocab)]
    table = torch.stack([torch.bincount(own, minlength=256) for own in spelled])  # (V, 256)

    def learn(train):
        names = list(train)
        seen = torch.stack([table[x].sum((0, 1)) for x in train.values()]).double() + 1
        chances = (seen / seen.sum(1, keepdim=True)).log()                        # (K, 256)
        return lambda x: [names[k] for k in (table[x].sum(1).double() @ chances.T).argmax(1).tolist()]
    return learn


def gaussians(model, depth, far=float("inf")):
    def learn(train):
        router = HiddenRouter()
        for name, x in train.items():
            router.add(name, features(model, x, depth=depth))
        return lambda x: router.choose(features(model, x, depth=depth), far)
    return learn


def cosine(model, depth):
    def learn(train):
        names = list(train)
        means = torch.stack([features(model, x, depth=depth).mean(0) for x in train.values()])
        middle = means.mean(0)

        def choose(x):
            close = torch.cosine_similarity((features(model, x, depth=depth) - middle)[:, None], means - middle, dim=-1)
            return [names[k] for k in close.argmax(1).tolist()]
        return choose
    return learn


# ----------------------------------------------------------------------------
# measures

def right(choose, test, n):
    """Share of all rows whose first n tokens are enough."""
    return float(np.mean([found == name for name, x in test.items() for found in choose(x[:, :n])]))


def stranger(teach, train, test):
    """Abstains: (share of the rows of a domain never taught, of those of the taught), mean over domains left out."""
    pairs = []
    for left in train:
        choose = teach({name: x for name, x in train.items() if name != left})
        missed = [found is None for name, x in test.items() if name != left for found in choose(x)]
        pairs.append((np.mean([found is None for found in choose(test[left])]), np.mean(missed)))
    return [float(share) for share in np.mean(pairs, axis=0)]


def mixed(choose, test):
    """Texts of two halves from different domains: how often one of the two is chosen, and how often the first."""
    names, either, first = list(test), [], []
    for a, b in zip(names, names[1:] + names[:1]):
        found = choose(torch.cat([test[a][:, :READ // 2], test[b][:, :READ // 2]], dim=1))
        either += [name in (a, b) for name in found]
        first += [name == a for name in found]
    return float(np.mean(either)), float(np.mean(first))


def one(args, seed):
    """{row of the table: {column: number}} of one seed."""
    order = ORDERS[args.stream][0]
    base.make(args.stream, order[0], seed, args.out)
    model, tokenizer, _ = checkpoint.load(base.folder(args.stream, order[0], seed, args.out) / "run", "cpu")
    model.eval()
    train, test = ({name: rows_of(args, name, part, count, tokenizer, seed) for name in order}
                   for part, count in (("train", args.train_rows), ("test", args.test_rows)))
    kinds = {"token counts: ours": counting(tokenizer.n_vocab), "byte counts": bytewise(tokenizer),
             "nearest mean": cosine(model, DEPTH)} | {
        f"Gaussians, {depth} blocks": gaussians(model, depth) for depth in range(len(model.model.layers) + 1)}
    found = {}
    for kind, learn in kinds.items():
        choose = learn(train)
        found[kind] = {f"{n} tokens": right(choose, test, n) for n in LENGTHS}
        found[kind]["one of two"], found[kind]["the first"] = mixed(choose, test)
    for kind, teach in (("abstains: ours", counting(tokenizer.n_vocab, FAR)),
                        ("abstains: Gaussians", gaussians(model, DEPTH, FAR_AWAY))):
        found[kind] = dict(zip(("on a stranger", "on its own"), stranger(teach, train, test)))
    return found


def main(argv=None):
    args = parse(argv)
    seeds = [one(args, seed) for seed in range(args.seeds)]
    columns = [f"{n} tokens" for n in LENGTHS] + ["one of two", "the first"]
    print(f"{args.stream}: {len(ORDERS[args.stream][0])} domains, {args.seeds} seeds, right on held-out rows, %")
    print(" " * 20 + "".join(f"{column:>16}" for column in columns))
    numbers = {}
    for kind in seeds[0]:
        cells = []
        for column in seeds[0][kind]:
            mean, half = interval([100 * seed[kind][column] for seed in seeds])
            numbers[f"{kind}, {column}"] = mean / 100
            cells.append(f"{mean:.1f} ±{half:.1f}")
        if kind.startswith("abstains"):
            print(f"{kind}, on a domain never taught {cells[0]}, on those taught {cells[1]}")
        else:
            print(f"{kind:20}" + "".join(f"{cell:>16}" for cell in cells))
    print("one of two, the first: of texts whose halves come from two domains")
    write_metrics(args.out / args.stream / "routing", numbers=numbers)


if __name__ == "__main__":
    main()
