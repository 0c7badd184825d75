"""
Dark experience replay, DER++: replayed rows must not only be predicted, the model must answer them as it did when they
were first seen. Buzzega et al. 2020, eq. 6, https://arxiv.org/abs/2004.07211

    loss = nats per token + alpha * mean square of (logits - logits then) + beta * nats per token of replayed rows

The buffer is a reservoir, so nobody need say where a task ends. The two replayed terms have their own rows, and here
half as many as the new batch each, so that a step costs twice as much as fine-tuning's, not three times. The mean
is over positions and vocabulary, as in the authors' code. Logits lie there as float16: 256 kilobytes a row of 128
tokens at a vocabulary of 1,024, 256 times the row's own, which is what this method asks of a language model; hence
fewer rows than in continual/replay.py. The base's rows are stored with what the base says at its end.

setting: alpha, beta
"""

import torch
import torch.nn.functional as F

from continual.naive import begin, end  # noqa: F401
from continual.replay import Reservoir, rows_of, stacked

CAPACITY = 100       # rows


def remember(learner, batch, logits):
    """logits: (B, T, V), as they are now"""
    for row, z in zip(rows_of(batch), logits.detach()):
        learner.buffer.add((*row, z.half()))


def answers(learner, batch):
    x, _, doc, positions = batch
    return learner.model(x, doc=doc, positions=positions)[0]                                      # (B, T, V)


def nats(logits, y):
    return F.cross_entropy(logits[y >= 0], y[y >= 0])


def start(learner, batches):
    learner.buffer = Reservoir(CAPACITY, learner.rng)
    learner.kept["rows"] = learner.buffer.items
    with torch.no_grad():
        for batch in batches:
            remember(learner, batch, answers(learner, batch))


def loss(learner, batch):
    n = (len(batch[0]) + 1) // 2
    *alike, then = stacked(learner.buffer.draw(n))
    again = stacked(learner.buffer.draw(n))[:4]
    together = stacked([*rows_of(batch), *rows_of(alike), *rows_of(again)])
    logits, now, replayed = answers(learner, together).split([len(part[0]) for part in (batch, alike, again)])
    remember(learner, batch, logits)
    scored = alike[1] >= 0
    dark = F.mse_loss(now[scored], then[scored].to(now.dtype))
    return nats(logits, batch[1]) + learner.setting["alpha"] * dark + learner.setting["beta"] * nats(replayed, again[1])
