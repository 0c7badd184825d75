"""
Weights in 8 bits, by hand: a quarter of the bytes of float32, and the products in the processor's int8 instructions.

    python gpt/int8.py --checkpoint out/tinyworld/pretrain/run --data out/tinyworld/shards     # what it costs and saves
    report = quantize(model)                                # every nn.Linear in place; the engine takes it as before

Decoding one token multiplies every weight once, so its time is the time to read them. Each output channel n has a
scale s_n = max|W_n| / 127 and holds round(W_n / s_n); 0 stays 0 (symmetric). The input is rounded the same way, row by
row as it comes, r_m = max|x_m| / 127, so that the sum is one of integers, exact in 32 bits:

    y[m, n] = r_m s_n sum_k X[m, k] Q[n, k] + b[n]          X, Q: int8

A row's result hangs on no other row: a request writes the same alone and in a batch. Departs from LLM.int8 (Dettmers et
al. 2022, section 2: https://arxiv.org/abs/2208.07339) by leaving no outlier channels in 16 bits, which models below
some billion parameters do not need. Embedding and norms stay as they are. Left out on purpose: 4 bits, calibration
(SmoothQuant, GPTQ), training.

M = rows, K = inputs, N = outputs
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F


def rounded(x):
    """Rows of x (M, K) as int8 (M, K) and what one unit of each is worth, (M, 1); a row of zeros stays zeros."""
    unit = x.abs().amax(1, keepdim=True).div_(127).clamp_min_(1e-30)              # (M, 1)
    return torch.div(x, unit).round_().to(torch.int8), unit


def plain(x, weight, scale, bias=None):
    """The definition, in floating point: both rounded, then multiplied. Arguments as for product()."""
    x, unit = rounded(x)
    y = F.linear(x.double() * unit, weight.double() * scale[:, None])
    return (y if bias is None else y + bias).to(scale.dtype)


def product(x, weight, scale, bias=None):
    """
    The same numbers to rounding, from integer products.
    x: (M, K) float;  weight: (N, K) int8;  scale: (N,);  bias: (N,) or None;  returns: (M, N) like scale
    """
    x, unit = rounded(x)
    y = torch._int_mm(x, weight.t()).to(scale.dtype).mul_(unit)                   # (M, N)
    return y.mul_(scale) if bias is None else torch.addcmul(bias, y, scale)


class Int8Linear(nn.Module):
    """An nn.Linear with its weight in int8; weight and scale travel in the state dict."""

    def __init__(self, linear):
        super().__init__()
        weight, scale = rounded(linear.weight.detach().float())
        self.register_buffer("weight", weight)                                    # (N, K) int8
        self.register_buffer("scale", scale[:, 0])                                # (N,) float32
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().float())

    def forward(self, x):
        """x: (..., K) float32 or bfloat16;  returns: (..., N) like x"""
        multiply = product if x.is_cpu else plain                                 # elsewhere its bytes alone are saved
        y = multiply(x.reshape(-1, x.size(-1)).to(self.scale.dtype), self.weight, self.scale, self.bias)
        return y.view(*x.shape[:-1], -1).to(x.dtype)


def quantize(model):
    """
    Replace every nn.Linear of a model by an Int8Linear, in place; a tied embedding keeps its own floats.
    What takes its matrix apart to move it elsewhere, latent attention's kv_b_proj, stays as it is.
    returns: [(name, (N, K), error of the weights as a share of their size, bytes before, bytes after), ...]
    """
    report = []
    for name, linear in list(model.named_modules()):
        if type(linear) is nn.Linear and not name.endswith("kv_b_proj"):
            parent, _, own = name.rpartition(".")
            small = Int8Linear(linear)
            setattr(model.get_submodule(parent), own, small)
            weight = linear.weight.detach()
            error = (small.weight * small.scale[:, None] - weight).norm() / weight.norm().clamp(min=1e-30)
            report.append((name, tuple(weight.shape), float(error), weight.nbytes,
                           small.weight.nbytes + small.scale.nbytes))
    return report


@torch.no_grad()
def losses(model, ids, context):
    """The loss of each whole window of ids (N,), in nats per token."""
    windows = ids[:len(ids) // (context + 1) * (context + 1)].view(-1, context + 1)
    return torch.cat([model(w[:, :-1], w[:, 1:])[1][None] for w in windows.split(1)])


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--checkpoint", type=Path, default=Path("out/tinyworld/pretrain/run"), help="run or step [%(default)s]")
    add("--data", type=Path, default=Path("out/tinyworld/shards"), help="shards with a split `valid` [%(default)s]")
    add("--windows", type=int, default=100, help="texts to measure the loss on, of the context's length [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    from bpe import shards
    from gpt import checkpoint
    args = parse(argv)
    try:
        model, tokenizer, info = checkpoint.load(args.checkpoint, "cpu")
    except checkpoint.CheckpointError as error:
        sys.exit(str(error))
    parts, _ = shards.load(args.data, "valid", tokenizer.hash)
    context = model.config.context
    ids = torch.from_numpy(parts[0][:args.windows * (context + 1)].astype("int64"))
    if len(ids) <= context:
        sys.exit(f"{args.data} has {len(ids)} tokens of valid, less than one context of {context}")
    before = losses(model, ids, context)
    report = quantize(model)
    after = losses(model, ids, context)
    for name, (N, K), error, _, _ in sorted(report, key=lambda row: -row[2])[:5]:
        print(f"{name:40s} {N:6d} x {K:<6d} weights off by {error:.2%}")
    was, now = (sum(row[i] for row in report) for i in (3, 4))
    change = after - before
    print(f"the {len(report)} matrices: {was:,} bytes, now {now:,}; the five farthest off stand above")
    print(f"loss on {len(before) * context:,} tokens: {before.mean():.4f} nats, now {after.mean():.4f} "
          f"({change.mean():+.4f}, standard error {change.std() / len(change) ** 0.5:.4f})")


if __name__ == "__main__":
    main()
