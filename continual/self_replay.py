"""
Self-generated replay: before a task the model writes documents of its own, from <|bos|> alone, and these take a share
of every batch's rows. No text is stored. What it writes is a fair sample of what it believes, hence of what it knows.
Robins 1995, section 3, https://doi.org/10.1080/09540099550039318; a generator instead of stored data: Shin et al. 2017,
https://arxiv.org/abs/1705.08690; a language model as its own generator: Sun et al. 2019 (LAMOL), section 3.2,
https://arxiv.org/abs/1909.03329; nearly no forgetting by it: Marek et al. 2026, https://arxiv.org/abs/2605.26097

setting: share, of the rows of a batch that are its own; the batch does not grow, so that its cost stays what it was
"""

import numpy as np

from continual.naive import end, start  # noqa: F401
from continual.replay import mixed, rows_of
from gpt.engine import generate
from gpt.sampling import Sampling
from train.loader import Conversations, Loader


def write(learner, prompts, max_new):
    """The model's own continuations of lists of ids, at temperature 1; lists of ids, each with its prompt."""
    seed = int(learner.rng.integers(2**31))
    replies = generate(learner.model, learner.tokenizer, prompts, max_new, Sampling(1.0), seed, tools=None)
    learner.flops += 2 * sum(p.numel() for p in learner.model.parameters()) * sum(len(r.ids) for r in replies)
    return [reply.prompt + reply.ids for reply in replies]


def begin(learner):
    special = learner.tokenizer.specials
    n = int(learner.setting.get("docs", 300))
    learner.teacher = learner.copy()
    documents = [np.array(ids) for ids in write(learner, [[special["<|bos|>"]]] * n, learner.length)]
    if learner.setting.get("keep"):
        documents = learner.documents = getattr(learner, "documents", []) + documents
    examples = [(ids, np.ones(len(ids), dtype=bool)) for ids in documents]
    learner.own = Loader(Conversations(examples), special["<|pad|>"], 1, learner.length, int(learner.rng.integers(2**31)))
    learner.train()


def loss(learner, batch):
    n = learner.rng.binomial(len(batch[0]), learner.setting["share"])
    own = [row for _ in range(n) for row in rows_of(learner.own.next())]
    if not learner.setting.get("soft") or not n:
        return learner.nats(mixed(learner, batch, own))
    import torch
    x, y, doc, positions = mixed(learner, batch, own)
    z = learner.model(x, doc=doc, positions=positions)[0].log_softmax(-1)
    with torch.no_grad():
        p = learner.teacher(x[:n], doc=doc[:n], positions=positions[:n])[0].softmax(-1)
    soft = -(p * z[:n]).sum(-1)[y[:n] >= 0].sum()
    hard = -z[n:].gather(-1, y[n:, :, None].clamp(min=0))[..., 0][y[n:] >= 0].sum()
    return (soft + hard) / (y >= 0).sum()
