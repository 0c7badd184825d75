"""
Pretrain gpt/llama.py on token shards.

    python train/train.py --data out/tinyworld/shards --tokenizer out/tinyworld/tokenizer
    python train/train.py ... --tokens 200000 --layers 2 --width 64     # seconds, to see that it runs

The same command continues a run that was killed, to the same bits. Matrices inside the blocks are
trained by Muon, the rest by AdamW. Documents are packed and do not see each other.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import time
from pathlib import Path

import torch

from bpe import shards
from bpe.bpe import Tokenizer
from gpt import checkpoint
from gpt.llama import Config, Llama
from gpt.lookback import look_back
from train.adamw import AdamW
from train.device import device, prepare
from train.loader import Loader, Shards
from train.log import Log, progress, write_metrics
from train.muon import Muon, split
from train.schedule import trapezoid
from train.state import Best, Clock, capture, restore
from train.step import evaluate, optimize

UNCHANGED = ("data", "tokenizer", "out", "save_every", "keep", "log_every")   # not part of a run's identity


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--data", type=Path, required=True, help="folder of token shards")
    add("--tokenizer", type=Path, required=True, help="folder of the tokenizer that wrote them")
    add("--out", type=Path, default=Path("out/train/train"), help="where to write [%(default)s]")
    add("--tokens", type=int, default=4_950_000, help="tokens to train on [%(default)s]")
    add("--batch", type=int, default=8, help="rows of a step [%(default)s]")
    add("--length", type=int, default=256, help="tokens of a row [%(default)s]")
    add("--context", type=int, default=512, help="tokens that the model is made for, a chat's [%(default)s]")
    add("--layers", type=int, default=4, help="[%(default)s]")
    add("--width", type=int, default=128, help="channels [%(default)s]")
    add("--heads", type=int, default=4, help="query heads [%(default)s]")
    add("--kv-heads", type=int, default=4, help="key/value heads [%(default)s]")
    add("--hidden", type=int, default=352, help="channels of the feed-forward [%(default)s]")
    add("--no-look-back", dest="look_back", action="store_false", help="start without heads on the previous token")
    add("--muon-lr", type=float, default=0.02, help="peak rate of the matrices [%(default)s]")
    add("--adamw-lr", type=float, default=0.004, help="peak rate of embedding, head and norms [%(default)s]")
    add("--weight-decay", type=float, default=0.01, help="of the matrices [%(default)s]")
    add("--dropout", type=float, default=0.0, help="for data that is read many times [%(default)s]")
    add("--cooldown", type=float, default=0.5, help="part of the run in which the rate falls to zero [%(default)s]")
    add("--clip", type=float, default=1.0, help="largest gradient norm [%(default)s]")
    add("--seed", type=int, default=0, help="[%(default)s]")
    add("--patience", type=int, default=0,
        help="stop after so many evaluations without a better validation loss, keep the best; 0 never [%(default)s]")
    add("--eval-every", type=int, default=200, help="steps between validations [%(default)s]")
    add("--eval-rows", type=int, default=64, help="rows of a validation [%(default)s]")
    add("--save-every", type=int, default=200, help="steps between checkpoints [%(default)s]")
    add("--keep", type=int, default=2, help="checkpoints to keep [%(default)s]")
    add("--log-every", type=int, default=20, help="steps between lines on the console [%(default)s]")
    return p.parse_args(argv)


def settings(args):
    """What makes this run this run, for the checkpoint: plain values only."""
    return {key: value for key, value in vars(args).items() if key not in UNCHANGED}


def train(args, model, loader, valid, tokenizer, where):
    """The loop; returns the numbers of the run."""
    matrices, rest = split(model)
    muon, adamw = Muon(matrices, weight_decay=args.weight_decay), AdamW(rest)
    rates = (muon, args.muon_lr), (adamw, args.adamw_lr)
    best, clock, run = Best(), Clock(), args.out / "run"
    steps, done, first = math.ceil(args.tokens / (args.batch * args.length)), 0, 0
    parts = {"muon": muon, "adamw": adamw, "loader": loader, "best": best, "clock": clock}
    if (run / "latest").exists():
        state = checkpoint.load_state(run)
        model.load_state_dict(checkpoint.load(run, where)[0].state_dict())
        first = done = restore(state, settings(args), run, **parts)[0]
        print(f"continuing {run} after step {done} of {steps}")
    log = Log(args.out, extra=("valid_loss_nats", "learning_rate_factor", "gradient_norm"), resume=first)
    stop = args.patience and best.since >= args.patience
    while done < steps and not stop:
        done += 1
        factor = trapezoid(done, steps, cooldown=args.cooldown)
        loss, norm = optimize(model, rates, loader.next(), factor, args.clip, where)
        clock.tokens += args.batch * args.length
        numbers = {}
        if done % args.eval_every == 0 or done == steps:
            numbers["valid_loss_nats"] = evaluate(model, valid, where)
            if args.patience:
                best.update(numbers["valid_loss_nats"], model)
                stop = best.since >= args.patience
        log.log(done, seconds=clock.seconds, tokens=clock.tokens, loss_nats=loss.item(), tokens_per_second=clock.rate,
                learning_rate_factor=factor, gradient_norm=norm.item(), **numbers)
        if done % args.log_every == 0 or numbers:
            print(progress(done, steps, loss.item(), clock, numbers), flush=True)
        if done % args.save_every == 0 or done == steps or stop:
            checkpoint.save(run, done, model, tokenizer, capture(settings(args), done, **parts),
                            stage="pretrain", keep=args.keep)
    return finish(args, model, tokenizer, best, clock, steps, done, loader, valid, where)


def finish(args, model, tokenizer, best, clock, steps, done, loader, valid, where):
    """The best weights where patience was asked for, the last line, metrics.json."""
    if best.weights is not None:
        model.load_state_dict(best.weights)
    loss = evaluate(model, valid, where)
    run = args.out / "run"
    if best.weights is not None and best.since:
        checkpoint.save(run, done + 1, model, tokenizer, stage="pretrain", keep=args.keep)
    numbers = {"valid_loss_nats": loss, "steps": done, "steps_planned": steps, "tokens": clock.tokens,
               "epochs": loader.epochs, "megabytes_seen": loader.epochs * loader.documents.n_bytes / 1e6,
               "tokens_per_second": clock.rate,
               "parameters": sum(p.numel() for p in model.parameters())}
    info = checkpoint.load(run, "cpu")[2]
    write_metrics(args.out, seed=args.seed, checkpoint=info["hash"], seconds=clock.seconds, numbers=numbers)
    print(f"validation {loss:.4f} nats per token after {numbers['megabytes_seen']:.1f} MB, "
          f"{loader.epochs:.2f} epochs\nwrote {run}; next: python gpt/sample.py --checkpoint {run}")
    return numbers


def main(argv=None):
    args = parse(argv)
    tokenizer = Tokenizer.load(args.tokenizer)
    data, meta = shards.load(args.data, "train", tokenizer.hash)
    held_out = shards.load(args.data, "valid", tokenizer.hash)[0]
    where = device()
    torch.manual_seed(args.seed)
    model = prepare(Llama(Config(
        vocab_size=tokenizer.n_vocab, n_layer=args.layers, n_head=args.heads, n_kv_head=args.kv_heads,
        n_embd=args.width, n_hidden=args.hidden, context=args.context, qk_norm=True, dropout=args.dropout)), where)
    if args.look_back:
        look_back(model)
    primer = shards.load(args.data, "primer", tokenizer.hash)[0] if "primer" in meta["splits"] else []
    exercises = meta["splits"]["primer"]["documents"] if primer else 0
    documents = Shards(primer + data, meta["boundary"], meta["splits"]["train"]["bytes"],
                       (exercises, tokenizer.specials["<|assistant|>"]))
    loader = Loader(documents, meta["boundary"], args.batch, args.length, args.seed, primer=exercises)
    check = Loader(Shards(held_out, meta["boundary"]), meta["boundary"], args.batch, args.length)
    valid = [check.next() for _ in range(max(1, args.eval_rows // args.batch))]
    size, held = sum(p.numel() for p in model.parameters()), meta["splits"]["train"]
    print(f"{size:,} parameters on {where}; {held['tokens']:,} tokens in {held['documents']:,} documents; "
          f"a uniform guess loses {math.log(tokenizer.n_vocab):.4f} nats")
    train(args, model, loader, valid, tokenizer, where)


if __name__ == "__main__":
    main()
