"""
The head and its cross-entropy in one: loss = -mean log softmax(x W^T)[target], a chunk of rows at a
time, so that the logits (rows x vocabulary, the largest tensor of a small model by far) never exist
whole.

    python kernels/cross_entropy.py                          # time and peak memory beside the plain form
    python kernels/cross_entropy.py --vocabulary 2048        # that of the small presets

With z = x W^T and p = softmax(z), for each row that has a target:

    loss = log sum exp z - z_target      dz = p - [v is the target]      dx = dz W      dW = dz^T x
    Wijmans et al. 2024, sections 3 and 4: https://arxiv.org/abs/2411.09009 (they keep not even a chunk)

The gradient of a row of logits is known as soon as its softmax is, so the forward pass turns each chunk of
logits into its gradient in place and folds it into dx and dW at once; backward only scales them. On CUDA
one kernel does the turning (kernels/logits_gradient.py), elsewhere a handful of torch's operations.
Left out on purpose: label smoothing, soft caps.

N = rows (B times T), C = channels, V = vocabulary
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import resource
import subprocess
import time

import torch
import torch.nn.functional as F


def plain(x, weight, targets):
    """The definition. x: (N, C);  weight: (V, C);  targets: (N,), -1 where none counts;  returns nats per target"""
    return F.cross_entropy((x @ weight.t()).float(), targets, ignore_index=-1)


def loss_and_gradient_(z, targets):
    """
    Overwrites the logits z (N, V) with the gradient of the sum of the losses.
    targets: (N,), -1 where none counts;  returns: (N,) nats, float32 or wider
    """
    kind = torch.promote_types(z.dtype, torch.float32)
    counts, target = (targets >= 0).to(kind), targets.clamp(min=0)[:, None]       # (N,), (N, 1)
    z.sub_(z.amax(dim=-1, keepdim=True))
    right = z.gather(1, target).squeeze(1).to(kind)                               # (N,)
    total = z.exp_().sum(dim=-1, dtype=kind)                                      # (N,)
    z.mul_((counts / total).to(z.dtype)[:, None])
    z.scatter_add_(1, target, -counts.to(z.dtype)[:, None])
    return (total.log() - right) * counts


class LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, targets, chunk, train):
        turn = loss_and_gradient_
        if x.is_cuda:
            from kernels.logits_gradient import loss_and_gradient_ as turn    # here: Triton is for Linux alone
        kind = torch.promote_types(x.dtype, torch.float32)                        # what sums are kept in
        head = weight.to(x.dtype)                                                 # a copy under autocast only
        dx, dw = (torch.empty_like(x), torch.zeros_like(weight, dtype=kind)) if train else (None, None)
        store = x.new_empty(min(chunk, len(x)), len(weight))                      # (chunk, V), reused
        loss = torch.zeros((), dtype=kind, device=x.device)
        for start in range(0, len(x), chunk):
            part = slice(start, start + chunk)
            z = torch.mm(x[part], head.t(), out=store[:len(x[part])])             # (chunk, V)
            loss += turn(z, targets[part]).sum()                                  # z is now its gradient
            if train:
                torch.mm(z, head, out=dx[part])
                if dw.dtype == x.dtype:
                    dw.addmm_(z.t(), x[part])
                else:
                    dw += z.t() @ x[part]
        scale = 1 / (targets >= 0).sum().clamp(min=1).to(kind)
        if train:
            ctx.save_for_backward(dx, dw, scale)
            ctx.kind = weight.dtype
        return loss * scale

    @staticmethod
    def backward(ctx, dloss):
        dx, dw, scale = ctx.saved_tensors                 # divided by the count here: early, float16 would lose them
        return dx * (dloss * scale), (dw * (dloss * scale)).to(ctx.kind), None, None, None


def linear_cross_entropy(x, weight, targets, chunk=None):
    """
    The same number as plain(), to rounding, and the same gradients in x and weight.
    x: (N, C);  weight: (V, C), float32 beside a narrower x under autocast;  targets: (N,) int64, -1 where none
    counts;  chunk: rows at a time, by default 512, on CUDA 4,096, so that adding to dW (12 V C bytes a chunk)
    stays a tenth of the products;  returns: nats per counted target
    """
    if not x.is_cuda:                         # a row without a target costs as much as one with; on CUDA
        counted = targets >= 0                # counting them would wait for the GPU
        if not counted.all():
            x, targets = x[counted], targets[counted]
    train = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return LinearCrossEntropy.apply(x, weight, targets, chunk or (4096 if x.is_cuda else 512), train)


# ----------------------------------------------------------------------------
# time and memory, each form in a process of its own: the peak of a process never falls again

def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", type=int, default=4096, help="tokens of a batch [%(default)s]")
    p.add_argument("--channels", type=int, default=192, help="[%(default)s]")
    p.add_argument("--vocabulary", type=int, default=32768, help="[%(default)s]")
    p.add_argument("--repeats", type=int, default=5, help="of which the median is given [%(default)s]")
    p.add_argument("--form", choices=["plain", "chunked"], help="measure this form alone, in this process")
    return p.parse_args(argv)


def peak():
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(form, N, C, V, repeats):
    """Median seconds of forward and backward, and the bytes they add to what the inputs take."""
    g = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, C, generator=g).mul_(0.1).requires_grad_() for n in (N, V))
    targets = torch.randint(V, (N,), generator=g)
    before, seconds = peak(), []
    for _ in range(repeats):
        x.grad = weight.grad = None
        start = time.perf_counter()
        form(x, weight, targets).backward()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[repeats // 2], peak() - before


def main(argv=None):
    args = parse(argv)
    if args.form:
        form = {"plain": plain, "chunked": linear_cross_entropy}[args.form]
        seconds, added = measure(form, args.rows, args.channels, args.vocabulary, args.repeats)
        print(f"{args.form:8s} {1e3 * seconds:8.0f} ms {added / 2**20:8.0f} MiB", flush=True)
        return
    print(f"{args.rows} rows of {args.channels}, vocabulary {args.vocabulary}: forward and backward in float32, and "
          f"the peak memory they add; the logits alone are {args.rows * args.vocabulary / 2**18:.0f} MiB", flush=True)
    given = [f"--{name}={getattr(args, name)}" for name in ("rows", "channels", "vocabulary", "repeats")]
    for name in ("plain", "chunked"):
        subprocess.run([sys.executable, os.path.abspath(__file__), "--form", name, *given], check=True)


if __name__ == "__main__":
    main()
