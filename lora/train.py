"""
Fine-tune a model on a domain, by LoRA or in all its weights, and say what that did to everything else.

    python continual/base.py                                        # a model of fiction, to start from
    python lora/train.py --train out/tinyworld/corpus/code_train.jsonl --valid out/tinyworld/corpus/code_valid.jsonl \
        --other out/tinyworld/corpus/fiction_valid.jsonl            # an adapter for code, in out/lora/train/adapter
    python lora/train.py ... --full                                 # all weights: out/lora/train/run
    python lora/train.py ... --dora --rank 16 --merge               # variants; the merged model, too

Documents are packed and do not see each other. The adapter is written in PEFT's files (lora/peft_format.py), or nothing
but the figures with --no-weights. The default rates are the best of lora/compare.py, which compares the two ways.
Left out on purpose: resuming, since a run takes minutes.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import importlib.util
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bpe.documents import records
from bpe.template import from_gsm8k, render
from gpt import checkpoint
from lora import peft_format
from lora.lora import EMBEDDING, GPT2, LLAMA, LoRAConfig, groups, inject, merge, strip, untie
from train.adamw import AdamW
from train.device import device, prepare
from train.loader import Conversations, Loader
from train.log import Log, progress, write_metrics
from train.schedule import trapezoid
from train.state import Clock
from train.step import evaluate, optimize

TARGETS = {"attention": ("q_proj", "k_proj", "v_proj", "o_proj", "c_attn"), "blocks": LLAMA + GPT2,
           "all": LLAMA + GPT2 + EMBEDDING}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--checkpoint", type=Path, default=Path("out/continual/embedded/base_fiction_0/run"),
        help="where to start [%(default)s]")
    add("--train", type=Path, required=True, help="texts or conversations (bpe/documents.py) to learn")
    add("--valid", type=Path, required=True, help="held-out ones of the same kind")
    add("--other", type=Path, nargs="*", default=[], help="held-out ones of other kinds, to see what is forgotten")
    add("--out", type=Path, default=Path("out/lora/train"), help="where to write [%(default)s]")
    add("--full", action="store_true", help="train all weights instead of an adapter")
    add("--targets", choices=TARGETS, default="all", help="what is adapted; all: embedding and head too [%(default)s]")
    add("--rank", type=int, default=8, help="[%(default)s]")
    add("--alpha", type=float, help="scale of the adapter is alpha / rank [4 x rank]")
    add("--dropout", type=float, default=0.0, help="on what goes into A [%(default)s]")
    add("--rslora", action="store_true", help="scale alpha / sqrt(rank)")
    add("--dora", action="store_true", help="direction and length apart")
    add("--lora-plus", type=float, default=1.0, help="rate of B over that of A [%(default)s]")
    add("--merge", action="store_true", help="write the merged model too")
    add("--no-weights", action="store_true", help="write the figures alone")
    add("--lr", type=float, help="peak rate of AdamW [0.005; 0.003 with --full]")
    add("--tokens", type=int, default=400_000, help="tokens to train on [%(default)s]")
    add("--batch", type=int, default=8, help="rows of a step [%(default)s]")
    add("--length", type=int, default=256, help="tokens of a row [%(default)s]")
    add("--eval-rows", type=int, default=64, help="rows of each validation [%(default)s]")
    add("--log-every", type=int, default=20, help="steps between lines on the console [%(default)s]")
    add("--seed", type=int, default=0, help="of the adapter and the order of the data [%(default)s]")
    args = p.parse_args(argv)
    args.alpha = args.alpha or 4.0 * args.rank
    args.lr = args.lr or (0.003 if args.full else 0.005)
    return args


def documents(path, tokenizer):
    """[(ids, mask of what is to be predicted)] of a file: all of a text, the assistant's part of a conversation."""
    bos, examples = tokenizer.specials["<|bos|>"], []
    if not path.exists():
        sys.exit(f"no {path}. The embedded corpus is made by: python continual/base.py")
    for where, record in records(path):
        try:
            if "text" in record:
                ids = [bos, *tokenizer.encode(record["text"]), bos]          # the last one: where the text ends
                mask = [1] * len(ids)
            else:
                messages = record["messages"] if "messages" in record else [
                    {"role": "user", "content": record["question"]},
                    {"role": "assistant", "content": from_gsm8k(record["answer"])}]
                ids, mask = render(messages, tokenizer)
        except (KeyError, TypeError, ValueError) as e:
            sys.exit(f"{where} is neither a text nor a conversation ({e}); correct or remove it")
        examples.append((np.array(ids), np.array(mask, dtype=bool)))
    return Conversations(examples)


