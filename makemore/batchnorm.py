"""
BatchNorm by hand: every unit is centred and scaled over the examples of the batch, so that no layer ever sees
inputs which are all too large or all too small.

Ioffe and Szegedy 2015: https://arxiv.org/abs/1502.03167, algorithm 1 forward, the gradients of section 3 backward,
running averages for evaluation (algorithm 2). BatchNorm equals torch.nn.BatchNorm1d in numbers and in the names of
its state_dict, except that channels come last: (N, C) or (N, T, C), where PyTorch wants (N, C, T).

N = all that is averaged over, C = channels
"""

import torch
import torch.nn as nn
from torch.autograd.function import once_differentiable


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
    over the batch:  dx = gamma rstd (dy - m(dy) - xhat m(dy xhat)),  since a shift of all x, or a stretch, changes no y.
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
