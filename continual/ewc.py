"""
Elastic weight consolidation: every weight is tied to where it was after each earlier task, by a spring that is the
stiffer the more the model's predictions there depend on that weight. Kirkpatrick et al. 2017, eq. 3,
https://arxiv.org/abs/1612.00796

    loss = nats per token + strength/2 * sum over earlier tasks k and weights i of F_k,i (w_i - w*_k,i)^2

F is the diagonal of the Fisher information PER TOKEN, the mean over the tokens of the old task of
E_{y ~ model} (d log p(y | what stands before) / dw_i)^2, so that KL(w || w + d e_i) = F_i d^2 / 2 nats per token.

The labels y are drawn from the model. With the data's own labels this is the "empirical Fisher", another quantity, and
so is the square of a batch's mean gradient: van de Ven 2025, https://arxiv.org/abs/2502.11756. The square of a gradient
SUMMED over a row will do: drawn labels give each position's gradient s_t mean zero, whatever was drawn before it, as
the model reads the data and not what was drawn; so E s_t s_u = 0, and E (sum_t s_t)^2 = sum_t E s_t^2.

setting: strength. Bayes' rule, with all losses per token, says tokens of the old task / tokens of the new one, about 4
for the embedded base; but that trusts a quadratic, and a diagonal one, far from where it was measured.
"""

import torch
import torch.nn.functional as F

from continual.naive import begin  # noqa: F401

BATCHES = 30         # of the old task that the Fisher is measured on: 240 rows, a weight's error is about 30%


def weights(model):
    return [p for p in model.parameters() if p.requires_grad]


def scores(model, batch):
    """Logits (n, V) of the n positions of a batch that have a target."""
    x, y, doc, positions = batch
    return model(x, doc=doc, positions=positions)[0][y >= 0]


def fisher(model, batches, generator, draws=1):
    """
    The Fisher diagonal per token, estimated without bias: a tensor for each trained weight.
    One backward pass a row, as the relative error falls with the root of their number, however many tokens each has.
    draws: of labels for each row, of which each costs a forward and a backward pass
    """
    total, tokens = [torch.zeros_like(p) for p in weights(model)], 0
    for row in (row for batch in batches for row in zip(*(part.split(1) for part in batch)) for _ in range(draws)):
        if (row[1] >= 0).any():
            logits = scores(model, row)
            y = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator)[:, 0]      # (n,)
            gradient = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), weights(model))
            for diagonal, g in zip(total, gradient):
                diagonal.addcmul_(g, g)
            tokens += len(y)
    return [diagonal / tokens for diagonal in total]


def exact(model, batch):
    """The same by enumeration: a backward pass for every position and every token of the vocabulary."""
    logs = scores(model, batch).log_softmax(-1)                                                   # (n, V)
    total = [torch.zeros_like(p) for p in weights(model)]
    for log in logs.flatten():
        for diagonal, g in zip(total, torch.autograd.grad(log, weights(model), retain_graph=True)):
            diagonal.addcmul_(g, g, value=log.exp().item())
    return [diagonal / len(logs) for diagonal in total]


def penalty(model, diagonal, anchor):
    """sum_i F_i (w_i - w*_i)^2 / 2"""
    return sum((f * (p - a).square()).sum() for f, p, a in zip(diagonal, weights(model), anchor)) / 2


def measured(learner):
    """(Fisher, weights) of the model as it is, on the last batches."""
    diagonal = fisher(learner.model, learner.recent[-BATCHES:], learner.generator)
    return diagonal, [p.detach().clone() for p in weights(learner.model)]


def start(learner, batches):
    learner.kept["tasks"] = [measured(learner)]


def loss(learner, batch):
    springs = sum(penalty(learner.model, *task) for task in learner.kept["tasks"])
    return learner.nats(batch) + learner.setting["strength"] * springs


def end(learner):
    learner.kept["tasks"].append(measured(learner))
