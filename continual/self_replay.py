"""
Self-generated replay: before a task the model writes documents of its own, from <|bos|> alone, and during it these
take a share of every batch. No text is stored: what a language model writes is a fair sample of what it knows.
Robins 1995, https://doi.org/10.1080/09540099550039318; a generator in place of stored data: Shin et al. 2017,
https://arxiv.org/abs/1705.08690; a language model as its own generator: Sun et al. 2019,
https://arxiv.org/abs/1909.03329

    loss = mean over new tokens of -log p(y)   and, weighted by their numbers,
           mean over own tokens of -sum_v p_before(v) log p(v)             p_before: the model before the task

Its own documents are learned by the chances it gave to every token, not by the one it happened to write, as in Marek et
al. 2026, https://arxiv.org/abs/2605.26097, who find hardly any forgetting so. That takes one more forward of its own
rows, by the model before the task, which is not kept any longer than the task.

For each task the documents are written anew by the newest model, as Robins and Shin et al. do, so the samples hold
the domains by the shares in which the model has learned to expect them. Samples kept from each model on its way hold
more of the first domain and less of the later ones: the first is then forgotten less, the later ones twice as much.

setting: share, of the rows of a batch that are its own; the batch does not grow
"""

import numpy as np
import torch
import torch.nn.functional as F

from continual.naive import end, start  # noqa: F401
from continual.replay import mixed, rows_of
from gpt.engine import generate
from gpt.sampling import Sampling
from train.loader import Conversations, Loader

DOCUMENTS = 300      # written before a task


def write(learner, prompts, max_new):
    """The model's continuations of lists of ids, drawn at temperature 1; lists of ids, each with its prompt."""
    seed = int(learner.rng.integers(2**31))
    replies = generate(learner.model, learner.tokenizer, prompts, max_new, Sampling(1.0), seed, tools=None)
    learner.flops += 2 * sum(p.numel() for p in learner.model.parameters()) * sum(len(r.ids) for r in replies)
    return [reply.prompt + reply.ids for reply in replies]


def begin(learner):
    special, learner.before = learner.tokenizer.specials, learner.copy()
    written = write(learner, [[special["<|bos|>"]]] * DOCUMENTS, learner.length)
    documents = Conversations([(np.array(ids), np.ones(len(ids), dtype=bool)) for ids in written])
    seed = int(learner.rng.integers(2**31))
    learner.own = Loader(documents, special["<|pad|>"], 1, learner.length, seed)
    learner.train()


def loss(learner, batch):
    n = learner.rng.binomial(len(batch[0]), learner.setting["share"])
    x, y, doc, positions = mixed(learner, batch, [row for _ in range(n) for row in rows_of(learner.own.next())])
    z = learner.read(x, doc, positions)                                           # (B, T, V), its own rows first
    nats = F.cross_entropy(z[n:].flatten(0, 1), y[n:].flatten(), ignore_index=-1, reduction="sum")
    if n:
        with torch.no_grad():
            p = learner.before(x[:n], doc=doc[:n], positions=positions[:n])[0].softmax(-1)
        nats = nats + F.cross_entropy(z[:n][y[:n] >= 0], p[y[:n] >= 0], reduction="sum")
    return nats / (y >= 0).sum()
