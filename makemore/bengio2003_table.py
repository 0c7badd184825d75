"""
The table of Bengio et al. 2003 on WikiText-2: context, features, hidden units, direct connections, mixture.

    python makemore/bengio2003_table.py                    # all variants: about an hour
    python makemore/bengio2003_table.py --minutes 3        # as far as it gets; the same command goes on
    python makemore/bengio2003_table.py --only MLP9 --vocab 1000 --epochs 0.01 --out out/small   # seconds

All 33,278 words of the set (those of frequency 3 and up), where bengio2003.py keeps 10,000. MLP1 to MLP9 are
the networks of the paper's table 1, in its sizes; the tied ones are wider and look further back. What is done
lies in --out: a variant that was cut off goes on from the very step, bit for bit, and a finished one is not
trained again. Writes table.md, table.json and metrics.json.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from makemore.bengio2003 import BATCH, SPLITS, Bengio, load, logprob, train
from makemore.bengio2003_mix import SCORED, compare, opponents, perplexity
from makemore.record import write_metrics

VARIANTS = {                        # epochs, and Bengio's arguments
    "MLP1": (2, dict(n=5, h=50, m=60, direct=True)),
    "MLP3": (2, dict(n=5, h=0, m=60, direct=True)),
    "MLP5": (2, dict(n=5, h=50, m=30, direct=True)),
    "MLP7": (2, dict(n=3, h=50, m=30, direct=True)),
    "MLP9": (2, dict(n=5, h=100, m=30)),
    "tied5": (3, dict(n=5, h=400, m=128, tied=True, dropout=(0.1, 0.2))),
    "tied9": (3, dict(n=9, h=400, m=128, tied=True, dropout=(0.1, 0.2))),
}
PAPER = {                           # on Brown, table 1: train, valid, test; mixed with the trigram: valid, test
    "MLP1": (182, 284, 268, 275, 257), "MLP3": (201, 327, 310, 286, 272), "MLP5": (209, 296, 279, 273, 259),
    "MLP7": (210, 309, 293, 284, 270), "MLP9": (175, 280, 276, 265, 252),
    "trigram": (352, 336), "kneser_ney": (332, 321)}         # its best n-gram was one of word classes: 326, 312


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long, to go on later")
    p.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="variants [all]")
    p.add_argument("--epochs", type=float, help="passes over the text [two for the paper's, more for the tied]")
    p.add_argument("--vocab", type=int, help="most frequent words kept, others <unk> [all of them]")
    p.add_argument("--seed", type=int, default=0, help="of all that is random [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/makemore/bengio2003_table"), help="[%(default)s]")
    args = p.parse_args(argv)
    if (args.vocab or 100) < 100 or (args.epochs or 1) <= 0:
        sys.exit("--vocab must be at least 100, --epochs above 0")
    return args


def claim(args):
    """Make --out the place of a table with these settings; exits if it holds one with others."""
    args.out.mkdir(parents=True, exist_ok=True)
    path, settings = args.out / "settings.json", {"vocab": args.vocab, "epochs": args.epochs, "seed": args.seed}
    if path.exists() and json.loads(path.read_text()) != settings:
        sys.exit(f"{args.out} holds a table of {path.read_text().strip()}; give this one another place with --out")
    path.write_text(json.dumps(settings) + "\n")


def ngrams(ids, vocab, path):
    """What opponents() finds, counted once and kept in the file `path`."""
    if not path.exists():
        *rows, order = opponents({split: x.numpy() for split, x in ids.items()}, vocab)
        np.savez(path, order=order, **{f"{i}_{split}": row[split] for i, row in enumerate(rows) for split in row})
    with np.load(path) as kept:
        return *({split: kept[f"{i}_{split}"] for split in SCORED} for i in range(3)), int(kept["order"])


def scores(name, ids, vocab, args, deadline):
    """{split: (N,) logarithms} of a variant, which is trained and scored if need be; None when time is up."""
    folder = args.out / name
    folder.mkdir(parents=True, exist_ok=True)
    paths, state = {split: folder / f"{split}.npy" for split in SPLITS}, folder / "state.pt"
    if missing := [split for split in SPLITS if not paths[split].exists()]:
        epochs, given = VARIANTS[name]
        print(f"{name}: {given}")
        torch.manual_seed(args.seed)
        model = Bengio(vocab, **given)
        steps = max(1, int((args.epochs or epochs) * (len(ids["train"]) // BATCH)))
        if not train(model, ids["train"], steps, args.seed, state, deadline):
            return None
        for split in missing:
            if time.time() > deadline:
                return None
            end = len(ids["valid"]) if split == "train" else None    # of train a tenth is enough
            np.save(paths[split], logprob(model, ids[split][:end]))
        state.unlink()
    return {split: np.load(path) for split, path in paths.items()}


def cell(number):
    return "" if number is None else f"{number:.0f}"


def table(found, order):
    """The lines of the table: ours, in brackets the paper's on Brown; mixed: on test."""
    titles = ["", "n", "h", "m", "direct", "train", "valid", "test", "test, mixed with the trigram, half each",
              "with Kneser-Ney, half each", "with Kneser-Ney, by context"]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for name, row in found.items():
        (_, v), old = VARIANTS[name], PAPER.get(name, [None] * 5)
        ours = [row["train"], row["net"]["valid"], row["net"]["test"], row["net_trigram_half"]["test"]]
        theirs = [*old[:3], old[4]]
        cells = [cell(a) + (f" ({b})" if b else "") for a, b in zip(ours, theirs)]
        cells += [cell(row["net_kneser_ney_half"]["test"]), cell(row["net_kneser_ney_learned"]["test"])]
        direct = "tied" if v.get("tied") else "yes" if v.get("direct") else "no"
        lines.append(f"| {name} | {v['n']} | {v['h']} | {v['m']} | {direct} | " + " | ".join(cells) + " |")
    some = next(iter(found.values()))
    for title, name, n in (("interpolated", "trigram", 3), ("Kneser-Ney", "kneser_ney", order)):
        both = [f"{cell(some[name][split])} ({old})" for split, old in zip(SCORED, PAPER[name])]
        lines.append(f"| {title} | {n} | | | | | {both[0]} | {both[1]} | | | |")
    return lines


