"""
AdamW by hand: Adam with bias correction (Kingma and Ba 2014, algorithm 1, https://arxiv.org/abs/1412.6980)
and weight decay outside the gradient (Loshchilov and Hutter 2017, algorithm 2, https://arxiv.org/abs/1711.05101).

    m <- b1 m + (1 - b1) g        the mean gradient of about 1/(1 - b1) steps
    v <- b2 v + (1 - b2) g^2      its mean square
    w <- w - lr wd w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

m and v start at zero, so after t steps they hold only 1 - b^t of an average: the divisions undo that.
It equals torch.optim.AdamW to rounding: sqrt(1 - b2^t) is taken out of the denominator, which saves a pass over
memory. Every element is for itself, so a rank that holds a part of a parameter (train/sharded.py) updates that part.
"""

import torch

from train.distributed import local


class AdamW:
    """`lr` is a public attribute: the schedule sets it before each step. Parameters without a gradient are skipped."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0):
        self.params = list(params)
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.t = 0
        self.m = [torch.zeros_like(p) for p in self.params]
        self.v = [torch.zeros_like(p) for p in self.params]

    @torch.no_grad()
    def step(self):
        self.t += 1
        b1, b2 = self.betas
        fix1, fix2 = 1 - b1**self.t, 1 - b2**self.t
        for p, m, v in zip(self.params, self.m, self.v):
            if p.grad is None:
                continue
            p, m, v, g = local(p), local(m), local(v), local(p.grad)
            if self.weight_decay:
                p.mul_(1 - self.lr * self.weight_decay)
            m.lerp_(g, 1 - b1)
            v.mul_(b2).addcmul_(g, g, value=1 - b2)
            p.addcdiv_(m, v.sqrt().add_(self.eps * fix2**0.5), value=-self.lr * fix2**0.5 / fix1)

    def zero_grad(self):
        for p in self.params:
            p.grad = None

    def state_dict(self):
        return {"t": self.t, "m": self.m, "v": self.v}

    def load_state_dict(self, state):
        self.t = state["t"]
        for mine, saved in zip(self.m + self.v, state["m"] + state["v"], strict=True):
            mine.copy_(saved)
