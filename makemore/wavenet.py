"""
Letters fused in pairs, pairs in fours, fours in eights: a deep model whose view doubles with each layer.

    python makemore/wavenet.py                              # out/makemore/wavenet/, a minute on two cores
    python makemore/wavenet.py --steps 100                  # seconds, to see that it runs
    python makemore/wavenet.py --plain --decay 0.2          # the lecture's model: no gates, nothing added back

mlp.py squeezes its whole context into one hidden layer at once. Here each layer fuses only neighbours:

    letter to guess                   a
                                      |
    dilation 4    -   -   -   -   -   -   -   y             y: what the tree computes for this one guess
    dilation 2    -   -   -   y   -   -   -   y             -: what the convolution computes as well,
    dilation 1    -   y   -   y   -   y   -   y                for the guesses at the other positions
    context       .   .   .   .   .   e   m   m

Each y is made from two values of the line below: the one under it and the one `dilation` places before. So a layer
is a causal convolution of two inputs, conv.py; and where only the last output is asked for, half of each line is
needed by nobody, and the convolution becomes a product of consecutive pairs. forward() is the tree, everywhere() the
convolution, with the same weights, and they agree to rounding in evaluation (in training BatchNorm averages
over the nodes that there are). A tree for one guess has 7 nodes, the convolution 3 for each position, which pays
where a sequence is longer than its context (sound, text), but hardly for names: seven dots and six letters.

van den Oord et al. 2016, WaveNet: https://arxiv.org/abs/1609.03499, dilations of section 2.1, gates of 2.3, residuals
of 2.4; the tree is makemore's lecture 5, published dev loss 1.993 (76,579 weights: exactly --plain). Departures:
BatchNorm; the residual is added without a 1x1 convolution. Left out: skip connections, conditioning.

B = batch, T = letters of context, V = 27 letters, C = channels in, D = channels out
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

from makemore import bigram, names
from makemore.batchnorm import BatchNorm
from makemore.conv import CausalConv1d
from makemore.names import V
from makemore.record import write_metrics


class Fuse(nn.Module):
    """
    One layer. gated: tanh(a) * sigmoid(g), where g decides how much of a is let through (section 2.3, eq. 2), and the
    newer of the two inputs is added back (2.4); otherwise tanh(a), as in the lecture.
    """

    def __init__(self, n_in, n_out, dilation, gated):
        super().__init__()
        width = 2 * n_out if gated else n_out
        self.conv = CausalConv1d(n_in, width, kernel=2, dilation=dilation, bias=False)
        self.norm = BatchNorm(width)
        self.gated, self.residual = gated, gated and n_in == n_out

    def forward(self, x):
        """One node of the tree for each pair. x: (B, T, C);  returns: (B, T/2, D)"""
        B, T, C = x.shape
        pairs = x.view(B, T // 2, 2 * C)                     # (B, T/2, 2C) older, newer
        return self.activate(pairs @ self.conv.weight.flatten(0, 1), newer=x[:, 1::2])

    def everywhere(self, x):
        """One node at each position, of it and the one `dilation` before. x: (B, T, C);  returns: (B, T, D)"""
        return self.activate(self.conv(x), newer=x)

    def activate(self, z, newer):
        z = self.norm(z)
        if not self.gated:
            return z.tanh()
        a, g = z.chunk(2, dim=-1)
        y = a.tanh() * g.sigmoid()
        return y + newer if self.residual else y


class WaveNet(nn.Module):
    """`layers` layers with dilations 1, 2, 4, ... look 2**layers letters back."""

    def __init__(self, layers=3, n_embd=24, n_hidden=128, gated=True):
        super().__init__()
        self.context = 2**layers
        self.emb = nn.Embedding(V, n_embd)
        self.layers = nn.ModuleList(Fuse(n_hidden if i else n_embd, n_hidden, 2**i, gated) for i in range(layers))
        self.head = nn.Linear(n_hidden, V)
        with torch.no_grad():
            self.head.weight *= 0.1                          # the first guess is nearly uniform

    def forward(self, idx, targets=None):
        """The tree. idx: (B, T) int64, T = context;  targets: (B,);  returns: (B, V), nats or None"""
        if idx.shape[1] != self.context:
            raise ValueError(f"{idx.shape[1]} letters of context, the tree has {self.context} leaves")
        x = self.emb(idx)                                    # (B, T, C)
        for layer in self.layers:
            x = layer(x)                                     # (B, T/2, D), and half of it each time
        logits = self.head(x[:, 0])                          # (B, V)
        return logits, None if targets is None else F.cross_entropy(logits, targets)

    def everywhere(self, idx):
        """The convolution: what comes after each letter. idx: (B, T) int64, any T;  returns: (B, T, V)"""
        x = self.emb(idx)                                    # (B, T, C)
        for layer in self.layers:
            x = layer.everywhere(x)                          # (B, T, D)
        return self.head(x)


def fit(model, x, y, args):
    """AdamW on random batches, the learning rate to zero along half a cosine. Gains and shifts do not decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": args.decay},
                                   {"params": vectors, "weight_decay": 0}], betas=(0.9, 0.99), fused=True)
    generator, N = torch.Generator().manual_seed(args.seed), len(x)
    epochs = -(-args.steps * args.batch // N)                # rounded up
    order = torch.cat([torch.randperm(N, generator=generator) for _ in range(epochs)])
    began, total, every = time.time(), 0.0, max(1, args.steps // 10)
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = args.rate * (1 + math.cos(math.pi * step / args.steps)) / 2
        at = order[step * args.batch:(step + 1) * args.batch]
        _, loss = model(x[at], y[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if (step + 1) % every == 0:
            each = (time.time() - began) / (step + 1)
            print(f"step {step + 1:6d}/{args.steps} | loss {total / every:.4f} | {args.batch / each:7,.0f} examples/s"
                  f" | {each * (args.steps - step - 1):4.0f} s left", flush=True)
            total = 0.0


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--layers", type=int, default=3, help="each doubles the letters of context [%(default)s]")
    p.add_argument("--embd", type=int, default=24, help="channels of a letter [%(default)s]")
    p.add_argument("--hidden", type=int, default=128, help="channels of a layer [%(default)s]")
    p.add_argument("--plain", action="store_true", help="tanh alone: no gates, no residuals")
    p.add_argument("--steps", type=int, default=10_000, help="optimizer steps [%(default)s]")
    p.add_argument("--batch", type=int, default=256, help="examples a step [%(default)s]")
    p.add_argument("--rate", type=float, default=3e-3, help="learning rate at the start [%(default)s]")
    p.add_argument("--decay", type=float, default=0.6, help="weight decay of AdamW [%(default)s]")
    p.add_argument("--seed", type=int, default=0, help="of weights, batches and new names [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/makemore/wavenet"), help="folder to write to [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if min(args.layers, args.embd, args.hidden, args.steps) < 1 or args.batch < 2:
        sys.exit("a size below 1, or a batch of one, which has no variance. Use at least --steps 1 and --batch 2")
    began = time.time()
    train, dev, test = names.split(names.load())
    config = {"layers": args.layers, "n_embd": args.embd, "n_hidden": args.hidden, "gated": not args.plain}
    torch.manual_seed(args.seed)
    model = WaveNet(**config)
    context = model.context
    (x, y), (x_dev, y_dev), (x_test, y_test) = (names.examples(part, context) for part in (train, dev, test))

    table = bigram.log_table(bigram.count(x[:, -1:], y), 1)  # (V, V)
    counted = -table[x_dev[:, -1], y_dev].mean().item()
    print(f"{len(x):,} examples of {context} letters; {sum(p.numel() for p in model.parameters()):,} weights")
    print(f"a uniform guess loses {math.log(V):.4f} nats a letter, the bigram {counted:.4f} on dev")
    fit(model, x, y, args)

    numbers = {"train_loss_nats": names.loss_of(model, x, y), "dev_loss_nats": names.loss_of(model, x_dev, y_dev),
               "test_loss_nats": names.loss_of(model, x_test, y_test)}
    print("train {:.4f} | dev {:.4f} (published 1.993) | test {:.4f}".format(*numbers.values()))
    generator = torch.Generator().manual_seed(args.seed)
    print("ten new names:", ", ".join(names.generate(model, 10, context, generator)))
    names.save(args.out, "wavenet", config, model, context)
    write_metrics(args.out, "makemore/wavenet.py", argv, seed=args.seed, seconds=round(time.time() - began, 2),
                  numbers=numbers)
    print(f"wrote {args.out}; next: python makemore/sample.py")


if __name__ == "__main__":
    main()
