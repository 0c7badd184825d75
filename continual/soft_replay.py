"""
Replay by chances: beside each new batch come old rows from a buffer, and of these the model learns not the tokens that
stand there but the chances that the model before the task gave to every token. A row of old text then carries as
many targets as there are words, and what was known cannot be overfitted to the few rows that are kept.
Distillation on stored examples: Rebuffi et al. 2017, algorithm 3, https://arxiv.org/abs/1611.07725

    nats of the new rows + weight * mean over old tokens of KL(before || now)

Against continual/der.py, which stores the answers as they were at the time, this asks the newest teacher: 0.5 KB a row
are kept instead of 0.3 MB, and each old row costs one more forward pass.

setting: weight;  old, rows beside each batch
"""

import torch
import torch.nn.functional as F

from continual.distill import divergence
from continual.replay import end, start, stacked  # noqa: F401


def begin(learner):
    learner.before = learner.copy()
    learner.train()


def loss(learner, batch):
    old = stacked(learner.buffer.draw(int(learner.setting["old"])))
    x, y, doc, positions = (torch.cat(parts) for parts in zip(batch, old))
    logits, n = learner.read(x, doc, positions), len(batch[0])
    scored = old[1] >= 0
    with torch.no_grad():
        before = learner.before(old[0], doc=old[2], positions=old[3])[0][scored]
    new = F.cross_entropy(logits[:n].flatten(0, 1), batch[1].flatten(), ignore_index=-1)
    return new + learner.setting["weight"] * divergence(before, logits[n:][scored])