def held_out(path, tokenizer, args):
    """Batches of the first documents of a file, in its order."""
    found = documents(path, tokenizer)
    check = Loader(found, tokenizer.specials["<|pad|>"], args.batch, args.length)
    rows = min(args.eval_rows, max(args.batch, int(found.lengths.sum()) // args.length))
    return [check.next() for _ in range(rows // args.batch)]


def losses(model, sets, where):
    """{"<file>_loss_nats": nats per token} of each held-out set, None left out."""
    return {f"{name}_loss_nats": evaluate(model, batches, where) for name, batches in sets.items()}


def train(args, model, optimizers, loader, where):
    """The loop; returns the clock."""
    clock, steps = Clock(), math.ceil(args.tokens / (args.batch * args.length))
    log = Log(args.out, ("learning_rate_factor", "gradient_norm"))
    for step in range(1, steps + 1):
        factor = trapezoid(step, steps, warmup=0.05, cooldown=0.5)
        loss, norm = optimize(model, optimizers, loader.next(), factor, 1.0, where)
        clock.tokens += args.batch * args.length
        log.log(step, seconds=clock.seconds, tokens=clock.tokens, loss_nats=loss.item(), tokens_per_second=clock.rate,
                learning_rate_factor=factor, gradient_norm=norm.item())
        if step % args.log_every == 0 or step == steps:
            print(progress(step, steps, loss.item(), clock, {}), flush=True)
    return clock


def adapt(args, model):
    """Put the adapter on, or free all weights; the optimizers, and how many numbers they train."""
    if args.full:
        model.requires_grad_(True)
        params = [*model.parameters()]
        return [(AdamW(params), args.lr)], sum(p.numel() for p in params)
    if args.targets == "all":
        model.head_loss = None                               # that one multiplies by the head's own weights alone
        if args.merge:                                       # then embedding and head get weights of their own
            if not hasattr(model.config, "tie"):
                sys.exit("this kind of model shares its embedding and head always. Take --targets blocks with --merge")
            untie(model)
            model.config = replace(model.config, tie=False)
    config = LoRAConfig(args.rank, args.alpha, args.dropout, TARGETS[args.targets], args.rslora, args.dora)
    report = inject(model, config, generator=torch.Generator().manual_seed(args.seed))
    trained = [(params, factor) for params, factor in groups(model, ratio=args.lora_plus) if params]
    left = sorted({re.sub(r"\d+", "*", name) for name in report["left"]})
    print(f"adapter on {len(report['adapted'])} layers; left as they are: {', '.join(left)}")
    return ([(AdamW(params), args.lr * factor) for params, factor in trained],
            sum(p.numel() for params, _ in trained for p in params))


def save(args, model, tokenizer, info):
    """The adapter, or the model; where it was written."""
    if args.no_weights:
        return args.out / "metrics.json"
    if not args.full:
        peft_format.save(model, args.out / "adapter", base=info["hash"])
        if not args.merge:
            return args.out / "adapter"
        merge(model)
        strip(model)
    checkpoint.save(args.out / "run", 1, model, tokenizer, stage="finetune", parent=info["hash"], keep=1)
    return args.out / "run"


def main(argv=None):
    args, where = parse(argv), device()
    if not args.full and not importlib.util.find_spec("safetensors"):
        sys.exit("an adapter's file needs safetensors: pip install -r requirements-extra.txt")
    try:
        model, tokenizer, info = checkpoint.load(args.checkpoint, where)
    except checkpoint.CheckpointError as e:
        sys.exit(f"{e}\n(a model to start from: python continual/base.py)")
    loader = Loader(documents(args.train, tokenizer), tokenizer.specials["<|pad|>"], args.batch, args.length, args.seed)
    sets = {path.stem: held_out(path, tokenizer, args) for path in (args.valid, *args.other)}
    torch.manual_seed(args.seed)
    optimizers, trained = adapt(args, prepare(model, where))
    before = losses(model, sets, where)
    total = sum(p.numel() for p in model.parameters()) - (0 if args.full else trained)
    print(f"{trained:,} of {total:,} parameters are trained ({trained / total:.1%}); before: {show(before)}")
    clock = train(args, model.train(), optimizers, loader, where)
    after = losses(model, sets, where)
    wrote = save(args, model, tokenizer, info)
    numbers = {**after, **{f"before_{key}": value for key, value in before.items()}, "trained_parameters": trained,
               "parameters": total, "tokens": clock.tokens, "tokens_per_second": clock.rate}
    write_metrics(args.out, seed=args.seed, checkpoint=info["hash"], seconds=clock.seconds, numbers=numbers)
    print(f"after: {show(after)}\nwrote {wrote}")


def show(numbers):
    return ", ".join(f"{key.removesuffix('_loss_nats')} {value:.4f}" for key, value in numbers.items())


if __name__ == "__main__":
    main()
