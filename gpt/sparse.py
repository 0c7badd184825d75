"""
Dense against sparse at equal compute: the same model with one feed-forward a layer, and with a mixture of experts of
which a token uses as many weights. Letters of Shakespeare, several seeds.

    python gpt/sparse.py                                    # four models, three seeds: about ten minutes on two cores
    python gpt/sparse.py --steps 10 --seeds 1               # seconds

Compute is counted in weights that a token meets, which is equal; time is not, since small products use a processor less
well. The mixture is trained three times, with each balance of gpt/moe.py. How uneven the work is: tokens of the busiest
expert over the mean, minus 1 (MaxVio, Wang et al. 2024, https://arxiv.org/abs/2408.15664), worst layer, last 50 steps.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bpe import datasets
from bpe.record import write_metrics
from gpt.deepseek import DeepSeek, DeepSeekConfig
from gpt.describe import idle

DENSE = DeepSeekConfig(65, n_layer=4, n_head=4, n_embd=128, n_hidden=320, context=64, kv_rank=32, d_nope=24, d_rope=8,
                       d_value=32, first_dense=1)
SPARSE = replace(DENSE, n_expert=16, top_k=4, n_shared=1, n_expert_hidden=64)    # 5 of 17 experts of 64: 320 again
MODELS = {"dense": DENSE, "sparse, bias": SPARSE, "sparse, loss": replace(SPARSE, balance="loss"),
          "sparse, none": replace(SPARSE, balance="none")}


def batches(ids, size, context, generator):
    """Random windows for ever: inputs and targets, (B, T) each."""
    while True:
        at = torch.randint(len(ids) - context, (size,), generator=generator)[:, None] + torch.arange(context + 1)
        yield ids[at[:, :-1]], ids[at[:, 1:]]


@torch.no_grad()
def held_out(model, ids, context, windows=500):
    """Nats a letter over the first `windows` windows, end to end."""
    n = min(windows, (len(ids) - 1) // context)
    x, y = ids[:n * context].view(n, context), ids[1:n * context + 1].view(n, context)
    model.eval()
    losses = [model(x[i:i + 50], y[i:i + 50])[1].item() * len(x[i:i + 50]) for i in range(0, n, 50)]
    model.train()
    return sum(losses) / n


def train(config, ids, args, seed):
    """One model: (nats a letter held out, unevenness of the work or None, CPU seconds a step)."""
    cut = int(0.9 * len(ids))
    model = DeepSeek(config, generator=torch.Generator().manual_seed(seed)).train()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    data = batches(ids[:cut], args.batch, config.context, torch.Generator().manual_seed(seed))
    shares, began = [], time.process_time()
    for step in range(args.steps):
        for group in optimizer.param_groups:                 # a short rise, then half a cosine
            group["lr"] = args.lr * min(1, (step + 1) / 20) * (1 + math.cos(math.pi * step / args.steps)) / 2
        _, loss = model(*next(data))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shares.append(torch.stack(model.balance(args.bias_rate)) if model.mixtures else None)    # (mixtures, E)
    each = (time.process_time() - began) / args.steps
    uneven = None
    if model.mixtures:
        mean = torch.stack(shares[-50:]).mean(0)
        uneven = (mean.max(dim=1).values * config.n_expert - 1).max().item()
    return held_out(model, ids[cut:], config.context), uneven, each


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=300, help="optimizer steps [%(default)s]")
    p.add_argument("--batch", type=int, default=24, help="windows of 64 letters a step [%(default)s]")
    p.add_argument("--lr", type=float, default=3e-3, help="highest learning rate [%(default)s]")
    p.add_argument("--bias-rate", type=float, default=5e-3, help="how far a bias moves in a step [%(default)s]")
    p.add_argument("--seeds", type=int, default=3, help="runs of each model [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/gpt/sparse"), help="folder to write to [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if min(args.steps, args.batch, args.seeds) < 1:
        sys.exit("nothing to compare. Use --steps 1, --batch 1 and --seeds 1 or more")
    text = datasets.fetch("tinyshakespeare")["input.txt"].read_text(encoding="utf-8")
    letters = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = torch.tensor([letters[c] for c in text])
    print(f"a uniform guess loses {math.log(len(letters)):.4f} nats a letter\n")
    print(f"{'model':14s} {'weights':>10s} {'met by a token':>15s} {'nats a letter':>20s} {'MaxVio':>8s} "
          f"{'CPU ms/step':>12s}")
    numbers, began = {}, time.time()
    for name, config in MODELS.items():
        model = DeepSeek(config)
        n = sum(p.numel() for p in model.parameters())
        runs = [train(config, ids, args, seed) for seed in range(args.seeds)]
        loss, uneven, each = zip(*runs)
        spread = np.std(loss, ddof=1) if len(loss) > 1 else float("nan")
        numbers[name] = {"weights": n, "met": n - idle(model), "loss_nats": loss, "max_violation": uneven}
        work = "" if uneven[0] is None else f"{np.mean(uneven):.2f}"
        print(f"{name:14s} {n:10,d} {n - idle(model):15,d} {np.mean(loss):11.4f} +- {spread:.4f} {work:>8s} "
              f"{1e3 * np.mean(each):12.0f}", flush=True)
    write_metrics(args.out, "gpt/sparse.py", argv, seconds=time.time() - began, numbers=numbers)
    print(f"\nwrote {args.out}; +- is the standard deviation over {args.seeds} seeds")


if __name__ == "__main__":
    main()
