"""
Which adapter does a text call for? Learned from the tasks one after another, without keeping any of their texts.

    router = Router(n_vocab)
    router.add("code", ids)                                  # (n, T) token ids; again for more texts of it
    router.choose(ids)                                       # ["code", None, ...]: None where it abstains

It counts tokens. A text goes to the task under whose counts it is likeliest, each token by itself and each task as
likely as the others (multinomial naive Bayes: McCallum and Nigam 1998). It abstains where even that task's tokens
are too seldom the text's: the mean log-chance of n tokens lies FAR standard errors below what the task's own have.
Tokens of a text hang together, so these are not the errors of a normal distribution: FAR is larger than one expects.

That is no poor relation of a network: on every stream here, at every length, it is right at least as often as Gaussians
over the base's hidden states (continual/hidden_router.py), and it reads no weights. The figures: continual/routing.py

All it knows of a task are its counts. So to remove a task is to be, to the bit, a router that never saw it. Left out
on purpose: unequal priors, pairs of tokens.

n = texts, K = tasks, T = time, V = vocabulary
"""

import torch

READ = 64            # tokens of a text, at most
FAR = 5.0            # abstain so many standard errors below a task's own mean


class Router:
    """`statistics`: name -> how often each token was in the task's texts (V,)"""

    def __init__(self, n_vocab, statistics=None):
        self.n_vocab, self.statistics = n_vocab, statistics if statistics is not None else {}

    def add(self, name, x):
        """More texts of a task. x: (n, T) ids"""
        self.statistics[name] = self.statistics.get(name, 0) + torch.bincount(x.flatten().cpu(), minlength=self.n_vocab)

    def remove(self, name):
        del self.statistics[name]

    def chances(self):
        """Names, and the log-chance of each token in each task, in nats (K, V). One is added to every count."""
        names = sorted(self.statistics)
        counts = torch.stack([self.statistics[name] for name in names]).double() + 1
        return names, (counts / counts.sum(1, keepdim=True)).log()

    def choose(self, x, far=FAR):
        """The likeliest task of each text, by its first READ tokens, or None. x: (n, T) ids;  returns: n names"""
        names, chances = self.chances()
        x = x[:, :READ].cpu()
        best, which = chances[:, x].mean(2).max(0)                                # (n,) nats a token, and whose
        mean = (chances.exp() * chances).sum(1)                                   # (K,) of a token of the task's own
        error = ((chances.exp() * chances ** 2).sum(1) - mean ** 2).sqrt() / x.shape[1] ** 0.5
        strange = (mean[which] - best) / error[which] > far
        return [None if out else names[k] for out, k in zip(strange.tolist(), which.tolist())]
