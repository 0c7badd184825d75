"""
Backpropagation by hand through a whole language model, and training without autograd.

    python makemore/backprop.py                             # a table of errors, then training: out/makemore/backprop/
    python makemore/backprop.py --steps 1000                # seconds, to see that it runs
    python makemore/backprop.py --check mine.py             # the exercise: your gradients, one by one; needs no data

forward() is embedding, linear, BatchNorm, tanh, linear and cross-entropy, broken into steps so small that each has one
derivative. The variance is divided by B - 1, as in the lecture; batchnorm.py divides by B, as the paper.

The exercise. Write a file with a function backward(v), where v is what forward() returns, that gives a dict with the
gradient of the loss in each of NAMES: {"dlogprobs": ..., "dprobs": ..., ...}, each in the shape of v.<name>. Begin
at the end; the check says after each line how far you are. makemore/solution.py is one that passes.

fused() is what remains when the steps are multiplied out on paper: a line or two a layer. With it the net is
trained on names, and PyTorch is asked only for arithmetic.

Left out on purpose: a bias in the first layer. BatchNorm takes the mean off again, so its gradient would be 0.

B = batch, T = letters of context, C = channels of an embedding, H = hidden units, V = 27 letters
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import importlib.util
import math
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from makemore import names, solution
from makemore.names import V
from makemore.record import write_metrics

T, C, H = 3, 10, 200
EPS = 1e-5                                                   # keeps 1 / sqrt(var) finite for a unit that never moves
TOLERANCE = 1e-12                                            # two right answers differ by rounding, about 1e-16
PARAMETERS = ["E", "W1", "gamma", "beta", "W2", "b2"]
NAMES = ("logprobs probs inverse total counts shifted peak logits h W2 b2 y gamma beta xhat rstd var square "
         "centred mean z x W1 emb E").split()                # as backward() meets them


def forward(idx, targets, E, W1, gamma, beta, W2, b2):
    """idx: (B, T), targets: (B,) int64;  returns: everything below by its name, v.emb to v.loss, and the arguments"""
    B, rows = len(idx), torch.arange(len(idx))
    emb = E[idx]                                             # (B, T, C)
    x = emb.view(B, -1)                                      # (B, T*C)
    z = x @ W1                                               # (B, H)

    mean = z.sum(0) / B                                      # (H,)
    centred = z - mean                                       # (B, H)
    square = centred**2
    var = square.sum(0) / (B - 1)                            # (H,) B - 1: the mean was estimated too (Bessel)
    rstd = (var + EPS)**-0.5
    xhat = centred * rstd                                    # (B, H) mean 0, variance 1 in each column
    y = gamma * xhat + beta
    h = torch.tanh(y)

    logits = h @ W2 + b2                                     # (B, V)
    peak = logits.max(1, keepdim=True).values                # (B, 1)
    shifted = logits - peak                                  # (B, V) at most 0, so that exp cannot overflow
    counts = shifted.exp()
    total = counts.sum(1, keepdim=True)                      # (B, 1)
    inverse = total**-1
    probs = counts * inverse                                 # (B, V)
    logprobs = probs.log()
    loss = -logprobs[rows, targets].mean()
    return SimpleNamespace(**locals())


def fused(v):
    """The steps of solution.py multiplied out on paper; gradients of the parameters and of what layers hand on."""
    B = len(v.idx)
    dlogits = v.probs / B                                    # (B, V) (softmax - one-hot) / B
    dlogits[v.rows, v.targets] -= 1 / B
    dh, dW2, db2 = dlogits @ v.W2.T, v.h.T @ dlogits, dlogits.sum(0)
    dy = dh * (1 - v.h**2)                                   # (B, H)
    dgamma, dbeta = (dy * v.xhat).sum(0), dy.sum(0)
    dz = v.gamma * v.rstd * (dy - dbeta / B - v.xhat * (dgamma / (B - 1)))
    dx, dW1 = dz @ v.W1.T, v.x.T @ dz
    dE = torch.zeros_like(v.E).index_add_(0, v.idx.flatten(), dx.view(-1, v.E.shape[1]))
    return {name: x for name, x in locals().items() if name.startswith("d")}


def problem(generator, B=32, H=64):
    """v of forward() for random letters and parameters, in float64, and PyTorch's gradient of each of NAMES."""
    def normal(*shape, scale=1):
        return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).requires_grad_()
    parameters = normal(V, C), normal(T * C, H), normal(H), normal(H), normal(H, V, scale=0.2), normal(V)
    idx, targets = (torch.randint(V, shape, generator=generator) for shape in [(B, T), (B,)])
    v = forward(idx, targets, *parameters)
    want = torch.autograd.grad(v.loss, [getattr(v, name) for name in NAMES])
    return (SimpleNamespace(**{k: x.detach() if torch.is_tensor(x) else x for k, x in vars(v).items()}),
            dict(zip(NAMES, want)))


