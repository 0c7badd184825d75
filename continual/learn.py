"""
One method, one seed, one stream: learn its tasks in order, and measure what is known after each.

    python continual/learn.py --method naive                           # fiction, then code, then science
    python continual/learn.py --method ewc --set strength=300 --order fiction science code --boundaries hidden
    python continual/learn.py --method naive --steps 4 --test-rows 16  # seconds, to see that it runs

Writes one json file, from which continual/train.py makes its tables. A row of a test is 128 tokens long, of which the
first 64 are there to be read and the rest is scored, whatever the method: one that chooses between adapters by what it
has read cannot be judged on the very tokens that it chose by.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import copy
import hashlib
import json
import time
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from continual import base, boundaries
from continual.learner import Learner
from continual.methods import METHODS
from continual.streams import ORDERS, domain
from gpt import checkpoint
from train.loader import Conversations, Loader

READ = 64          # tokens of a test row before the first that is scored


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--method", choices=METHODS, required=True, help="see continual/methods.py")
    add("--stream", choices=ORDERS, default="embedded", help="see continual/streams.py [%(default)s]")
    add("--order", nargs="+", help="of its domains; the first is the base's [the stream's]")
    add("--boundaries", choices=boundaries.KINDS, default="given", help="[%(default)s]")
    add("--set", nargs="*", default=[], metavar="NAME=NUMBER", help="hyperparameters [the method's chosen ones]")
    add("--on", choices=("test", "valid"), default="test", help="texts to measure on [%(default)s]")
    add("--seed", type=int, default=0, help="of the base, the data's order and the method [%(default)s]")
    add("--steps", type=int, default=150, help="of a task [%(default)s]")
    add("--rows", type=int, default=8, help="of a batch [%(default)s]")
    add("--length", type=int, default=128, help="tokens of a row [%(default)s]")
    add("--test-rows", type=int, default=128, help="rows of a test [%(default)s]")
    add("--watch", type=int, default=10, help="steps between short measurements on the way [%(default)s]")
    add("--out", type=Path, default=Path("out/continual"), help="where to write [%(default)s]")
    args = p.parse_args(argv)
    args.order = args.order or list(ORDERS[args.stream][0])
    if len(set(args.order)) < 2 or not set(args.order) <= set(ORDERS[args.stream][0]):
        p.error(f"--order takes two or more of {', '.join(ORDERS[args.stream][0])}")
    try:
        given = {name: float(number) for name, number in (pair.split("=") for pair in args.set)}
    except ValueError:
        p.error("--set takes pairs such as lr=0.001")
    args.setting = METHODS[args.method].chosen(args.stream)
    if unknown := given.keys() - args.setting.keys():
        p.error(f"{args.method} has no {', '.join(unknown)} to set, but {', '.join(args.setting)}")
    args.setting |= given
    return args


def result(args):
    """The file that this run writes: one for every set of arguments."""
    what = {key: value for key, value in sorted(vars(args).items()) if key not in ("out", "set")}
    mark = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:10]
    return args.out / args.stream / "runs" / f"{args.method}_{args.seed}_{mark}.json"


# ----------------------------------------------------------------------------
# data and measures

@cache
def examples(stream, name, part, tokenizer, letters=None):
    """The documents of one part of a domain as ids; as many as make `letters`."""
    bos, found, size = tokenizer.specials["<|bos|>"], [], 0
    for text in domain(stream, name)[part]:
        ids = np.array([bos, *tokenizer.encode(text), bos])
        found.append((ids, np.ones(len(ids), dtype=bool)))
        size += len(text)
        if letters and size > letters:
            break
    return Conversations(found)


def held_out(args, name, part, rows, tokenizer):
    """(x, y, doc, positions) of `rows` rows; the first READ targets of each are masked."""
    documents = examples(args.stream, name, part, tokenizer, letters=12 * rows * args.length)
    x, y, doc, positions = Loader(documents, tokenizer.specials["<|pad|>"], rows, args.length).next()
    y = y.clone()
    y[:, :READ] = -1
    return x, y, doc, positions


@torch.no_grad()
def measure(logits, batch, other=None, rows=32):
    """
    logits(x, doc, positions) on a batch, `rows` at a time.
    returns: loss (nats per target), accuracy (share of targets that are the likeliest token), and with `other`
    KL(these || other) in nats per target
    """
    totals = torch.zeros(3, dtype=torch.float64)
    for x, y, doc, positions in zip(*(t.split(rows) for t in batch)):
        scored, target = y >= 0, y[y >= 0]
        z = logits(x, doc, positions)[scored]                                     # (n, V)
        totals[0] += F.cross_entropy(z, target, reduction="sum")
        totals[1] += (z.argmax(-1) == target).sum()
        if other is not None:
            p, q = z.log_softmax(-1), other(x, doc, positions)[scored].log_softmax(-1)
            totals[2] += (p.exp() * (p - q)).sum()
    return (totals / (batch[1] >= 0).sum()).tolist()


# ----------------------------------------------------------------------------
# the stream

class Record:
    """What was measured on the way: after every task on the tests, every few steps on something short."""

    def __init__(self, args, tokenizer):
        self.tests = [held_out(args, name, args.on, args.test_rows, tokenizer) for name in args.order]
        self.short = [held_out(args, name, "valid", 16, tokenizer) for name in args.order]
        self.losses, self.accuracies, self.curve = [], [], []
        self.inference = 0.0         # operations a token

    def whole(self, learner, total):
        before = learner.flops
        found = self.each(learner, self.tests)
        self.inference = (learner.flops - before) / sum(batch[0].numel() for batch in self.tests)
        self.losses.append([loss for loss, _, _ in found])
        self.accuracies.append([accuracy for _, accuracy, _ in found])
        self.brief(learner, total)
        learner.flops = before                               # measuring is no part of the method's work

    def brief(self, learner, total):
        before = learner.flops
        self.curve.append([total, *(loss for loss, _, _ in self.each(learner, self.short))])
        learner.flops = before

    @staticmethod
    def each(learner, tests, other=None):
        """measure() of every domain; the learner is told which one, for the methods that an oracle helps."""
        found = []
        for learner.domain, batch in enumerate(tests):
            found.append(measure(learner.logits, batch, other))
        return found


def step(learner, method, batch, factor):
    """One update, with the gradient clipped to a norm of one."""
    learner.model.train()
    learner.step += 1
    learner.recent = [*learner.recent, batch][-learner.steps:]
    nats = method.loss(learner, batch)
    if learner.optimizers:
        nats.backward()
        torch.nn.utils.clip_grad_norm_([p for optimizer, _ in learner.optimizers for p in optimizer.params], 1.0)
    for optimizer, share in learner.optimizers:
        optimizer.lr = learner.lr * share * factor
        optimizer.step()
        optimizer.zero_grad()
    learner.model.eval()


def begin(learner, method):
    learner.recent, learner.step, learner.tasks = [], 0, learner.tasks + 1
    method.begin(learner)


def learn(args, learner, method, loaders, record):
    """All tasks, measured on the way. Returns the steps before which boundaries were found, where they are hidden."""
    learner.recent = [loaders[0].next() for _ in range(args.steps)]
    method.start(learner, learner.recent)
    record.whole(learner, 0)
    surprise, found, told = boundaries.Surprise(), [], args.boundaries == "given"
    for task, n, batch in boundaries.batches(loaders[1:], args.steps, args.boundaries, learner.rng):
        total = task * args.steps + n
        last = total == args.steps * (len(loaders) - 1)
        if not told and surprise(measure(learner.read, batch)[0]):
            found.append(total)
            method.end(learner)
        if total == 1 or told and n == 1 or found[-1:] == [total]:
            begin(learner, method)
        rise = min(1.0, 10 * learner.step / args.steps + 0.1)    # where no end is known, none can be prepared for
        step(learner, method, batch, learner.factor(n, args.steps) if told else rise)
        if last or told and n == args.steps:
            method.end(learner)
        if n == args.steps:
            record.whole(learner, total)
        elif total % args.watch == 0:
            record.brief(learner, total)
    return found


def run(args):
    """One run; what there is to know of it, as plain values."""
    torch.manual_seed(args.seed)
    start, setting = time.time(), dict(args.setting)
    model, tokenizer, _ = checkpoint.load(base.folder(args.stream, args.order[0], args.seed, args.out) / "run", "cpu")
    first = copy.deepcopy(model).eval()

    def before(x, doc, positions):
        return first(x, doc=doc, positions=positions)[0]

    learner = Learner(model.eval(), tokenizer, setting, setting.pop("lr", 0.0), args.steps, args.rows, args.length,
                      np.random.default_rng(args.seed), torch.Generator().manual_seed(args.seed))
    loaders = [Loader(examples(args.stream, name, "train", tokenizer), tokenizer.specials["<|pad|>"], args.rows,
                      args.length, args.seed) for name in args.order]
    record = Record(args, tokenizer)
    found = learn(args, learner, METHODS[args.method].module, loaders, record)
    work, n_base = learner.flops, sum(p.numel() for p in first.parameters())
    return {"losses": record.losses, "accuracies": record.accuracies, "curve": record.curve, "found": found,
            "kl": [kl for _, _, kl in record.each(learner, record.tests, before)],
            "tokens": args.steps * (len(loaders) - 1) * args.rows * args.length, "flops": work,
            "trained_parameters": sum(p.numel() for optimizer, _ in learner.optimizers for p in optimizer.params),
            "stored_bytes": learner.stored(), "inference": record.inference / (2 * n_base),
            "parameters": n_base, "report": learner.kept.get("report"), "seconds": time.time() - start}


def main(argv=None):
    args = parse(argv)
    path = result(args)
    base.make(args.stream, args.order[0], args.seed, args.out)
    if not path.exists():
        done = {"method": args.method, "setting": args.setting, "order": args.order, "boundaries": args.boundaries,
                "on": args.on, "seed": args.seed, "steps": args.steps, **run(args)}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(done))
        part.replace(path)                                   # whole or not there: a killed run leaves nothing half
    done = json.loads(path.read_text())
    for i, row in enumerate(done["losses"]):
        after = f"after {args.order[i]}"
        print(f"{after:28}" + "   ".join(f"{name} {loss:.4f}" for name, loss in zip(args.order, row)))
    print(f"{done['seconds']:.0f} s, {done['stored_bytes']:,} bytes kept, {path}")


if __name__ == "__main__":
    main()
