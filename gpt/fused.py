"""
RMSNorm and rotary positions with their gradients by hand. Left to autograd, each spends a dozen
passes over memory where five do: on a small model on a CPU that is a third of a training step.

    python gpt/fused.py                    # time of each beside autograd's

B = batch, T = time, n = heads, D = channels of a head, C = channels
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import time

import torch
import torch.nn.functional as F


class RMSNorm(torch.autograd.Function):
    """
    y = x r w with r = 1/sqrt(mean(x^2) + eps): Zhang and Sennrich 2019, eq. 4, https://arxiv.org/abs/1910.07467
    dx = r (dy w) - x r^3 mean(dy w x): the second term because r depends on every x of its row.
    """

    @staticmethod
    def forward(ctx, x, weight, eps):
        wide = x if x.dtype == torch.float64 else x.float()
        r = (wide.pow(2).mean(dim=-1, keepdim=True) + eps).rsqrt_()               # (..., 1)
        ctx.save_for_backward(x, weight, r)
        return (wide * r).mul_(weight).type_as(x)                                 # (..., C)

    @staticmethod
    def backward(ctx, dy):
        x, weight, r = ctx.saved_tensors
        kind, x, dy = x.dtype, x.to(r.dtype), dy.to(r.dtype)
        xdy = x * dy                                                              # (..., C)
        mean = (xdy @ weight.to(xdy.dtype)).unsqueeze(-1) / x.size(-1)            # (..., 1)
        dw = r.reshape(-1) @ xdy.reshape(-1, x.size(-1))                          # (C,)
        dx = (dy * weight).mul_(r).addcmul_(x, r.pow(3).mul_(mean), value=-1)     # (..., C)
        return dx.to(kind), dw, None


class Rotate(torch.autograd.Function):
    """
    Turn each pair (x_i, x_(i + D/2)) by an angle: [x cos - x' sin, x' cos + x sin]. A turn's
    gradient is the turn back, so backward is forward with the angle's sign changed.
    """

    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        return turn(x, cos, sin)

    @staticmethod
    def backward(ctx, dy):
        cos, sin = ctx.saved_tensors
        return turn(dy, cos, -sin), None, None


def turn(x, cos, sin):
    """x: (B, n, T, D);  cos, sin: broadcastable to (B, n, T, D/2);  returns: like x"""
    a, b = x.chunk(2, dim=-1)                                                     # (B, n, T, D/2) twice
    y = torch.empty_like(x)
    first, second = y.chunk(2, dim=-1)
    torch.mul(a, cos, out=first).addcmul_(b, sin, value=-1)
    torch.mul(b, cos, out=second).addcmul_(a, sin)
    return y


def rms_norm(x, weight, eps):
    """x: (..., C);  weight: (C,);  returns: like x. The same as torch's F.rms_norm."""
    return RMSNorm.apply(x, weight, eps) if torch.is_grad_enabled() else F.rms_norm(x, weight.shape, weight, eps)


def rotate(x, cos, sin):
    """x: (B, n, T, D);  cos, sin: (B or 1, 1, T, D/2);  returns: like x"""
    return Rotate.apply(x, cos.to(x.dtype), sin.to(x.dtype))


def main():
    x = torch.randn(4096, 192, requires_grad=True)
    weight = torch.ones(192, requires_grad=True)
    for name, norm in [("torch's", lambda: F.rms_norm(x, weight.shape, weight, 1e-6)),
                       ("ours", lambda: rms_norm(x, weight, 1e-6))]:
        seconds = []
        for _ in range(20):
            start = time.perf_counter()
            norm().backward(x)
            seconds.append(time.perf_counter() - start)
        print(f"RMSNorm of 4096 x 192, forward and backward, {name:8s} {1e3 * sorted(seconds)[10]:.2f} ms")


if __name__ == "__main__":
    main()
