"""
The model that every experiment in forgetting starts from: pretrained on fiction alone.

    python continual/base.py                     # about a minute and a half on two cores; out/continual/base/run
    python continual/base.py --tokens 60000      # to see that it runs

It is never the speedrun's model: that one has already seen code and science, so it has nothing to learn from
them. The tokenizer is learned from all three, as one that serves them would be. What is done is not done again.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOMAINS = "fiction", "code", "science"


def script(name, *flags):
    """Run one of our scripts as a process of its own; ends with it if it fails."""
    if code := subprocess.run([sys.executable, ROOT / name, *map(str, flags)]).returncode:
        sys.exit(code)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--corpus", type=Path, default=Path("out/tinyworld/corpus"),
                   help="folder of <domain>_train.jsonl, made if it is not there [%(default)s]")
    p.add_argument("--tokens", type=int, default=1_200_000, help="tokens of fiction to train on [%(default)s]")
    p.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/continual/base"), help="where to write [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if not (args.corpus / "meta.json").exists():
        script("bpe/tinyworld.py", "--out", args.corpus)
    tokenizer, shards = args.out / "tokenizer", args.out / "shards"
    texts = [args.corpus / f"{domain}_train.jsonl" for domain in DOMAINS]
    if not (tokenizer / "tokenizer.json").exists():
        script("bpe/train.py", "--data", *texts, "--vocab", 2048, "--out", tokenizer)
    if not (shards / "meta.json").exists():
        script("bpe/shards.py", "--train", texts[0], "--valid", args.corpus / "fiction_valid.jsonl",
               "--tokenizer", tokenizer, "--out", shards)
    script("train/train.py", "--data", shards, "--tokenizer", tokenizer, "--out", args.out, "--tokens", args.tokens,
           "--eval-every", 1000, "--seed", args.seed)


if __name__ == "__main__":
    main()
