"""
The model that a stream of tasks starts from: pretrained on the stream's first domain alone.

    python continual/base.py                                   # fiction, embedded: under a minute on two cores
    python continual/base.py --stream real --seed 1            # novels, in another order, other first weights
    python continual/base.py --tokens 60000                    # to see that it runs

It is never the speedrun's model: that one has already seen code and science, so it has nothing to learn from them.
Its tokenizer, too, was learned from the first domain alone: whoever deploys a model does not know what it will meet.
So the tokens of a later domain are mostly known pieces of words, and the domain is new. What is done is not done again.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import subprocess
from pathlib import Path

from continual.streams import ORDERS, ROOT, domain

SIZES = {"embedded": (1024, 600_000), "real": (2048, 1_200_000), "novels": (2048, 800_000)}  # vocabulary, tokens


def folder(stream, name, seed, out=Path("out/continual")):
    """Where the base of a stream that begins with the domain `name` lies; its checkpoint is in `run` there."""
    return Path(out) / stream / f"base_{name}_{seed}"


def script(name, *flags):
    """Run one of our scripts as a process of its own; ends with it if it fails."""
    if code := subprocess.run([sys.executable, ROOT / name, *map(str, flags)]).returncode:
        sys.exit(code)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--stream", choices=ORDERS, default="embedded", help="[%(default)s]")
    p.add_argument("--domain", help="what it is pretrained on [the stream's first]")
    p.add_argument("--tokens", type=int, help="to train on [by the stream]")
    p.add_argument("--seed", type=int, default=0, help="of the weights and the order of the data [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/continual"), help="where to write [%(default)s]")
    args = p.parse_args(argv)
    args.domain = args.domain or ORDERS[args.stream][0][0]
    if args.domain not in ORDERS[args.stream][0]:
        p.error(f"{args.stream} has no domain {args.domain!r}, but {', '.join(ORDERS[args.stream][0])}")
    return args


def make(stream, name, seed, out=Path("out/continual"), tokens=None):
    """Data, tokenizer and base of a stream that begins with the domain `name`, unless they are there."""
    data, run = Path(out) / stream / f"data_{name}", folder(stream, name, seed, out)
    if (run / "metrics.json").exists():
        return
    vocabulary, usual = SIZES[stream]
    if not (data / "shards" / "meta.json").exists():
        data.mkdir(parents=True, exist_ok=True)
        for part in ("train", "valid"):
            texts = domain(stream, name)[part]
            (data / f"{part}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        script("bpe/train.py", "--data", data / "train.jsonl", "--vocab", vocabulary, "--out", data / "tokenizer")
        script("bpe/shards.py", "--train", data / "train.jsonl", "--valid", data / "valid.jsonl",
               "--tokenizer", data / "tokenizer", "--out", data / "shards")
    script("train/train.py", "--data", data / "shards", "--tokenizer", data / "tokenizer", "--out", run,
           "--tokens", tokens or usual, "--length", 128, "--batch", 16, "--micro-batch", 16, "--eval-every", 1000,
           "--seed", seed)


def main(argv=None):
    args = parse(argv)
    make(args.stream, args.domain, args.seed, args.out, args.tokens)


if __name__ == "__main__":
    main()
