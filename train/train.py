"""
Pretrain a model on token shards, on one core or on many GPUs.

    python train/train.py --data out/tinyworld/shards --tokenizer out/tinyworld/tokenizer
    python train/train.py ... --tokens 200000 --layers 2 --width 64          # seconds, to see that it runs
    torchrun --nproc-per-node 8 train/train.py --preset 124m ...             # eight GPUs, or eight processes
    python train/presets.py                                                  # what the presets are

The same command continues a run that was killed, to the same bits. Matrices inside the blocks are trained by
Muon, the rest by AdamW, or all by AdamW. Documents are packed and do not see each other. Several ranks, or
microbatches, take the very step that one process takes with the whole batch (train/step.py).
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
from pathlib import Path

import torch

from bpe import shards
from bpe.bpe import Tokenizer
from gpt import checkpoint
from gpt.describe import flops
from gpt.kinds import KINDS, build
from gpt.lookback import look_back
from train import sharded
from train.adamw import AdamW
from train.amp import DTYPES, Mixed
from train.device import ATTENTION, attention, device, prepare
from train.distributed import joined
from train.guard import Guard, warn
from train.hardware import peak_flops
from train.loader import Loader, Shards
from train.log import SINKS, Log, progress, write_metrics
from train.muon import Muon, split
from train.presets import PRESETS
from train.schedule import cosine, trapezoid
from train.state import Best, Clock, capture
from train.step import evaluate, optimize

# What may differ between two attempts of one run: the numbers stay the same, to rounding.
UNCHANGED = ("data", "tokenizer", "out", "save_every", "keep", "log_every", "micro_batch", "parallel",
             "checkpoint_activations", "compile", "attention", "bad_steps",
             "log_to")
COLUMNS = "valid_loss_nats", "learning_rate_factor", "gradient_norm", "skipped_steps"    # of log.csv, beside its own


def parse(argv):
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--preset", choices=PRESETS, default="tiny", help="shape and recipe, from which follow the "
                       "defaults of what is below [%(default)s]")
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                parents=[first])
    p.set_defaults(**recipe(PRESETS[first.parse_known_args(argv)[0].preset]))
    add = p.add_argument
    add("--data", type=Path, required=True, help="folder of token shards")
    add("--tokenizer", type=Path, required=True, help="folder of the tokenizer that wrote them")
    add("--out", type=Path, default=Path("out/train/train"), help="where to write [%(default)s]")
    add("--tokens", type=int, help="tokens to train on [%(default)s]")
    add("--batch", type=int, help="rows of a step, over all ranks [%(default)s]")
    add("--micro-batch", type=int, help="rows that a rank takes through the model at once [%(default)s]")
    add("--length", type=int, help="tokens of a row [%(default)s]")
    add("--context", type=int, help="tokens that the model is made for, a chat's [%(default)s]")
    add("--layers", type=int, help="[%(default)s]")
    add("--width", type=int, help="channels [%(default)s]")
    add("--heads", type=int, help="query heads [%(default)s]")
    add("--kv-heads", type=int, help="key/value heads [%(default)s]")
    add("--hidden", type=int, help="channels of the feed-forward [%(default)s]")
    add("--no-look-back", dest="look_back", action="store_false", help="start without heads on the previous token")
    add("--optimizer", choices=("adamw", "muon"), help="of the matrices inside the blocks [%(default)s]")
    add("--muon-lr", type=float, help="peak rate of Muon's matrices [%(default)s]")
    add("--adamw-lr", type=float, help="peak rate of what AdamW trains [%(default)s]")
    add("--weight-decay", type=float, help="of the matrices [%(default)s]")
    add("--dropout", type=float, default=0.0, help="for data that is read many times [%(default)s]")
    add("--schedule", choices=("trapezoid", "cosine"), help="of the rate [%(default)s]")
    add("--warmup", type=float, help="part of the run in which the rate rises [%(default)s]")
    add("--cooldown", type=float, help="part of a trapezoid in which it falls [%(default)s]")
    add("--floor", type=float, help="the last rate, as a part of the peak [%(default)s]")
    add("--clip", type=float, help="largest gradient norm [%(default)s]")
    add("--spike", type=float, default=10.0,
        help="leave out a step whose loss is so many standard deviations above the last ones; 0 never [%(default)s]")
    add("--bad-steps", type=int, default=10, help="stop after so many left out in a row [%(default)s]")
    add("--precision", choices=DTYPES, help="what matrices are multiplied in [bfloat16 where it is fast]")
    add("--attention", choices=ATTENTION, help="[flash on a CUDA GPU, else sdpa]")
    add("--compile", action="store_true", help="compile the blocks with torch.compile")
    add("--parallel", choices=("ddp", "fsdp"), help="what torchrun's ranks do with the weights [%(default)s]")
    add("--checkpoint-activations", action="store_true", help="compute them again in backward, to save memory")
    add("--seed", type=int, default=0, help="[%(default)s]")
    add("--patience", type=int, default=0,
        help="stop after so many evaluations without a better validation loss, keep the best; 0 never [%(default)s]")
    add("--eval-every", type=int, default=200, help="steps between validations [%(default)s]")
    add("--eval-rows", type=int, default=64, help="rows of a validation [%(default)s]")
    add("--save-every", type=int, default=200, help="steps between checkpoints [%(default)s]")
    add("--keep", type=int, default=2, help="checkpoints to keep [%(default)s]")
    add("--log-every", type=int, default=20, help="steps between lines on the console [%(default)s]")
    add("--log-to", choices=SINKS, nargs="*", default=[], help="where to log besides log.csv")
    return p.parse_args(argv)


SHAPE = {"n_layer": "layers", "n_embd": "width", "n_head": "heads", "n_kv_head": "kv_heads", "n_hidden": "hidden",
         "context": "context", "block_size": "context"}      # a configuration's name -> the argument's


def recipe(preset):
    """A preset as defaults of the arguments."""
    same = ("tokens", "length", "adamw_lr", "muon_lr", "weight_decay", "schedule", "warmup", "floor", "cooldown",
            "clip")
    return {name: getattr(preset, name) for name in same} | {
        "batch": preset.rows, "micro_batch": preset.batch, "optimizer": "muon" if preset.muon_lr else "adamw",
        "look_back": bool(preset.muon_lr), "parallel": "fsdp" if preset.parallel == "fsdp" else "ddp",
        "checkpoint_activations": preset.checkpointing,
        **{SHAPE[key]: value for key, value in preset.config.items() if key in SHAPE}}


def settings(args):
    """What makes this run this run, for the checkpoint: plain values only."""
    return {key: value for key, value in vars(args).items() if key not in UNCHANGED}


# ----------------------------------------------------------------------------
# what the loop works with

def make_model(args, n_vocab, where):
    preset = PRESETS[args.preset]
    given = {key: getattr(args, SHAPE[key]) for key in preset.config if key in SHAPE}
    config = KINDS[preset.kind][0](**preset.config | given | {"vocab_size": n_vocab, "dropout": args.dropout})
    model = prepare(build(config, attend=attention(args.attention, where)), where)
    if args.look_back:
        look_back(model)
    return model


def lay_out(args, model, world, mixed):
    """The model as this rank holds it, in place."""
    if args.checkpoint_activations:
        sharded.forget_activations(model)
    if args.compile:
        for block in sharded.blocks(model):
            block.compile(dynamic=False)                     # a validation may have other rows: one graph for each
    if args.parallel == "fsdp" and torch.distributed.is_initialized():
        sharded.shard(model, mixed.dtype)
    else:
        world.replicate(model)


def optimizers(args, model):
    """
    name -> (optimizer, peak rate). Decay is for matrices, whose size means something; that of a norm's weight or of
    a bias does not.
    """
    if args.optimizer == "muon":
        matrices, rest = split(model)
        return {"muon": (Muon(matrices, weight_decay=args.weight_decay), args.muon_lr),
                "adamw": (AdamW(rest), args.adamw_lr)}
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    return {"adamw": (AdamW(matrices, weight_decay=args.weight_decay), args.adamw_lr),
            "vectors": (AdamW(vectors), args.adamw_lr)}


def batches(args, tokenizer, world):
    """The loader of training batches, and the validation batches; says what there is to read."""
    data, meta = shards.load(args.data, "train", tokenizer.hash)
    held_out, held = shards.load(args.data, "valid", tokenizer.hash)[0], meta["splits"]["train"]
    primer = shards.load(args.data, "primer", tokenizer.hash)[0] if "primer" in meta["splits"] else []
    exercises = meta["splits"]["primer"]["documents"] if primer else 0
    documents = Shards(primer + data, meta["boundary"], held["bytes"],
                       (exercises, tokenizer.specials["<|assistant|>"]))
    loader = Loader(documents, meta["boundary"], args.batch, args.length, args.seed, primer=exercises)
    rows = min(args.batch, args.micro_batch * world.size)
    check = Loader(Shards(held_out, meta["boundary"]), meta["boundary"], rows, args.length)
    valid = [check.next() for _ in range(max(1, args.eval_rows // rows))]
    print(f"{held['tokens']:,} tokens in {held['documents']:,} documents; "
          f"a uniform guess loses {math.log(tokenizer.n_vocab):.4f} nats")
    return loader, valid


# ----------------------------------------------------------------------------
# the loop

def train(args, model, loader, valid, tokenizer, where, world):
    mixed, guard = Mixed(where, DTYPES.get(args.precision)), Guard(args.spike, args.bad_steps)
    lay_out(args, model, world, mixed)
    trained, best, clock, run = optimizers(args, model), Best(), Clock(), args.out / "run"
    steps, done = math.ceil(args.tokens / (args.batch * args.length)), 0
    parts = {name: optimizer for name, (optimizer, _) in trained.items()} | {
        "loader": loader, "best": best, "clock": clock, "mixed": mixed, "guard": guard}
    if (run / "latest").exists():
        done = sharded.resume(run, model, settings(args), where, **parts)
        print(f"continuing {run} after step {done} of {steps}")
    log = open_log(args, loader, model, world, mixed, done) if world.first else None
    stop = args.patience and best.since >= args.patience
    while done < steps and not stop:
        done += 1
        factor = rate(args, done, steps)
        if args.dropout and world.size > 1:                  # other channels on every rank; from the step, so that
            torch.manual_seed(args.seed + world.size * done + world.rank)     # there is nothing to save
        loss, norm = optimize(model, trained.values(), loader.next(), factor, args.clip, where,
                              micro=args.micro_batch, world=world, mixed=mixed, guard=guard)
        clock.tokens += args.batch * args.length
        numbers = {}
        if done % args.eval_every == 0 or done == steps:
            numbers["valid_loss_nats"] = evaluate(model, valid, where, world=world, mixed=mixed)
            if args.patience:
                best.update(numbers["valid_loss_nats"], model)
                stop = best.since >= args.patience
        if log:
            log.log(done, seconds=clock.seconds, tokens=clock.tokens, loss_nats=loss.item(),
                    tokens_per_second=clock.rate, learning_rate_factor=factor, gradient_norm=norm.item(),
                    skipped_steps=guard.skipped, **numbers)
        if done % args.log_every == 0 or numbers:
            print(progress(done, steps, loss.item(), clock, numbers), flush=True)
        if guard.in_a_row:
            warn(guard, done, loss, run)
        if done == steps or stop or done % args.save_every == 0 and not guard.in_a_row:
            sharded.save(run, done, model, tokenizer, capture(settings(args), done, **parts), world,
                         stage="pretrain", keep=args.keep)
    if best.weights is not None:
        model.load_state_dict(best.weights)
        if best.since:
            sharded.save(run, done + 1, model, tokenizer, None, world, stage="pretrain", keep=args.keep)
    return {"valid_loss_nats": evaluate(model, valid, where, world=world, mixed=mixed), "steps": done,
            "steps_planned": steps, "tokens": clock.tokens, "seconds": clock.seconds,
            "tokens_per_second": clock.rate, "skipped_steps": guard.skipped}


def open_log(args, loader, model, world, mixed, done):
    """log.csv with bits per byte, and with the share of the machine's measured or published peak."""
    documents, peak = loader.documents, peak_flops(mixed.where, mixed.dtype)
    return Log(args.out, COLUMNS, done, to=args.log_to,
               bytes_per_token=documents.n_bytes / documents.lengths[loader.primer:].sum().item(),
               flops_per_token=flops(model), peak=peak and world.size * peak)


