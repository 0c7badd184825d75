"""
The head and its cross-entropy in one: loss = -mean log softmax(x W^T)[target], a chunk of rows at a
time, so that the logits (rows x vocabulary, the largest tensor of a small model by far) never exist
whole.

    python kernels/cross_entropy.py        # time and peak memory beside the plain form

The gradient of the logits is softmax minus one at the target, known as soon as the softmax is, so
the forward pass turns each chunk of logits into its gradient in place and folds it into dx and dW
at once; backward only scales them. Left out on purpose: label smoothing, soft caps.

N = rows (B times T), C = channels, V = vocabulary
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import time

import torch
import torch.nn.functional as F


def plain(x, weight, targets):
    """The definition. x: (N, C);  weight: (V, C);  targets: (N,), -1 where none counts;  returns nats per target"""
    return F.cross_entropy((x @ weight.t()).float(), targets, ignore_index=-1)


class LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, targets, chunk, train):
        counted = targets >= 0                                                    # (N,)
        loss = x.new_zeros((), dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)
        scale = 1 / counted.sum().clamp(min=1).to(loss.dtype)
        head = weight.to(x.dtype)                                                 # a copy under autocast only
        dx, dw = (torch.empty_like(x), torch.zeros_like(weight)) if train else (None, None)
        store = x.new_empty(min(chunk, len(x)), len(weight))                      # (chunk, V), reused
        for start in range(0, len(x), chunk):
            part = slice(start, start + chunk)
            rows, keep, target = x[part], counted[part], targets[part].clamp(min=0)[:, None]
            logits = torch.mm(rows, head.t(), out=store[:len(rows)])            # (chunk, V)
            logits = logits.sub_(logits.amax(dim=-1, keepdim=True))
            right = logits.gather(1, target).squeeze(1).to(loss.dtype)            # (chunk,)
            total = logits.exp_().sum(dim=-1, dtype=loss.dtype)                   # (chunk,)
            loss += ((total.log() - right) * keep).sum()
            if train:
                factor = (keep * scale).to(loss.dtype)
                logits.mul_((factor / total).to(x.dtype)[:, None])
                logits.scatter_add_(1, target, -factor.to(x.dtype)[:, None])      # now the logits' gradient
                torch.mm(logits, head, out=dx[part])
                dw += logits.t() @ rows
        if train:
            ctx.save_for_backward(dx, dw)
        return loss * scale

    @staticmethod
    def backward(ctx, dloss):
        dx, dw = ctx.saved_tensors
        return dx * dloss, dw * dloss, None, None, None


def linear_cross_entropy(x, weight, targets, chunk=512):
    """
    The same number as plain(), to rounding, and the same gradients in x and weight.
    x: (N, C);  weight: (V, C);  targets: (N,) int64, -1 where none counts;  returns: nats per counted target
    """
    counted = targets >= 0
    if not counted.all():                     # a row without a target costs as much as one with
        x, targets = x[counted], targets[counted]
    train = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return LinearCrossEntropy.apply(x, weight, targets, chunk, train)


def main():
    N, C, V = 4096, 192, 2048
    x, weight = (torch.randn(n, C).mul_(0.1).requires_grad_() for n in (N, V))
    targets = torch.randint(V, (N,))
    for name, loss in [("plain", plain), ("chunked", linear_cross_entropy)]:
        seconds = []
        for _ in range(10):
            start = time.perf_counter()
            loss(x, weight, targets).backward()
            seconds.append(time.perf_counter() - start)
        print(f"{N} rows, vocabulary {V}, forward and backward, {name:8s} {1e3 * sorted(seconds)[5]:.1f} ms")


if __name__ == "__main__":
    main()
