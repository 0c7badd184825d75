"""
Supervised fine-tuning: a pretrained model learns to answer, to call the calculator, and to stop.

    python align/sft.py --checkpoint out/tinyworld/pretrain/run --data out/tinyworld/corpus

The loss is on exactly the assistant's own tokens and its <|end|>: not on the question, not on what
the calculator returned. Conversations are packed and do not see each other. The canaries are asked
before and after. The same command continues a run that was killed, to the same bits.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch

from bpe.template import render
from eval import canaries
from eval.inputs import load_model, read_jsonl, write_answers
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
    return p.parse_args(argv)


def conversations(path, tokenizer, length):
    """
    [(ids, mask)] of a jsonl of {"messages": [...]}, and how many were left out for being longer than
    length + 1 tokens (cut, they would teach not to stop). Exits naming the line of a malformed one.
    """
    kept, long = [], 0
    for n, record in enumerate(read_jsonl(path, "messages"), 1):
        try:
            ids, mask = render(record["messages"], tokenizer)
        except ValueError as e:
            sys.exit(f"{path}, conversation {n}: {e}. Correct or remove it.")
        if len(ids) > length + 1:
            long += 1
        else:
            kept.append((np.array(ids), np.array(mask, dtype=bool)))
    if not kept:
        sys.exit(f"{path} holds no conversation of at most {length + 1} tokens. Give other data, or a larger --length.")
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
    examples, long = conversations(args.data / "sft_train.jsonl", tokenizer, args.length)
    held_out, _ = conversations(args.data / "sft_valid.jsonl", tokenizer, args.length)
    pad = tokenizer.specials["<|pad|>"]
    loader = Loader(Conversations(examples), pad, args.batch, args.length, args.seed, crop=False)
    check = Loader(Conversations(held_out), pad, args.batch, args.length, crop=False)
    valid = [check.next() for _ in range(4)]
    print(f"{len(examples):,} conversations, {long:,} left out as longer than {args.length} tokens")

    suite = args.data / "canaries.jsonl"
    items = read_jsonl(suite, "messages", "check", "kind")[:args.canaries] if suite.exists() else []
    before = canaries.measure(model, tokenizer, items) if items else None
    torch.manual_seed(args.seed)
    prepare(model, where)
    print(f"validation before: {evaluate(model, valid, where):.4f} nats per token of an answer")
    try:
        numbers = train(args, model.train(), loader, valid, tokenizer, info, where)
    except checkpoint.CheckpointError as e:
        sys.exit(str(e))
    after = canaries.measure(model.eval(), tokenizer, items) if items else None
    ledger = canaries.block(before, after) if items else None
    if items:
        print(f"canaries before: {canaries.show(before)}\n         after: {canaries.show(after)}")
        write_answers(args.out, after["answers"])
    write_metrics(args.out, seed=args.seed, checkpoint=checkpoint.load(args.out / "run", "cpu")[2]["hash"],
                  seconds=time.time() - start, numbers=numbers, canaries=ledger)
    print(f"wrote {args.out / 'run'}; next: python chat/cli.py --checkpoint {args.out / 'run'}")


if __name__ == "__main__":
    main()