def error(got, want):
    """The largest difference of two tensors; infinite where the shapes differ or one is NaN."""
    return (got - want).abs().max().nan_to_num(math.inf).item() if got.shape == want.shape else math.inf


def wrong(backward, generator):
    """[(name, what is wrong or None)] of a learner's function, in the order of NAMES."""
    v, want = problem(generator)
    got, found = backward(v), []
    if not isinstance(got, dict):
        sys.exit(f"backward(v) returns {type(got).__name__}. Return a dict: {{'dlogprobs': dlogprobs, ...}}")
    for name, right in want.items():
        mine, shape = got.get(f"d{name}"), tuple(right.shape)
        if not torch.is_tensor(mine):
            found.append((name, f"missing; it has the shape of v.{name}, {shape}"))
        elif mine.shape != right.shape:
            found.append((name, f"has the shape {tuple(mine.shape)}, not {shape}: what forward copies, backward sums"))
        else:
            off = error(mine, right)
            found.append((name, None if off <= TOLERANCE else f"off by up to {off:.1e}; its shape {shape} is right"))
    return found


def check(path, generator):
    """Run the learner's file, as any script of theirs, and say of each gradient whether it is right."""
    if not path.exists():
        sys.exit(f"no {path}. Copy the first lines of makemore/solution.py and fill in the rest")
    spec = importlib.util.spec_from_file_location("learner", path)
    if spec is None:
        sys.exit(f"{path} is not a Python file. Give it a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "backward", None)):
        sys.exit(f"{path} has no function backward(v). Define one that returns a dict of gradients")
    found = wrong(module.backward, generator)
    for name, what in found:
        print(f"d{name:10s} {what or 'right'}")
    if bad := [name for name, what in found if what]:
        sys.exit(f"{len(bad)} of {len(NAMES)} wrong or missing. Begin with d{bad[0]}: later ones may follow from it")
    print(f"all {len(NAMES)} gradients are PyTorch's, to {TOLERANCE:.0e}")


def table(generator):
    """Print how far the gradients by hand are from PyTorch's; returns the largest error."""
    v, want = problem(generator)
    steps, short, worst = solution.backward(v), fused(v), 0.0
    print(f"{'gradient':10s} | {'shape':11s} | step by step | fused")
    for name, right in want.items():
        off = [error(d[f"d{name}"], right) for d in (steps, short) if f"d{name}" in d]
        worst = max(worst, *off)
        print(f"d{name:9s} | {str(tuple(right.shape)):11s} | {off[0]:12.1e} | {f'{off[1]:.1e}' if off[1:] else '–'}")
    print(f"largest error {worst:.1e}, in float64")
    return worst


@torch.no_grad()
def by_hand(idx, targets, parameters):
    """(loss, the gradient of each parameter) by forward() and fused()"""
    v = forward(idx, targets, *parameters)
    d = fused(v)
    return v.loss, [d[f"d{name}"] for name in PARAMETERS]


def by_autograd(idx, targets, parameters):
    """The same from PyTorch."""
    parameters = [p.detach().requires_grad_() for p in parameters]
    loss = forward(idx, targets, *parameters).loss
    return loss.detach(), torch.autograd.grad(loss, parameters)


def start(seed):
    """The parameters before training, in the order of PARAMETERS; W2 is small: all letters are about as likely."""
    generator = torch.Generator().manual_seed(seed)
    def normal(*shape): return torch.randn(shape, generator=generator, dtype=torch.float64)
    return [normal(V, C), normal(T * C, H) / math.sqrt(T * C), torch.ones(H).double(), torch.zeros(H).double(),
            0.1 * normal(H, V) / math.sqrt(H), torch.zeros(V).double()]


def train(gradients, x, y, args, steps):
    """`steps` steps of plain gradient descent out of args.steps. Returns the parameters, and the loss of each batch."""
    parameters, generator = start(args.seed), torch.Generator().manual_seed(args.seed)
    began, losses = time.time(), []
    for step in range(1, steps + 1):
        i = torch.randint(len(x), (args.batch,), generator=generator)
        loss, grads = gradients(x[i], y[i], parameters)
        rate = args.rate * (1 - (step - 1) / args.steps)     # falls on a straight line to 0
        for p, dp in zip(parameters, grads):
            p -= rate * dp
        losses.append(loss.item())
        if step % max(1, steps // 10) == 0:
            each, mean = (time.time() - began) / step, sum(losses[-1000:]) / len(losses[-1000:])
            print(f"step {step:6d}/{steps} | loss {mean:.4f} | {1 / each:5.0f} steps/s"
                  f" | {each * (steps - step):3.0f} s left")
    return parameters, losses


class Net(nn.Module):
    """The net once it is trained: with a fixed mean and variance, BatchNorm is part of W1 and of a bias."""

    def __init__(self, channels=C, hidden=H):
        super().__init__()
        shapes = {"E": (V, channels), "W1": (T * channels, hidden), "b1": (hidden,), "W2": (hidden, V), "b2": (V,)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.zeros(shape)))

    def forward(self, idx, targets=None):
        """idx: (B, T), targets: (B,) int64;  returns: logits (B, V), nats a letter or None"""
        h = torch.tanh(self.E[idx].flatten(1) @ self.W1 + self.b1)           # (B, H)
        logits = h @ self.W2 + self.b2
        return logits, None if targets is None else nn.functional.cross_entropy(logits, targets)


def fold(parameters, x):
    """Net with these parameters, its mean and variance those of all examples x."""
    E, W1, gamma, beta, W2, b2 = parameters
    z = E[x].flatten(1) @ W1                                 # (N, H)
    scale = gamma * (z.var(0) + EPS)**-0.5                   # (H,)
    net = Net()
    net.load_state_dict(dict(E=E, W1=W1 * scale, b1=beta - z.mean(0) * scale, W2=W2, b2=b2))
    return net


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", type=Path, metavar="FILE", help="check the backward(v) in this file instead")
    p.add_argument("--steps", type=int, default=40_000, help="steps of gradient descent [%(default)s]")
    p.add_argument("--compare", type=int, default=40_000, help="steps that autograd takes too [%(default)s]")
    p.add_argument("--batch", type=int, default=128, help="examples a step [%(default)s]")
    p.add_argument("--rate", type=float, default=0.5, help="learning rate of the first step [%(default)s]")
    p.add_argument("--seed", type=int, default=0, help="of parameters, batches and new names [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/makemore/backprop"), help="folder to write to [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if args.check:
        return check(args.check, torch.Generator().manual_seed(args.seed))
    if args.steps < 1 or args.batch < 2:
        sys.exit("nothing to do, or no variance in a batch of one. Use --steps 1 and --batch 2 or more")
    began = time.time()
    parts = dict(zip(("train", "dev", "test"), (names.examples(part, T) for part in names.split(names.load()))))
    numbers = {"max_error": table(torch.Generator().manual_seed(args.seed))}

    compare = min(args.compare, args.steps)
    print(f"{len(parts['train'][1]):,} examples; a uniform guess loses {math.log(V):.4f} nats a letter, bigrams 2.45")
    parameters, losses = train(by_hand, *parts["train"], args, args.steps)
    print(f"the first {compare:,} of these steps again, with autograd:")
    _, theirs = train(by_autograd, *parts["train"], args, compare)
    numbers["curve_difference_nats"] = max((abs(a - b) for a, b in zip(losses, theirs)), default=0.0)
    print(f"the two curves differ by at most {numbers['curve_difference_nats']:.1e} nats")

    net = fold(parameters, parts["train"][0])
    for part, examples in parts.items():
        numbers[f"{part}_loss_nats"] = names.loss_of(net, *examples)
        print(f"{part:5s} {numbers[f'{part}_loss_nats']:.4f} nats a letter")
    print("published for this net, dev: 2.11")
    print("ten new names:", ", ".join(names.generate(net, 10, T, torch.Generator().manual_seed(args.seed))))
    names.save(args.out, "backprop", {"channels": C, "hidden": H}, net, context=T)
    write_metrics(args.out, "makemore/backprop.py", argv, seed=args.seed, seconds=round(time.time() - began, 2),
                  numbers=numbers)
    print(f"wrote {args.out}; next: python makemore/wavenet.py")


if __name__ == "__main__":
    main()
