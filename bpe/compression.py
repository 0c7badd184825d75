"""
How large a vocabulary pays: bytes per token from 256 to 65,536 entries, on fiction, code and science, and
what a vocabulary learned on one costs on the others.

    python bpe/compression.py                                   # writes out/bpe/compression/
    python bpe/compression.py --megabytes 0.2 --vocab 4096      # seconds, to see that it runs

For the curves each kind trains on all there is of it, once, with the largest vocabulary; the smaller ones
are its first merges. That is exact: training picks one merge after the other and never looks at the size
asked for, so on its way to 65,536 it passes through the vocabulary of 1,024. A curve ends early where
every word of the text has become one token. For the table of costs all train on the same amount.

Measured is on whole documents that no training saw: a novel, modules of Python's standard library, medical
abstracts and answers. Left out on purpose: what a model makes of it. A larger vocabulary saves tokens, and
costs rows in the first and the last matrix.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import importlib.util
import json
import random
import time
from pathlib import Path

from bpe import datasets
from bpe.bpe import GPT4, Tokenizer
from bpe.pattern import splitter
from bpe.record import write_metrics

KINDS = "fiction", "code", "science"


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--vocab", type=int, default=65536, help="the largest vocabulary [%(default)s]")
    p.add_argument("--table", type=int, default=8192, help="vocabulary of the table of costs, at most [%(default)s]")
    p.add_argument("--megabytes", type=float, default=20, help="MB of each kind to train on, at most [%(default)s]")
    p.add_argument("--held", type=float, default=0.3, help="MB of each kind to measure on, at least [%(default)s]")
    p.add_argument("--seed", type=int, default=0, help="decides which documents are held out [%(default)s]")
    p.add_argument("--no-picture", action="store_true", help="tables only, without matplotlib")
    p.add_argument("--out", type=Path, default=Path("out/bpe/compression"), help="folder to write to [%(default)s]")
    return p.parse_args(argv)


def documents(kind):
    """The texts of one kind, as a list."""
    paths = datasets.fetch(kind).values()
    if kind != "science":
        return [path.read_text(encoding="utf-8", errors="replace") for path in paths]
    rows = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [row.get("abstract") or f"{row['question']} {row['answer']}" for row in rows]


def split(texts, megabytes, held, rng):
    """texts -> (text to train on, text to measure on): whole documents of at least `held` MB, the rest cut to size."""
    texts, apart = rng.sample(texts, len(texts)), ""
    while texts and len(apart.encode()) < held * 1e6:
        apart += texts.pop()
    if not texts:
        sys.exit(f"--held {held} leaves nothing to train on. Choose less")
    return start_of("\n\n".join(texts), int(megabytes * 1e6)), apart


def start_of(text, size):
    """The first `size` bytes of a text, in whole characters."""
    return text.encode()[:size].decode(errors="ignore")


def shortened(tokenizer, size):
    """The tokenizer as if it had been trained to a smaller size."""
    return Tokenizer(tokenizer.merges[:size - 256], tokenizer.pattern, specials=())


def bytes_per_token(tokenizer, text):
    return len(text.encode()) / len(tokenizer.encode(text))


def bytes_per_word(text):
    """What no vocabulary can exceed, since no merge crosses the border of two pre-tokens."""
    return len(text.encode()) / sum(map(len, splitter(GPT4)(text)))


def learn(train, size):
    """{kind: text} -> {kind: tokenizer}"""
    tokenizers = {}
    for kind, text in train.items():
        start = time.perf_counter()
        tokenizers[kind] = Tokenizer.train(text, size, specials=())
        print(f"{kind:8} {len(text.encode()) / 1e6:6.2f} MB  {tokenizers[kind].n_vocab:7,} entries"
              f"  {time.perf_counter() - start:5.1f} s", flush=True)
    return tokenizers


def alike(train):
    """The same number of bytes of each kind, and under the name "mixed" of all together, in equal parts."""
    size = min(len(text.encode()) for text in train.values())
    parts = {kind: start_of(text, size // len(train)) for kind, text in train.items()}
    return {kind: start_of(text, size) for kind, text in train.items()} | {"mixed": "".join(parts.values())}


def growth(tokenizers, held):
    """Print and return {kind: {vocabulary: bytes per token on held-out text}}, up to where the words run out."""
    print("\nbytes per token on held-out text\nvocabulary" + "".join(f"{kind:>10}" for kind in held))
    curves, size = {kind: {} for kind in held}, 256
    while any(size <= tokenizers[kind].n_vocab for kind in held):
        print(f"{size:10,}", end="")
        for kind, text in held.items():
            if size <= tokenizers[kind].n_vocab:
                curves[kind][size] = bytes_per_token(shortened(tokenizers[kind], size), text)
            print(f"{curves[kind][size]:10.3f}" if size in curves[kind] else " " * 10, end="")
        print(flush=True)
        size *= 2
    print("one a word" + "".join(f"{bytes_per_word(text):10.3f}" for text in held.values()))
    return curves


def costs(tokenizers, held):
    """Print and return {vocabulary of: {kind: bytes per token}}, with the tokens more than its own needs."""
    print("\nlearned on a row's kind, held-out text of a column's: bytes per token, tokens more than with its own\n"
          + " " * 10 + "".join(f"{kind:>16}" for kind in held))
    table = {row: {kind: bytes_per_token(tokenizer, text) for kind, text in held.items()}
             for row, tokenizer in tokenizers.items()}
    for row, cells in table.items():
        print(f"{row:10}" + "".join(f"{x:9.3f} {table[kind][kind] / x - 1:+6.0%}" for kind, x in cells.items()))
    return table


def picture(path, curves, ceilings, table, size):
    """Left the curves of growth(), right the costs of one size in tokens."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    share = [table[kind][kind] / ceilings[kind] for kind in curves]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 5), width_ratios=[3, 2], layout="constrained")
    for kind, curve in curves.items():
        line, = left.plot(curve.keys(), curve.values(), marker="o", label=kind)
        left.axhline(ceilings[kind], color=line.get_color(), linestyle=":")
    left.plot([], [], color="gray", linestyle=":", label="one token a word: the most there is")
    left.set_xscale("log", base=2)
    left.set_xticks(ticks := list(max(curves.values(), key=len)), [f"{v:,}" for v in ticks], rotation=45)
    left.set(xlabel="vocabulary (entries)", ylabel="bytes per token, held-out text",
             ylim=(0, 1.08 * max(ceilings.values())))
    left.set_title(f"With {size:,} entries a token is {min(share):.0%} to {max(share):.0%} of a word")
    left.legend(loc="lower right")

    kinds = list(curves)
    more = [[table[kind][kind] / cells[kind] - 1 for kind in kinds] for cells in table.values()]
    right.imshow(more, cmap="Reds", vmin=0)
    for y, (row, cells) in enumerate(zip(more, table.values())):
        for x, (m, kind) in enumerate(zip(row, kinds)):
            right.text(x, y, f"{m:+.0%}\n{cells[kind]:.2f}", ha="center", va="center",
                       color="white" if m > max(map(max, more)) / 2 else "black")
    right.set_xticks(range(len(kinds)), kinds)
    right.set_yticks(range(len(table)), table)
    right.set(xlabel="held-out text", ylabel="vocabulary learned on")
    right.set_title(f"A foreign vocabulary costs up to {max(map(max, more)):.0%} more tokens\n"
                    f"({size:,} entries; lower number: bytes per token)")
    figure.savefig(path, dpi=150)


