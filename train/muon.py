"""
Muon by hand: momentum whose update is made orthogonal (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon/). For the matrices inside the blocks; embedding, head and
norms stay with AdamW.

A gradient matrix is usually dominated by a few directions. Replacing its singular values by ones
(U S V^T -> U V^T) lets every direction move alike. Newton-Schulz reaches that with products alone:
each step applies the odd polynomial a s + b s^3 + c s^5 to every singular value, and a, b, c are
chosen to lift small ones fast; they end between about 0.7 and 1.2, which is close enough.
"""

import torch

A, B, C = 3.4445, -4.7750, 2.0315  # Jordan et al. 2024: steepest at zero


def orthogonalize(g, steps=5):
    """
    The nearest orthogonal matrix, roughly: singular values of g (..., m, n) go to about one.
    Batches of matrices cost one product each step; the smaller side is kept on the left.
    """
    tall = g.size(-2) > g.size(-1)
    x = g.mT if tall else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)     # singular values at most one
    for _ in range(steps):
        s = x @ x.mT                                        # (..., m, m)
        x = A * x + (B * s + C * s @ s) @ x
    return x.mT if tall else x


class Muon:
    """
    `lr` is a public attribute: the schedule sets it before each step. An update has RMS about
    lr * sqrt(max(1, rows / columns) / columns): the same change in outputs for inputs of the same size.
    Matrices of one shape are orthogonalized as one batch.
    """

    def __init__(self, params, lr=0.02, momentum=0.95, weight_decay=0.0):
        self.params = list(params)
        if any(p.dim() != 2 for p in self.params):
            raise ValueError(f"Muon takes matrices, not {[tuple(p.shape) for p in self.params if p.dim() != 2]}")
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.m = [torch.zeros_like(p) for p in self.params]
        self.shapes = {}
        for n, p in enumerate(self.params):
            self.shapes.setdefault(p.shape, []).append(n)

    @torch.no_grad()
    def step(self):
        for (rows, columns), members in self.shapes.items():
            members = [n for n in members if self.params[n].grad is not None]
            if not members:
                continue
            for n in members:
                self.m[n].lerp_(self.params[n].grad, 1 - self.momentum)
            ahead = [self.params[n].grad.lerp(self.m[n], self.momentum) for n in members]  # Nesterov
            updates = orthogonalize(torch.stack(ahead))                                    # (n, rows, columns)
            scale = self.lr * max(1, rows / columns) ** 0.5
            for n, update in zip(members, updates):
                self.params[n].mul_(1 - self.lr * self.weight_decay).add_(update, alpha=-scale)

    def zero_grad(self):
        for p in self.params:
            p.grad = None

    def state_dict(self):
        return {"m": self.m}

    def load_state_dict(self, state):
        for mine, saved in zip(self.m, state["m"], strict=True):
            mine.copy_(saved)


def split(model):
    """(matrices for Muon, everything else for AdamW): a matrix inside a block goes to Muon."""
    inside = [p for name, p in model.named_parameters() if ".layers." in name and p.dim() == 2]
    chosen = {id(p) for p in inside}
    return inside, [p for p in model.parameters() if id(p) not in chosen]
