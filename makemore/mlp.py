"""
Bengio's network on letters: each of the last three letters becomes a learned vector, and one hidden layer reads them.

    python makemore/mlp.py                                  # out/makemore/mlp/: dev at most 2.17
    python makemore/mlp.py --steps 100                      # seconds, to see that it runs
    python makemore/mlp.py --find-lr                        # which learning rate? 1,000 steps at ever larger ones
    python makemore/mlp.py --capacity                       # how large a net? five sizes, train and dev loss of each

Bengio et al. 2003, https://www.jmlr.org/papers/v3/bengio03a.html, with 27 letters in place of 17,000 words and without
the direct connections (bengio2003.py has them). What it adds to bigram.py: more than one letter of context, in a table
that does not grow with every context; batches; splits that are used as they should be (weights are learned on train,
sizes and rates chosen on dev, test read once at the end).

Published: dev 2.17 (Karpathy, makemore, lecture 2: 200,000 steps of 32). Ours: 30,000 steps of 256, which costs less,
since a small step is all overhead. All weights start from N(0, 1), as there; diagnostics.py shows what that costs.

B = batch, T = letters of context, C = channels of a letter, H = hidden units, V = 27 letters, N = examples
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import importlib.util
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from makemore import bigram, names
from makemore.names import V
from makemore.record import write_metrics

SIZES = 10, 30, 100, 300, 900                               # hidden units of --capacity


class MLP(nn.Module):
    """Embedding, tanh, logits: eq. 1 of the paper without W."""

    def __init__(self, context=3, n_embd=10, n_hidden=200, generator=None):
        super().__init__()

        def normal(*shape):
            return nn.Parameter(torch.randn(*shape, generator=generator))
        self.C = normal(V, n_embd)
        self.W1, self.b1 = normal(context * n_embd, n_hidden), normal(n_hidden)
        self.W2, self.b2 = normal(n_hidden, V), normal(V)

    def forward(self, idx, targets=None):
        """idx: (B, T) int64;  targets: (B,);  returns: logits (B, V), loss in nats or None"""
        x = self.C[idx].flatten(1)                           # (B, T, C) -> (B, T C) side by side: places matter
        h = torch.tanh(x @ self.W1 + self.b1)                # (B, H)
        logits = h @ self.W2 + self.b2                       # (B, V)
        return logits, None if targets is None else F.cross_entropy(logits, targets)


def step(model, x, y, batch, rate, generator):
    """One step of stochastic gradient descent on `batch` random examples. Returns their loss before it."""
    at = torch.randint(len(x), (batch,), generator=generator)
    _, loss = model(x[at], y[at])
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= rate * p.grad
    return loss.item()


def train(model, x, y, steps, batch, rate, generator):
    """The rate falls in a straight line to 0: large steps to get near, small ones to average over the batches."""
    began, recent, every = time.time(), [], max(1, steps // 10)
    for k in range(1, steps + 1):
        recent.append(step(model, x, y, batch, rate * (1 - (k - 1) / steps), generator))
        if k == 1 or k % every == 0:
            each = (time.time() - began) / k
            print(f"step {k:6d}/{steps} | loss {sum(recent) / len(recent):7.4f} | {1 / each:5.0f} steps/s"
                  f" | {each * (steps - k):3.0f} s left", flush=True)
            recent = []


def find_rate(model, x, y, batch, generator, low=1e-3, high=3, steps=1000):
    """
    The learning-rate finder of Smith 2015, section 3.3, https://arxiv.org/abs/1506.01186, with rates that grow by a
    factor, not by a summand. Returns the rates, the loss at each, and these losses averaged over 25 steps to each side.
    """
    rates = [low * (high / low) ** (k / (steps - 1)) for k in range(steps)]
    losses = [step(model, x, y, batch, rate, generator) for rate in rates]
    around = [losses[max(0, k - 25):k + 26] for k in range(steps)]
    return rates, losses, [sum(near) / len(near) for near in around]


def capacity(data, args):
    """
    [(hidden units, parameters, train loss, dev loss)] of nets that differ in nothing but their hidden layer. Its
    outgoing weights are divided by the root of H here: from N(0, 1), a larger net starts surer of wrong letters.
    """
    rows = []
    for n_hidden in SIZES:
        generator = torch.Generator().manual_seed(args.seed)
        model = MLP(args.context, args.n_embd, n_hidden, generator)
        model.W2.data /= n_hidden ** 0.5
        size = sum(p.numel() for p in model.parameters())
        print(f"{n_hidden} hidden units, {size:,} parameters")
        train(model, *data["train"], args.steps, args.batch, args.rate, generator)
        rows.append((n_hidden, size, names.loss_of(model, *data["train"]), names.loss_of(model, *data["dev"])))
        print(f"train {rows[-1][2]:.4f} | dev {rows[-1][3]:.4f}\n")
    return rows


def picture(path, title, xlabel, curves):
    """curves: [(x, y, label, style of the line)], on a logarithmic x axis"""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    fig, ax = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    for x, y, label, style in curves:
        ax.plot(x, y, label=label, **style)
    ax.set(xscale="log", xlabel=xlabel, ylabel="loss, nats a letter", title=title)
    ax.grid(alpha=0.3)
    ax.legend()
    fig.savefig(path, dpi=130)
    plt.close(fig)


def run_find_rate(data, args):
    generator = torch.Generator().manual_seed(args.seed)
    model = MLP(args.context, args.n_embd, args.n_hidden, generator)
    rates, losses, smooth = find_rate(model, *data["train"], args.batch, generator)
    best = min(range(len(rates)), key=lambda k: smooth[k])
    for k in range(0, len(rates), 100):
        print(f"rate {rates[k]:8.4f} | loss {smooth[k]:8.4f}")
    print(f"the loss is lowest at a rate of {rates[best]:.2f}")
    if not args.no_picture:
        picture(args.out / "find_lr.png", f"The loss falls up to a rate of {rates[best]:.2f} and rises beyond",
                f"learning rate of the step ({len(rates)} steps from left to right, batches of {args.batch})",
                [(rates, losses, "one batch", dict(color="#b8c4d0", linewidth=0.8)),
                 (rates, smooth, "mean of 51 steps", dict(color="#0b3c6f", linewidth=2))])
    return {"lowest_loss_rate": rates[best]}


def run_capacity(data, args):
    rows = capacity(data, args)
    hidden, sizes, trains, devs = zip(*rows)
    print("hidden | parameters | train  | dev")
    for row in rows:
        print("{:6d} | {:10,} | {:.4f} | {:.4f}".format(*row))
    best = devs.index(min(devs))
    if not args.no_picture:
        picture(args.out / "capacity.png",
                f"Dev is best at {sizes[best]:,} parameters, {devs[best] - trains[best]:.2f} nats above train",
                f"parameters ({', '.join(map(str, hidden))} hidden units)",
                [(sizes, devs, "dev", dict(color="#8c1c13", marker="o")),
                 (sizes, trains, "train", dict(color="#0b3c6f", marker="o"))])
    return {f"{part}_loss_nats_{h}_hidden": loss for h, _, *both in rows for part, loss in zip(("train", "dev"), both)}


def run_training(data, args):
    generator = torch.Generator().manual_seed(args.seed)
    config = dict(context=args.context, n_embd=args.n_embd, n_hidden=args.n_hidden)
    model = MLP(**config, generator=generator)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    train(model, *data["train"], args.steps, args.batch, args.rate, generator)
    losses = {part: names.loss_of(model, *examples) for part, examples in data.items()}
    print(*(f"{part} {loss:.4f}" for part, loss in losses.items()), "(published: dev 2.17)", sep=" | ")
    print("ten new names:", ", ".join(names.generate(model, 10, args.context, generator)))
    names.save(args.out, "mlp", config, model, args.context)
    return {f"{part}_loss_nats": loss for part, loss in losses.items()}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, mode = p.add_argument, p.add_mutually_exclusive_group()
    mode.add_argument("--find-lr", action="store_true", help="draw the loss against the rate; trains no model")
    mode.add_argument("--capacity", action="store_true", help="draw the loss against the size; keeps no model")
    add("--context", type=int, default=3, help="letters that the net sees [%(default)s]")
    add("--n-embd", type=int, default=10, help="numbers that stand for a letter [%(default)s]")
    add("--n-hidden", type=int, default=200, help="hidden units [%(default)s]")
    add("--steps", type=int, default=30_000, help="steps of gradient descent [%(default)s]")
    add("--batch", type=int, default=256, help="examples a step [%(default)s]")
    add("--rate", type=float, default=1.0, help="learning rate of the first step [%(default)s]")
    add("--seed", type=int, default=0, help="of weights, batches and drawn names [%(default)s]")
    add("--no-picture", action="store_true", help="numbers only; needs no matplotlib")
    add("--out", type=Path, help="folder to write to [out/makemore/mlp, mlp_find_lr or mlp_capacity]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if min(args.context, args.n_embd, args.n_hidden, args.steps, args.batch) < 1:
        sys.exit("a size of nothing. Use 1 or more for --context, --n-embd, --n-hidden, --steps and --batch")
    drawing = (args.find_lr or args.capacity) and not args.no_picture
    if drawing and importlib.util.find_spec("matplotlib") is None:
        sys.exit("the picture needs matplotlib. Get it with\n    pip install matplotlib\nor add --no-picture")
    mode = "mlp_find_lr" if args.find_lr else "mlp_capacity" if args.capacity else "mlp"
    args.out = args.out or Path("out/makemore") / mode
    args.out.mkdir(parents=True, exist_ok=True)

    began, parts = time.time(), names.split(names.load())
    data = {part: names.examples(some, args.context) for part, some in zip(("train", "dev", "test"), parts)}
    before, after = names.examples(parts[0], 1)
    table = bigram.log_table(bigram.count(before, after), 1)
    x, y = data["dev"]
    print(f"{len(data['train'][1]):,} examples; on dev, a uniform guess loses {math.log(V):.4f} nats a letter, "
          f"the bigram {-table[x[:, -1], y].mean():.4f}")
    run = run_find_rate if args.find_lr else run_capacity if args.capacity else run_training
    numbers = run(data, args)
    write_metrics(args.out, "makemore/mlp.py", argv, seed=args.seed, seconds=round(time.time() - began, 2),
                  numbers=numbers)
    print(f"wrote {args.out}; next: python makemore/" + ("mlp.py" if mode != "mlp" else "batchnorm.py"))


if __name__ == "__main__":
    main()
