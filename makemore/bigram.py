"""
The smallest language model: how often does each letter follow each other letter? Counted, and then learned.

    python makemore/bigram.py                               # out/makemore/bigram/, with a picture of the counts
    python makemore/bigram.py --steps 20                    # seconds, to see that it runs

Two ways to the same 27 x 27 table. Counting: divide each row of counts by its sum, done. Learning: a net of one
layer, whose input is a one-hot letter, so that multiplying by W picks a row of W; softmax turns the row into
probabilities, and gradient descent on -log p of the letter that came moves them to where counting put them at once.
The first needs no learning, the second is what can be made deeper: mlp.py does.

Published, for counts on all names without smoothing: 2.454 nats a letter (Karpathy, makemore, lecture 1).

B = batch, T = letters of context (one is read), V = 27 letters, N = examples
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import importlib.util
import math
import time
from pathlib import Path

import torch
from torch import nn

from makemore import names
from makemore.names import ALPHABET, V
from makemore.record import write_metrics


def count(x, y):
    """x: (N, 1), y: (N,) letters;  returns: (V, V), how often column's letter came after row's letter"""
    pairs = x[:, 0] * V + y                                  # (N,) each pair as one number
    return torch.bincount(pairs, minlength=V * V).view(V, V).float()


def log_table(counts, smoothing):
    """log p(column | row); smoothing: what is added to each count, so that no pair is called impossible."""
    counts = counts + smoothing
    return (counts / counts.sum(1, keepdim=True)).log()      # (V, V) / (V, 1): each row by its own sum


class Bigram(nn.Module):
    """One layer without bias. W: (V, V), the logits after each letter; zeros say that all letters are as likely."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.zeros(V, V))

    def forward(self, idx, targets=None):
        """idx: (B, T) int64, of which the last letter is read;  targets: (B,);  returns: (B, V), nats or None"""
        last = idx[:, -1:]                                   # (B, 1)
        onehot = (last == torch.arange(V)).to(self.W.dtype)  # (B, 1) == (V,): (B, V)
        logits = onehot @ self.W                             # (B, V) the rows of W that the letters picked
        if targets is None:
            return logits, None
        logp = logits - logits.exp().sum(1, keepdim=True).log()      # softmax, and its logarithm
        return logits, -logp[torch.arange(len(logp)), targets].mean()


def descend(model, x, y, steps, rate):
    """Gradient descent on all examples at once. The loss has no other minimum, so zeros are as good a start as any."""
    began = time.time()
    for step in range(1, steps + 1):
        _, loss = model(x, y)
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            model.W -= rate * model.W.grad
        if step == 1 or step % max(1, steps // 10) == 0:
            each = (time.time() - began) / step
            print(f"step {step:5d}/{steps} | loss {loss.item():.4f} | {1 / each:5.1f} steps/s"
                  f" | {each * (steps - step):3.0f} s left")


def picture(counts, path):
    """The table as a heat map with its pairs and counts written in; darker means likelier after the row's letter."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    p = counts / counts.sum(1, keepdim=True).clamp(min=1)
    fig, ax = plt.subplots(figsize=(15, 13.6), layout="constrained")
    shade = ax.imshow(p.numpy(), cmap="Blues", vmin=0, vmax=0.5)
    for i in range(V):
        for j in range(V):
            colour = "white" if p[i, j] > 0.3 else "#334"
            ax.text(j, i, f"{ALPHABET[i]}{ALPHABET[j]}\n{int(counts[i, j])}", ha="center", va="center", color=colour,
                    fontsize=9)
    often, never = counts.argmax().item(), int((counts == 0).sum())
    pair = ALPHABET[often // V] + ALPHABET[often % V]
    ax.set_title(f'"{pair}" is the most frequent pair, {int(counts.max()):,} times; {never} of {V * V} never occur',
                 fontsize=17, pad=14)
    ax.set_xlabel('the letter that follows ("." ends the name)', fontsize=13)
    ax.set_ylabel('a letter ("." begins a name)', fontsize=13)
    ax.set_xticks(range(V), ALPHABET)
    ax.set_yticks(range(V), ALPHABET)
    fig.colorbar(shade, label="share of the row (all above 0.5 look alike)", shrink=0.6, extend="max")
    fig.savefig(path, dpi=90)
    plt.close(fig)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--smoothing", type=float, default=1, help="added to each count of the table [%(default)s]")
    p.add_argument("--steps", type=int, default=1000, help="steps of gradient descent [%(default)s]")
    p.add_argument("--rate", type=float, default=50, help="learning rate; 100 is too much [%(default)s]")
    p.add_argument("--seed", type=int, default=0, help="of the names that are drawn [%(default)s]")
    p.add_argument("--no-picture", action="store_true", help="draw no table; needs no matplotlib")
    p.add_argument("--out", type=Path, default=Path("out/makemore/bigram"), help="folder to write to [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if args.steps < 1 or args.smoothing <= 0:
        sys.exit("nothing to do, or pairs that are impossible. Use --steps 1 and --smoothing 0.01 or more")
    if not args.no_picture and importlib.util.find_spec("matplotlib") is None:
        sys.exit("the picture needs matplotlib. Get it with\n    pip install matplotlib\nor add --no-picture")
    began, everything = time.time(), names.load()
    all_, train, dev, test = (names.examples(part, 1) for part in (everything, *names.split(everything)))

    def nats(table, examples):
        x, y = examples
        return -table[x[:, 0], y].mean().item()

    print(f"{len(train[1]):,} examples; a uniform guess loses {math.log(V):.4f} nats a letter")
    whole = nats(log_table(count(*all_), 0), all_)
    print(f"counts of all names, no smoothing, on the same names: {whole:.4f} (published 2.454)")
    counts = count(*train)
    for smoothing in (0, 0.01, 0.1, 1, 10, 100):
        table = log_table(counts, smoothing)
        print(f"counts of train + {smoothing:<4g} | train {nats(table, train):.4f} | dev {nats(table, dev):.4f}")

    net = Bigram()
    descend(net, *train, args.steps, args.rate)
    counted = Bigram()                                       # the same model, its table filled in at once
    counted.W.data = log_table(counts, args.smoothing)
    numbers = {"all_loss_nats": whole}
    for label, prefix, model in [("learned", "learned_", net), ("counted", "", counted)]:
        for part, examples in [("train", train), ("dev", dev), ("test", test)]:
            numbers[f"{prefix}{part}_loss_nats"] = names.loss_of(model, *examples)
        print(label, *(f"| {part} {numbers[f'{prefix}{part}_loss_nats']:.4f}" for part in ("train", "dev", "test")))

    generator = torch.Generator().manual_seed(args.seed)
    print("ten new names:", ", ".join(names.generate(net, 10, 1, generator)))
    names.save(args.out, "bigram", {}, counted, context=1)
    if not args.no_picture:
        picture(count(*all_), args.out / "counts.png")
    write_metrics(args.out, "makemore/bigram.py", argv, seed=args.seed, seconds=round(time.time() - began, 2),
                  numbers=numbers)
    print(f"wrote {args.out}; next: python makemore/mlp.py")


if __name__ == "__main__":
    main()
