"""
On-policy self-distillation.
"""

import torch

from continual.naive import end, start  # noqa: F401
from continual.self_replay import write
from train.adamw import AdamW
from train.pack import batch as pack


def begin(learner):
    learner.teacher = learner.copy().requires_grad_(True)
    learner.reader = AdamW(list(learner.teacher.parameters()))
    learner.train()


def read(learner, batch):
    """The teacher takes the demonstrations in: a step on them."""
    learner.nats(batch, learner.teacher).backward()
    torch.nn.utils.clip_grad_norm_(learner.teacher.parameters(), 1.0)
    learner.reader.lr = learner.lr * learner.factor(min(learner.step, learner.steps), learner.steps)
    learner.reader.step()
    learner.reader.zero_grad()


def kl(student, teacher, batch):
    """KL(student || teacher) in nats per sampled token; batch: x, y, doc, positions, y = -1 where nothing was sampled"""
    x, y, doc, positions = batch
    sampled = y >= 0
    log_p = student(x, doc=doc, positions=positions)[0][sampled].log_softmax(-1)
    with torch.no_grad():
        log_q = teacher(x, doc=doc, positions=positions)[0][sampled].log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()


def loss(learner, batch):
    read(learner, batch)
    half = int(learner.setting.get("prompt", learner.length // 2))
    prompts = [row[doc == 0][:half].tolist() for row, doc in zip(batch[0], batch[2])]
    texts = write(learner, prompts, learner.length - half)
    rows = [[(text, [n >= len(prompt) for n in range(len(text))])] for prompt, text in zip(prompts, texts)]
    return kl(learner.model, learner.teacher, pack(rows, learner.length, learner.tokenizer.specials["<|pad|>"]))