def main(argv=None):
    args = parse(argv)
    began = time.time()
    deadline = began + 60 * args.minutes
    claim(args)
    ids, vocab = load(args.vocab)
    trigram, kn, bins, order = ngrams(ids, len(vocab), args.out / "ngrams.npz")
    found = {}
    for name in args.only:
        if (net := scores(name, ids, len(vocab), args, deadline)) is None:
            print("time is up; the same command goes on from here")
            break
        found[name] = {"train": perplexity(net["train"]), **compare(net, trigram, kn, bins)}
    if not found:
        return
    best = min(found.values(), key=lambda row: row["net"]["valid"])
    opponent = best["kneser_ney"]["test"]
    numbers = {"below_ngram": 1 - best["net"]["test"] / opponent, "ngram_order": order, "vocab": len(vocab),
               "mix_below_ngram": 1 - best["net_kneser_ney_learned"]["test"] / opponent}
    lines = table(found, order)
    print("\n" + "\n".join(lines))
    print(f"best on valid: {numbers['below_ngram']:.1%} below the best n-gram on test, "
          f"mixed with it {numbers['mix_below_ngram']:.1%}")
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    (args.out / "table.json").write_text(json.dumps(found, indent=1) + "\n")
    write_metrics(args.out, "makemore/bengio2003_table.py", argv, seed=args.seed,
                  seconds=round(time.time() - began, 1), numbers=numbers)
    print(f"wrote {args.out}/table.md, table.json, metrics.json")


if __name__ == "__main__":
    main()
