"""
BatchNorm by hand, and the character net on it: every unit is centred and scaled over the examples of the batch, so that
no layer ever sees inputs which are all too large or all too small.

    python makemore/batchnorm.py                            # the lecture's net with BatchNorm: dev 2.10
    python makemore/batchnorm.py --start normal             # its worst start: weights from N(0, 1), no BatchNorm
    python makemore/batchnorm.py --steps 100                # seconds, to see that it runs

Ioffe and Szegedy 2015: https://arxiv.org/abs/1502.03167, algorithm 1 forward, the gradients of section 3 backward,
running averages for evaluation (algorithm 2). BatchNorm equals torch.nn.BatchNorm1d in numbers and in the names of
its state_dict, except that channels come last: (N, C) or (N, T, C), where PyTorch wants (N, C, T).

The net is that of mlp.py, n_layer hidden layers of it. What is new beside BatchNorm is how it starts (STARTS): a start
at N(0, 1) is sure of wrong letters, so the loss begins at 27 instead of ln 27 = 3.30, and it holds most tanh units at
-1 or 1, where no gradient passes. diagnostics.py measures both.

Left out on purpose: momentum=None and affine=False of PyTorch's class, and statistics over several machines.

B = batch, T = letters of context, C = channels, V = 27 letters, N = all that is averaged over
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from makemore import names
from makemore.record import write_metrics


def forward(x, gamma, beta, eps):
    """x: (..., C);  gamma, beta: (C,);  returns y like x, and (xhat, scale, mean, var) for backward (algorithm 1)."""
    over = tuple(range(x.ndim - 1))
    mean = x.mean(over)                                      # (C,)
    centred = x - mean                                       # (..., C)
    var = (centred * centred).mean(over)                     # (C,) divided by N, not by N - 1
    rstd = (var + eps).rsqrt()
    xhat = centred * rstd                                    # (..., C)
    return xhat * gamma + beta, (xhat, gamma * rstd, mean, var)


def backward(dy, saved):
    """
    dy: (..., C), the gradient of y;  returns dx like dy, dgamma and dbeta (C,).

    Section 3 sends dxhat = gamma dy on three ways to x, through xhat, var and mean. Added up, with m(z) the mean of z
    over the batch:  dx = gamma rstd (dy - m(dy) - xhat m(dy xhat)),  since a shift or a stretch of all x changes no y.
    """
    xhat, scale, _, _ = saved
    over = tuple(range(dy.ndim - 1))
    dgamma, dbeta = (dy * xhat).sum(over), dy.sum(over)      # (C,)
    N = dy.numel() // dy.shape[-1]
    return scale * (dy - dbeta / N - xhat * (dgamma / N)), dgamma, dbeta


class Normalize(torch.autograd.Function):
    """forward and backward joined, so that autograd calls ours; returns y, mean, var."""

    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        y, saved = forward(x, gamma, beta, eps)
        ctx.save_for_backward(*saved)
        ctx.mark_non_differentiable(*saved[2:])
        return y, *saved[2:]

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, *_):
        return *backward(dy, ctx.saved_tensors), None


class BatchNorm(nn.Module):
    """Normalizes with the batch's mean and variance in training, with their running averages in evaluation."""

    def __init__(self, n, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum              # momentum: the weight of the newest batch
        self.weight = nn.Parameter(torch.ones(n))            # gamma
        self.bias = nn.Parameter(torch.zeros(n))             # beta
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x):
        """x: (..., C), at least two examples in training;  returns: like x"""
        if not self.training:
            scale = self.weight * (self.running_var + self.eps).rsqrt()
            return x * scale + (self.bias - self.running_mean * scale)
        N = x.numel() // x.shape[-1]
        if N < 2:
            raise ValueError(f"the variance of one example is 0: x of shape {tuple(x.shape)} cannot be normalized")
        y, mean, var = Normalize.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():                                # var N / (N - 1) estimates the variance of all data
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (N / (N - 1)), self.momentum)
            self.num_batches_tracked += 1
        return y


# start: (what changes against the row above, dev loss in the third lecture, nats)
STARTS = {"normal": ("all weights and biases from N(0, 1)", 2.168),
          "softmax": ("logits near 0", 2.13),
          "kaiming": ("inputs of tanh near unit size", 2.107),
          "batchnorm": ("BatchNorm before tanh", 2.105)}


class MLP(nn.Module):
    """Embeds the T letters of the context and sends them, side by side, through n_layer hidden layers of tanh."""

    def __init__(self, context=3, n_embd=10, n_hidden=200, n_layer=1, norm=True):
        super().__init__()
        self.embed = nn.Embedding(names.V, n_embd)
        layers, n = [], context * n_embd
        for _ in range(n_layer):
            layers.append(nn.Linear(n, n_hidden, bias=not norm))        # BatchNorm would take a bias out again
            layers += [BatchNorm(n_hidden), nn.Tanh()] if norm else [nn.Tanh()]
            n = n_hidden
        self.layers = nn.Sequential(*layers, nn.Linear(n, names.V))

    def forward(self, idx, targets=None):
        logits = self.layers(self.embed(idx).flatten(1))                # (B, T) -> (B, T C) -> (B, V)
        return logits, None if targets is None else F.cross_entropy(logits, targets)


