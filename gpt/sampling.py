"""
How the next id is drawn from the model's logits: repetition penalty, greedy, temperature, top-k, top-p, min-p.

    ids = choose(logits, [Sampling(temperature=0.8, top_p=0.9), Sampling()], chances=[0.37, 0.0])

A row's chance is one uniform number, and its id the one at that height of the cumulated probability
(inverse transform sampling). So a request needs one number a token, which its own generator can draw
ahead, and its ids do not depend on who else is in the batch.

B = batch, V = vocabulary
"""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sampling:
    """How an id is drawn: temperature 0 takes the likeliest; the cuts apply in this order, None cuts nothing."""
    temperature: float = 0.0
    top_k: int | None = None       # the k likeliest (Fan et al. 2018: https://arxiv.org/abs/1805.04833)
    top_p: float | None = None     # the fewest that hold p of the mass (Holtzman et al. 2019, arXiv 1904.09751)
    min_p: float | None = None     # those at least min_p times as likely as the likeliest (arXiv 2407.01082)
    repetition: float = 1.0        # what is in the text already is this much less likely: see penalize()

    def __post_init__(self):
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature={self.temperature} is not a number from 0")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k={self.top_k} leaves no token")
        if not 0 < self.repetition < math.inf:
            raise ValueError(f"repetition={self.repetition} is not a number above 0; 1 changes nothing")
        for name in ("top_p", "min_p"):
            if (cut := getattr(self, name)) is not None and not 0 < cut <= 1:
                raise ValueError(f"{name}={cut} is not in (0, 1]")


def cut(p, samplings):
    """Set to 0 what each row's cuts turn away of p (B, V); ids exactly as likely as the last one kept stay."""
    def column(name, off):
        return p.new_tensor([[getattr(s, name) or off] for s in samplings])       # (B, 1)

    ranked = p.sort(dim=1, descending=True).values                                # (B, V)
    keep = torch.arange(p.size(1), device=p.device) < column("top_k", p.size(1))  # (B, V)
    ranked = ranked * keep
    before = (ranked.cumsum(dim=1) - ranked) / ranked.sum(dim=1, keepdim=True)    # mass of the likelier ones
    keep &= before < column("top_p", 2)
    least = ranked.masked_fill(~keep, 1).amin(dim=1, keepdim=True)                # (B, 1)
    return p * (p >= torch.maximum(least, column("min_p", 0) * ranked[:, :1]))


def penalize(logits, samplings, texts):
    """
    Logits of the ids that a row's text holds, divided by its penalty, or times it where they are negative.
    Keskar et al. 2019, section 4.1: https://arxiv.org/abs/1909.05858
    """
    logits = logits.clone()
    for row, (sampling, text) in enumerate(zip(samplings, texts)):
        if sampling.repetition != 1:
            seen = logits[row, text]
            logits[row, text] = torch.where(seen > 0, seen / sampling.repetition, seen * sampling.repetition)
    return logits


def choose(logits, samplings, chances, texts=()):
    """
    One id a row, (B,): the likeliest, or the one at the row's chance, a number in [0, 1), of the cumulated
    probability. No row's id depends on what else is in the batch. logits: (B, V) float32 or float64
    texts: the ids so far of each row, for the repetition penalty
    """
    if any(s.repetition != 1 for s in samplings):
        logits = penalize(logits, samplings, texts)
    ids = logits.argmax(dim=1)                                                    # (B,)
    rows = [row for row, s in enumerate(samplings) if s.temperature]
    if not rows:
        return ids
    samplings = [samplings[row] for row in rows]
    heat = logits.new_tensor([[max(s.temperature, 1e-30)] for s in samplings])    # (B, 1); 1e-50 is 0 in float32
    p = ((logits[rows] - logits[rows].amax(dim=1, keepdim=True)) / heat).softmax(dim=1)  # no inf / inf
    if any(s.top_k or s.top_p or s.min_p for s in samplings):
        p = cut(p, samplings)
    mass = p.double().cumsum(dim=1)                                               # (B, V)
    at = mass[:, -1:] * mass.new_tensor([[chances[row]] for row in rows])         # (B, 1)
    ids[rows] = torch.searchsorted(mass, at, right=True)[:, 0]                    # the first beyond has p > 0
    return ids
