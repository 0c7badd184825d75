"""
A solution of the exercises of broadcasting.py: the shapes do the work.
"""

import torch

ALPHABET = ".abcdefghijklmnopqrstuvwxyz"


def normalize(counts):
    return counts / counts.sum(1, keepdim=True)              # (V, V) / (V, 1): each row by its own sum


def one_hot(idx, n):
    return (idx[..., None] == torch.arange(n)).float()       # (..., 1) == (n,): (..., n)


def examples(words, context):
    x, y = [], []
    for word in words:
        before = [0] * context                               # each word begins after dots alone
        for letter in word + ".":
            x.append(before)
            y.append(ALPHABET.index(letter))
            before = before[1:] + y[-1:]
    return torch.tensor(x), torch.tensor(y)                  # (N, context), (N,)


def batch(x, y, size, generator):
    at = torch.randint(len(x), (size,), generator=generator) # one draw for both
    return x[at], y[at]


def loss(logits, targets):
    logits = logits - logits.max(1, keepdim=True).values     # softmax stays the same, and exp(0) is the largest
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    return -log_p[torch.arange(len(targets)), targets].mean()
