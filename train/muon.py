"""
Muon by hand: momentum whose update is made orthogonal (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon/). For the matrices inside the blocks; embedding, head and
norms stay with AdamW.

A gradient matrix is usually dominated by a few directions. Replacing its singular values by ones
(U S V^T -> U V^T) lets every direction move alike. Newton-Schulz reaches that with products alone:
each step applies an odd polynomial a s + b s^3 + c s^5 to every singular value. Jordan et al. take the
same polynomial five times; Polar Express (Amsel et al. 2025, https://arxiv.org/abs/2505.16932) takes
in each step the best one for the range that the last one left, and gets as far in four.
"""

import re

import torch

from train.distributed import local
from train.sharded import of_whole_matrices

POLYNOMIALS = [  # a, b, c of each step: Amsel et al. 2025, algorithm 1, for singular values from 0.001 to 1
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372)]


def orthogonalize(g):
    """
    The nearest orthogonal matrix, roughly: singular values of g (n, rows, columns) go to about one.
    A batch of matrices costs one product each step; the smaller side is kept on the left.
    """
    tall = g.size(-2) > g.size(-1)
    x = g.mT.contiguous() if tall else g
    x = x / (1.01 * x.norm(dim=(-2, -1), keepdim=True) + 1e-7)         # singular values below one
    for a, b, c in POLYNOMIALS:
        s = x @ x.mT                                                   # (n, m, m)
        x = torch.baddbmm(x, torch.baddbmm(s, s, s, beta=b, alpha=c), x, beta=a)   # ax + (bs + css)x
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
            grads, moments = [local(self.params[n].grad) for n in members], [local(self.m[n]) for n in members]
            for m, g in zip(moments, grads):
                m.lerp_(g, 1 - self.momentum)
            ahead = [g.lerp(m, self.momentum) for m, g in zip(moments, grads)]             # Nesterov
            mesh = getattr(self.params[members[0]], "device_mesh", None)
            updates = of_whole_matrices(orthogonalize, ahead, rows, mesh.get_group()) if mesh else \
                orthogonalize(torch.stack(ahead))                                          # (n, rows, columns)
            scale = self.lr * max(1, rows / columns) ** 0.5
            for n, update in zip(members, updates):
                local(self.params[n]).mul_(1 - self.lr * self.weight_decay).add_(update, alpha=-scale)

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
    inside = [p for name, p in model.named_parameters() if re.search(r"\.(layers|h)\.\d", name) and p.dim() == 2]
    chosen = {id(p) for p in inside}
    return inside, [p for p in model.parameters() if id(p) not in chosen]
