"""
The rival of continual/router.py that looks deeper: Gaussians over what the frozen base makes of a text.

    router = HiddenRouter()
    router.add("code", features(base, rows))                # (n, C); again for more rows of it
    router.choose(features(base, x))                        # ["code", None, ...]: None where it abstains

A text's features are the mean hidden state of the frozen base. Each task is a Gaussian in that space, all with one
covariance, and a text goes to the likeliest: linear discriminant analysis, whose statistics are sums and so can be
added to for ever (streaming LDA: Hayes and Kanan 2020, https://arxiv.org/abs/1909.01520). It abstains where the text is
far from every task in the covariance's own measure, however near the nearest may be.

All it knows of a task are three sums, kept apart from the others'. So to remove a task is to be, to the bit, a router
that never saw it. Left out on purpose: unequal priors, a covariance for each task.

C = channels, n = texts, K = tasks
"""

import torch

from continual.router import READ

DEPTH = 2            # blocks of the base that a text goes through
FAR = 4.0            # abstain beyond so many times the mean squared distance of a task's own texts


@torch.no_grad()
def features(model, x, doc=None, positions=None, depth=DEPTH):
    """Mean hidden state over the first READ tokens, after `depth` blocks. x: (n, T);  returns: (n, C) float64"""
    positions = torch.arange(x.shape[1]).expand_as(x) if positions is None else positions
    x, positions, doc = x[:, :READ], positions[:, :READ], doc if doc is None else doc[:, :READ]
    h = model.model.embed_tokens(x)                                               # (n, T, C)
    cos, sin = model.turns(positions)
    for block in model.model.layers[:depth]:
        h = block(h, cos, sin, doc)
    return h.mean(1).double()


class HiddenRouter:
    """`statistics`: name -> (number of texts, sum of their features (C,), sum of their outer products (C, C))"""

    def __init__(self, statistics=None, ridge=0.01):
        self.statistics, self.ridge = statistics if statistics is not None else {}, ridge

    def add(self, name, x):
        """More texts of a task. x: (n, C) float64"""
        count, first, second = self.statistics.get(name, (0, 0, 0))
        self.statistics[name] = count + len(x), first + x.sum(0), second + x.T @ x

    def remove(self, name):
        del self.statistics[name]

    def gaussians(self):
        """Names, their means (K, C), the Cholesky factor of the covariance that all share (C, C)."""
        names = sorted(self.statistics)
        counts, firsts, seconds = zip(*(self.statistics[name] for name in names))
        means = torch.stack([first / count for count, first in zip(counts, firsts)])
        within = sum(second - count * torch.outer(mean, mean) for count, second, mean in zip(counts, seconds, means))
        within = within / sum(counts)
        within += self.ridge * within.diagonal().mean() * torch.eye(len(within), dtype=within.dtype)
        return names, means, torch.linalg.cholesky(within)

    def distances(self, x):
        """Names, and the squared distance of each text from each task in units of the mean one, (n, K)."""
        names, means, factor = self.gaussians()
        away = torch.linalg.solve_triangular(factor, (x[:, None] - means).flatten(0, 1).T, upper=False)   # (C, n K)
        return names, away.square().mean(0).view(len(x), len(names))

    def choose(self, x, far=FAR):
        """The nearest task of each text, None where even that is far. x: (n, C);  returns: list of n names"""
        names, distance = self.distances(x)
        least, which = distance.min(1)
        return [names[k] if d <= far else None for d, k in zip(least.tolist(), which.tolist())]
