"""
Dilated causal convolution by hand: each output sees `kernel` inputs, `dilation` steps apart, and none that comes later.

van den Oord et al. 2016, section 2.1: https://arxiv.org/abs/1609.03499. With weights w_0 ... w_{K-1}, the newest last:

    y_t = b + Σ_k x_{t - (K - 1 - k) dilation} w_k        where x is 0 before the beginning

CausalConv1d equals torch.nn.Conv1d whose input has (K - 1) dilation zeros put before it, except that channels come
last, as everywhere in this folder, and that the weight is (K, C, D), where PyTorch's is (D, C, K).

B = batch, T = time, C = channels in, D = channels out, K = kernel size
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd.function import once_differentiable


def forward(x, w, b, dilation):
    """x: (B, T, C);  w: (K, C, D);  b: (D,);  returns: (B, T, D)"""
    K, T = len(w), x.shape[1]
    past = F.pad(x, (0, 0, (K - 1) * dilation, 0))           # (B, (K - 1) dilation + T, C)
    y = b.expand(*x.shape[:2], -1)                           # (B, T, D)
    for k in range(K):
        y = y + past[:, k * dilation:k * dilation + T] @ w[k]
    return y


def backward(dy, x, w, dilation):
    """
    dy: (B, T, D), the gradient of y;  returns dx (B, T, C), dw (K, C, D), db (D,).

    Input s reaches output t = s + (K - 1 - k) dilation through w_k: the same convolution, run from the end to the
    beginning, with each w_k transposed. What would fall on the zeros before the beginning is cut off.
    """
    K, T = len(w), x.shape[1]
    dx, dw = torch.zeros_like(x), torch.zeros_like(w)
    for k in range(K):
        late = (K - 1 - k) * dilation                        # x_s w_k is part of y_{s + late}
        if late < T:
            early, sent = x[:, :T - late], dy[:, late:]      # (B, T - late, C), (B, T - late, D)
            dx[:, :T - late] += sent @ w[k].T
            dw[k] = early.flatten(0, 1).T @ sent.flatten(0, 1)
    return dx, dw, dy.sum((0, 1))


class Convolve(torch.autograd.Function):
    """forward and backward joined, so that autograd calls ours."""

    @staticmethod
    def forward(ctx, x, w, b, dilation):
        ctx.save_for_backward(x, w)
        ctx.dilation = dilation
        return forward(x, w, b, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        return *backward(dy, *ctx.saved_tensors, ctx.dilation), None


class CausalConv1d(nn.Module):
    """
    The convolution with its weights, which begin as PyTorch's do: uniform within 1 / sqrt(K C).
    bias=False is for a layer whose output is normalized, which would take the bias away again.
    """

    def __init__(self, n_in, n_out, kernel=2, dilation=1, bias=True):
        super().__init__()
        if kernel < 1 or dilation < 1:
            raise ValueError(f"{kernel=} and {dilation=} must be at least 1")
        bound = (kernel * n_in) ** -0.5
        self.dilation = dilation
        self.weight = nn.Parameter(torch.empty(kernel, n_in, n_out).uniform_(-bound, bound))
        if bias:
            self.bias = nn.Parameter(torch.empty(n_out).uniform_(-bound, bound))
        else:
            self.register_buffer("bias", torch.zeros(n_out), persistent=False)

    def forward(self, x):
        """x: (B, T, C);  returns: (B, T, D)"""
        return Convolve.apply(x, self.weight, self.bias, self.dilation)
