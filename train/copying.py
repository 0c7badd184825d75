"""
How soon does a model learn to copy? Lists to say back, with and without a head that looks back.

    python train/copying.py --tokenizer out/tinyworld/tokenizer                 # about a minute on two cores
    python train/copying.py --tokenizer out/tinyworld/tokenizer --steps 4       # seconds, to see that it runs

Both models train on the same lists (bpe/world_format.py, echo) with the loss on the answer alone, and differ
in nothing but gpt/lookback.py. A model that knows the list and not the order loses about 2.5 nats a token.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch

from bpe import world_format
from bpe.bpe import Tokenizer
from bpe.template import render
from gpt.llama import Config, Llama
from gpt.lookback import look_back
from train.adamw import AdamW
from train.device import device, prepare
from train.loader import Conversations, Loader
from train.log import write_metrics
from train.muon import Muon, split
from train.step import evaluate, optimize


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--tokenizer", type=Path, required=True, help="folder of a tokenizer")
    add("--out", type=Path, default=Path("out/train/copying"), help="where to write [%(default)s]")
    add("--steps", type=int, default=120, help="of 8 rows of 256 tokens [%(default)s]")
    add("--width", type=int, default=128, help="channels [%(default)s]")
    add("--seed", type=int, default=0, help="[%(default)s]")
    return p.parse_args(argv)


def lists(rng, n, tokenizer):
    """n lists to say back as a Loader takes them: [(ids, mask of the answer)]"""
    turns = (world_format.echo(rng) for _ in range(n))
    rendered = (render([{"role": "user", "content": turn.ask}, {"role": "assistant", "content": turn.reply}], tokenizer)
                for turn in turns)
    return [(np.array(ids), np.array(mask, dtype=bool)) for ids, mask in rendered]


def learn(args, tokenizer, back, where):
    """Held-out loss, nats per token of an answer, after each third of the steps."""
    torch.manual_seed(args.seed)
    config = Config(tokenizer.n_vocab, n_embd=args.width, n_hidden=args.width * 11 // 4, qk_norm=True)
    model = prepare(Llama(config), where)
    if back:
        look_back(model)
    pad, rng = tokenizer.specials["<|pad|>"], random.Random(args.seed)
    held_out = Loader(Conversations(lists(rng, 200, tokenizer)), pad, 8, 256, crop=False)
    valid = [held_out.next() for _ in range(3)]
    loader = Loader(Conversations(lists(rng, 33 * args.steps, tokenizer)), pad, 8, 256, args.seed)
    matrices, rest = split(model)
    rates, losses = ((Muon(matrices, weight_decay=0.01), 0.02), (AdamW(rest), 0.004)), []
    for step in range(1, args.steps + 1):
        optimize(model, rates, loader.next(), min(1.0, step / 10), 1.0, where)
        if step % max(1, args.steps // 3) == 0:
            losses.append(evaluate(model, valid, where))
    return losses[:3]


def main(argv=None):
    args, start, numbers = parse(argv), time.time(), {}
    tokenizer, where = Tokenizer.load(args.tokenizer), device()
    print(f"nats per token of an answer after a third, two thirds and all of {args.steps} steps")
    for name, back in (("plain", False), ("look_back", True)):
        losses = learn(args, tokenizer, back, where)
        numbers[f"{name}_loss_nats"] = losses[-1]
        shown = " ".join(f"{loss:6.3f}" for loss in losses)
        print(f"{name:10s} {shown} | {time.time() - start:.0f} s", flush=True)
    write_metrics(args.out, seed=args.seed, seconds=time.time() - start, numbers=numbers)
    print(f"wrote {args.out}/metrics.json; next: python train/train.py --no-look-back --data SHARDS --tokenizer FOLDER")


if __name__ == "__main__":
    main()