def rate(args, step, steps):
    """Of the peaks, at step 1..steps."""
    if args.schedule == "cosine":
        return cosine(step, steps, args.warmup, args.floor)
    return trapezoid(step, steps, args.warmup, args.cooldown, args.floor)


def finish(args, numbers, loader, model):
    """metrics.json, the last line."""
    seen, run = loader.epochs * loader.documents.n_bytes / 1e6, args.out / "run"
    numbers |= {"epochs": loader.epochs, "megabytes_seen": seen,
                "parameters": sum(p.numel() for p in model.parameters())}
    write_metrics(args.out, seed=args.seed, checkpoint=checkpoint.describe(run)["hash"],
                  seconds=numbers.pop("seconds"), numbers=numbers)
    print(f"validation {numbers['valid_loss_nats']:.4f} nats per token after {seen:.1f} MB, "
          f"{loader.epochs:.2f} epochs\nwrote {run}; next: python gpt/sample.py --checkpoint {run}")


def check(args, world):
    """What does not go together, before any work."""
    if args.batch % world.size:
        sys.exit(f"--batch {args.batch} rows do not divide among {world.size} ranks. Give a multiple of {world.size}.")
    if args.patience and args.parallel == "fsdp" and torch.distributed.is_initialized():
        sys.exit("--patience keeps the best weights whole, and fsdp shards them. Use --parallel ddp, or --patience 0.")


def main(argv=None):
    args, where = parse(argv), device()
    try:
        with joined(where) as world:
            check(args, world)
            tokenizer = Tokenizer.load(args.tokenizer)
            loader, valid = batches(args, tokenizer, world)
            torch.manual_seed(args.seed)
            model = make_model(args, tokenizer.n_vocab, where)
            print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {world.size} x {where}")
            numbers = train(args, model, loader, valid, tokenizer, where, world)
            if world.first:
                finish(args, numbers, loader, model)
    except checkpoint.CheckpointError as e:
        sys.exit(str(e))
    except OSError as e:
        sys.exit(f"cannot write {e.filename or args.out} ({e.strerror}). The last checkpoint in {args.out / 'run'} "
                 "stands; mend that, then run the same command again.")


if __name__ == "__main__":
    main()