def main(argv=None):
    args = parse(argv)
    if not args.no_picture and not importlib.util.find_spec("matplotlib"):
        sys.exit("the picture needs matplotlib: pip install -r requirements-extra.txt, or add --no-picture")
    if (size := min(args.table, args.vocab)) < 256:
        sys.exit(f"a vocabulary of {size} has no room for the 256 bytes. Choose a larger --vocab or --table")
    start, train, held = time.perf_counter(), {}, {}
    for kind in KINDS:
        train[kind], held[kind] = split(documents(kind), args.megabytes, args.held, random.Random(args.seed))
    curves = growth(learn(train, args.vocab), held)
    print(f"\n{size:,} entries, the same amount of text for each")
    table = costs(learn(alike(train), size), held)
    ceilings = {kind: bytes_per_word(text) for kind, text in held.items()}
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.no_picture:
        picture(args.out / "compression.png", curves, ceilings, table, size)
    numbers = {f"{kind}_{size}_bytes_per_token": x for kind, curve in curves.items() for size, x in curve.items()}
    numbers |= {f"{row}_on_{kind}_bytes_per_token": x for row, cells in table.items() for kind, x in cells.items()}
    write_metrics(args.out, "bpe/compression.py", argv, seed=args.seed, seconds=time.perf_counter() - start,
                  numbers=numbers)
    print(f"wrote {args.out}; next: python bpe/show.py TEXT")


if __name__ == "__main__":
    main()
