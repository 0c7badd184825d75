"""
Where one task ends and the next begins: told to the method, hidden from it, or blurred.

    given      begin and end are called where the data changes
    hidden     they are called where a batch surprises the model: that is all that a deployed model has to go by
    blurred    the same, and a fifth of the rows of every batch come from the task before or after

A batch surprises if its loss lies far above those of the last steps, in their own standard deviations. While a task is
being learned losses fall, so an ordinary batch hardly ever does.
"""

import math
from collections import deque

import torch

KINDS = "given", "hidden", "blurred"
BLUR = 0.2           # of the rows


class Surprise:
    """Says of each batch's loss, measured before its update, whether the stream has changed."""

    def __init__(self, deviations=6.0, window=10):
        self.deviations, self.last = deviations, deque(maxlen=window)

    def __call__(self, loss):
        """loss: nats;  returns: whether this batch is the first of something new"""
        known = torch.tensor(self.last)
        if len(known) == self.last.maxlen:
            spread = max(known.std().item(), 0.02 * known.mean().item())     # a flat curve has hardly any
            if loss > known.mean() + self.deviations * spread:
                self.last.clear()
                return True
        self.last.append(loss)
        return False


def batches(loaders, steps, boundaries, rng):
    """Yield (task, step in the task, batch): `steps` of each loader, blurred with its neighbours if so asked."""
    for task, loader in enumerate(loaders):
        near = [n for n in (task - 1, task + 1) if 0 <= n < len(loaders)]
        for step in range(1, steps + 1):
            batch = loader.next()
            if boundaries == "blurred" and near:
                rows = torch.from_numpy(rng.random(len(batch[0])) < BLUR)
                other = loaders[near[math.floor(rng.random() * len(near))]].next()
                batch = tuple(torch.where(rows[:, None], b, a) for a, b in zip(batch, other))
            yield task, step, batch