@torch.no_grad()
def initialize(model, start, generator):
    """
    Draws the weights as STARTS says. 5/3 is the gain of tanh: tanh shrinks numbers of unit size to a standard deviation
    of 0.63, and 1/0.63 is 1.6; divided by the root of the number of inputs, since that many of them are added up.
    """
    model.embed.weight.normal_(generator=generator)
    linears = [m for m in model.layers if isinstance(m, nn.Linear)]
    for linear in linears:
        n, last = linear.in_features, linear is linears[-1]
        std = 1.0 if start == "normal" else 0.01 if last else 1.0 if start == "softmax" else 5 / 3 / math.sqrt(n)
        linear.weight.normal_(0, std, generator=generator)
        if linear.bias is not None:
            keep = start == "normal" or (start == "softmax" and not last)
            linear.bias.normal_(0, 1.0 if keep else 0.0, generator=generator)


def step(model, x, y, rate):
    """One step of plain gradient descent; the loss before it."""
    loss = model(x, y)[1]
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= rate * p.grad
    return loss.item()


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--start", choices=STARTS, default="batchnorm",
                   help="each also has what those before it have [%(default)s]")
    p.add_argument("--layers", type=int, default=1, help="hidden layers [%(default)s]")
    p.add_argument("--hidden", type=int, default=200, help="units of each [%(default)s]")
    p.add_argument("--steps", type=int, default=50_000, help="[%(default)s]")
    p.add_argument("--batch", type=int, default=256, help="examples a step [%(default)s]")
    p.add_argument("--rate", type=float, default=0.8, help="of learning, falling to 0 in a line [%(default)s]")
    p.add_argument("--seed", type=int, default=1337, help="of weights, batches and new names [%(default)s]")
    p.add_argument("--out", type=Path, help="folder to write to [out/makemore/batchnorm, or batchnorm_START]")
    return p.parse_args(argv)


def train(model, x, y, args, generator):
    """args.steps steps on random batches, with ten lines of progress."""
    began, total, every = time.time(), 0.0, max(1, args.steps // 10)
    for k in range(1, args.steps + 1):
        rows = torch.randint(len(x), (args.batch,), generator=generator)
        total += step(model, x[rows], y[rows], args.rate * (1 - (k - 1) / args.steps))
        if k % every == 0:
            rate = k / (time.time() - began)
            print(f"step {k:7,d}/{args.steps:,} | loss {total / every:.4f} | {rate:6,.0f} steps/s | "
                  f"{(args.steps - k) / rate:3.0f} s left", flush=True)
            total = 0.0


def main(argv=None):
    args = parse(argv)
    if args.steps < 1 or args.batch < 2 or args.layers < 1:
        sys.exit("there is nothing to learn. Use --steps 1, --batch 2 and --layers 1, or more")
    args.out = args.out or Path("out/makemore") / ("batchnorm" + f"_{args.start}" * (args.start != "batchnorm"))
    began, generator = time.time(), torch.Generator().manual_seed(args.seed)
    parts = dict(zip(["train", "dev", "test"], names.split(names.load())))
    parts = {part: names.examples(words, 3) for part, words in parts.items()}
    config = {"context": 3, "n_hidden": args.hidden, "n_layer": args.layers, "norm": args.start == "batchnorm"}
    model = MLP(**config)
    initialize(model, args.start, generator)

    x, y = parts["train"]
    with torch.no_grad():
        first = model(x[:8192], y[:8192])[1].item()          # in training mode: nothing has been averaged yet
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(x):,} examples; a uniform guess loses "
          f"{math.log(names.V):.4f} nats a letter, counts of pairs 2.45, the start {args.start!r} {first:.4f}")
    train(model, x, y, args, generator)

    numbers = {f"{part}_loss_nats": names.loss_of(model, *xy) for part, xy in parts.items()}
    print(" | ".join(f"{part} {numbers[f'{part}_loss_nats']:.4f}" for part in parts)
          + f" | the lecture's dev {STARTS[args.start][1]} ({STARTS[args.start][0]})")
    print("new names:", " ".join(names.generate(model, 10, 3, generator)))
    numbers.update(first_loss_nats=first, steps=args.steps, parameters=sum(p.numel() for p in model.parameters()))
    names.save(args.out, "batchnorm", config, model, 3)
    write_metrics(args.out, "makemore/batchnorm.py", argv, seed=args.seed, seconds=round(time.time() - began, 2),
                  numbers=numbers)
    print(f"wrote {args.out}; next: python makemore/diagnostics.py")


if __name__ == "__main__":
    main()
