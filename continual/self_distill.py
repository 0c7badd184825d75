"""
On-policy self-distillation: the student continues a prompt of the task by itself, and is drawn, on what it has just
written, towards a copy of itself that knows the task's texts. Nothing that it did not write is ever trained on.
Shenfeld et al. 2026, https://arxiv.org/abs/2601.19897

    loss = mean over the tokens y_t that the student wrote of  KL( p_student(. | x, y_<t) || p_teacher(. | x, y_<t) )

Full vocabulary, and not differentiated through the sampling, as in the paper. What differs: there the teacher is the
student with a demonstration in its context, its weights a running mean of the student's. A model of this size learns
nothing from its context: shown a text of another domain, it predicts the same text hardly better the second time.
So the demonstrations go into the teacher's weights: a copy, made when the task begins, that is fine-tuned on the
task's batches beside the student. Prompts are the first 64 tokens of a row: plain text has no questions.

The teacher ends with the task. Its work, the writing and its parameters all count. setting: lr, of both
"""

import torch

from continual.naive import end, start  # noqa: F401
from continual.self_replay import write
from train.pack import batch as pack


def begin(learner):
    learner.teacher = learner.copy().requires_grad_(True)
    learner.train(list(learner.model.parameters()), list(learner.teacher.parameters()))


def kl(student, teacher, batch):
    """KL(student || teacher) in nats per written token; only the student gets a gradient. batch: y = -1 in prompts"""
    x, y, doc, positions = batch
    written = y >= 0
    log_p = student(x, doc=doc, positions=positions)[0][written].log_softmax(-1)  # (n, V)
    with torch.no_grad():
        log_q = teacher(x, doc=doc, positions=positions)[0][written].log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()


def on_policy(learner, batch):
    """The first document of each row up to half a row, continued by the student; targets are its own tokens alone."""
    half, pad = learner.length // 2, learner.tokenizer.specials["<|pad|>"]
    prompts = [row[doc == 0][:half].tolist() for row, doc in zip(batch[0], batch[2])]
    texts = write(learner, prompts, half)
    rows = [[(text, [n >= len(prompt) for n in range(len(text))])] for prompt, text in zip(prompts, texts)]
    return pack(rows, learner.length, pad)


def loss(learner, batch):
    taught = kl(learner.model, learner.teacher, on_policy(learner, batch))
    return taught + learner.nats(batch, learner.teacher)     # two models, two gradients
