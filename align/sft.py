"""
Supervised fine-tuning: a pretrained model learns to answer, to call the calculator, and to stop.

    python align/sft.py --checkpoint out/tinyworld/pretrain/run --data out/tinyworld/corpus
    python align/sft.py ... --unmasked                       # the loss on every token, to compare
    python align/sft.py ... --keep arithmetic=0.05           # a twentieth of these, so that align/grpo.py has room
    python align/sft.py ... --keep rest=0 arithmetic=1       # nothing but these

The loss is on exactly the assistant's own tokens and its <|end|>: not on the question, not on what
the calculator returned. Conversations are packed and do not see each other. The data is a jsonl of
{"messages": [...], "kind": ...}, with a system message or without, of any number of turns; the kind is
needed for --keep alone. The canaries are asked before and after. The same command continues a run that
was killed, to the same bits.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch

from align.ledger import Ledger
from bpe.template import render
from eval.inputs import load_model, read_jsonl
from gpt import checkpoint
from train.adamw import AdamW
from train.device import device, prepare
from train.guard import Guard, warn
from train.loader import Conversations, Loader
from train.log import Log, progress, write_metrics
from train.muon import Muon, split
from train.schedule import trapezoid
from train.state import Clock, capture, restore
from train.step import evaluate, optimize

UNCHANGED = ("out", "save_every", "log_every", "canaries")    # not part of a run's identity


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--checkpoint", type=Path, required=True, help="the pretrained run")
    add("--data", type=Path, required=True, help="folder of sft_train.jsonl and sft_valid.jsonl")
    add("--out", type=Path, default=Path("out/align/sft"), help="where to write [%(default)s]")
    add("--tokens", type=int, default=1_150_000, help="tokens to train on, padding included [%(default)s]")
    add("--batch", type=int, default=8, help="rows of a step [%(default)s]")
    add("--length", type=int, help="tokens of a row, and the longest conversation that is kept [the model's context]")
    add("--muon-lr", type=float, default=0.01, help="peak rate of the matrices [%(default)s]")
    add("--adamw-lr", type=float, default=0.002, help="peak rate of embedding, head and norms [%(default)s]")
    add("--clip", type=float, default=1.0, help="largest gradient norm [%(default)s]")
    add("--seed", type=int, default=0, help="[%(default)s]")
    add("--save-every", type=int, default=100, help="steps between checkpoints [%(default)s]")
    add("--log-every", type=int, default=20, help="steps between lines on the console [%(default)s]")
    add("--canaries", type=int, help="how many of the canaries to ask [all]")
    add("--unmasked", action="store_true", help="learn to predict questions and results as well")
    add("--keep", nargs="+", default=[], metavar="KIND=SHARE", help="take this share of a kind, or of the `rest` [all]")
    args = p.parse_args(argv)
    try:
        kept = {kind: float(share) for kind, share in (word.split("=") for word in args.keep)}
    except ValueError:
        kept = {"": 2}
    if not all(0 <= share <= 1 for share in kept.values()):
        p.error("--keep takes words like arithmetic=0.05, with a share from 0 to 1")
    return args


def thinned(records, keep):
    """
    The records, of each kind only the share that `keep`, words KIND=SHARE, leaves, evenly spread; None for one that is
    left out, so that a line keeps its number.
    """
    shares, seen = {kind: float(share) for kind, share in (word.split("=") for word in keep)}, {}
    for record in records:
        kind = record.get("kind")
        share, n = shares.get(kind, shares.get("rest", 1.0)), seen.get(kind, 0)
        seen[kind] = n + 1
        yield record if int((n + 1) * share) > int(n * share) else None


def conversations(path, tokenizer, length, keep=()):
    """
    [(ids, mask)] of a jsonl of {"messages": [...]}, and how many were left out for being longer than
    length + 1 tokens (cut, they would teach not to stop). Exits naming the line of a malformed one.
    """
    kept, long = [], 0
    for n, record in enumerate(thinned(read_jsonl(path, "messages"), keep), 1):
        if record is None:
            continue
        try:
            ids, mask = render(record["messages"], tokenizer)
        except ValueError as e:
            sys.exit(f"{path}, line {n}: {e}. Correct or remove it.")
        if len(ids) > length + 1:
            long += 1
        else:
            kept.append((np.array(ids), np.array(mask, dtype=bool)))
    if not kept:
        sys.exit(f"{path} holds no conversation of at most {length + 1} tokens. Give other data, a larger --length, "
                 "or more to --keep.")
    return kept, long


def train(args, model, loader, valid, tokenizer, info, where):
    """The loop; returns the numbers of the run."""
    matrices, rest = split(model)
    muon, adamw, clock, run = Muon(matrices), AdamW(rest), Clock(), args.out / "run"
    rates = (muon, args.muon_lr), (adamw, args.adamw_lr)
    steps, done = math.ceil(args.tokens / (args.batch * args.length)), 0
    guard = Guard()
    parts = {"muon": muon, "adamw": adamw, "loader": loader, "clock": clock, "guard": guard}
    if (run / "latest").exists():
        model.load_state_dict(checkpoint.load(run, where)[0].state_dict())
        done, _ = restore(checkpoint.load_state(run), settings(args), run, **parts)
        print(f"continuing {run} after step {done} of {steps}")
    log = Log(args.out, extra=("valid_loss_nats", "learning_rate_factor", "gradient_norm"), resume=done)
    while done < steps:
        done += 1
        factor = trapezoid(done, steps, cooldown=0.8)
        loss, norm = optimize(model, rates, loader.next(), factor, args.clip, where, guard=guard)
        clock.tokens += args.batch * args.length
        numbers = {"valid_loss_nats": evaluate(model, valid, where)} if done == steps else {}
        log.log(done, seconds=clock.seconds, tokens=clock.tokens, loss_nats=loss.item(),
                tokens_per_second=clock.rate, learning_rate_factor=factor,
                gradient_norm=norm.item(), **numbers)
        if done % args.log_every == 0 or numbers:
            print(progress(done, steps, loss.item(), clock, numbers), flush=True)
        if guard.in_a_row:
            warn(guard, done, loss, run)
        if done == steps or done % args.save_every == 0 and not guard.in_a_row:
            checkpoint.save(run, done, model, tokenizer, capture(settings(args), done, **parts),
                            stage="sft", parent=info["hash"], keep=2)
    return {"valid_loss_nats": evaluate(model, valid, where), "steps": done, "tokens": clock.tokens,
            "tokens_per_second": clock.rate, "training_seconds": clock.seconds,
            "epochs": loader.epochs}


def settings(args):
    """What makes this run this run, for the checkpoint: plain values only."""
    return {key: str(value) if isinstance(value, Path) else value
            for key, value in vars(args).items() if key not in UNCHANGED}


def main(argv=None):
    args, start = parse(argv), time.time()
    model, tokenizer, info = load_model(args.checkpoint)
    where = device()
    args.length = args.length or model.config.context
    examples, long = conversations(args.data / "sft_train.jsonl", tokenizer, args.length, args.keep)
    if args.unmasked:
        examples = [(ids, np.ones_like(mask)) for ids, mask in examples]
    held_out, _ = conversations(args.data / "sft_valid.jsonl", tokenizer, args.length)
    pad = tokenizer.specials["<|pad|>"]
    loader = Loader(Conversations(examples), pad, args.batch, args.length, args.seed, crop=False)
    check = Loader(Conversations(held_out), pad, args.batch, args.length, crop=False)
    valid = [check.next() for _ in range(4)]
    print(f"{len(examples):,} conversations, {long:,} left out as longer than {args.length} tokens")

    ledger = Ledger(model, tokenizer, args.data, args.canaries)
    torch.manual_seed(args.seed)
    prepare(model, where)
    print(f"validation before: {evaluate(model, valid, where):.4f} nats per token of an answer")
    try:
        numbers = train(args, model.train(), loader, valid, tokenizer, info, where)
    except checkpoint.CheckpointError as e:
        sys.exit(str(e))
    block = ledger.close(model, args.out)
    write_metrics(args.out, seed=args.seed, checkpoint=checkpoint.load(args.out / "run", "cpu")[2]["hash"],
                  seconds=time.time() - start, numbers=numbers, canaries=block)
    print(f"wrote {args.out / 'run'}; next: python chat/cli.py --checkpoint {args.out / 'run'}")


if __name__ == "__main__":
    main()
