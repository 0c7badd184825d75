"""
Replay: some rows of every batch are old ones, from a buffer that is a fair sample of all that was ever seen.
Robins 1995, https://doi.org/10.1080/09540099550039318; for language models Ibrahim et al. 2024, section 3.2,
https://arxiv.org/abs/2403.08763, where one row in twenty keeps most of what was known

setting: share, of the rows of a batch that are old; the batch does not grow, so that its cost stays what it was
"""

import torch

from continual.naive import begin  # noqa: F401

CAPACITY = 1200      # rows, as many as a task has


class Reservoir:
    """A uniform sample, without replacement, of all items ever added: Vitter 1985, algorithm R"""

    def __init__(self, capacity, rng):
        self.capacity, self.rng, self.items, self.seen, self.queue = capacity, rng, [], 0, []

    def add(self, item):
        self.seen += 1
        if len(self.items) < self.capacity:
            self.items.append(item)
        elif (place := self.rng.integers(self.seen)) < self.capacity:
            self.items[place] = item

    def draw(self, n):
        """n items, none where there are none; each is drawn once before any is drawn again."""
        while self.items and len(self.queue) < n:
            self.queue += self.rng.permutation(len(self.items)).tolist()
        drawn, self.queue = self.queue[:n], self.queue[n:]
        return [self.items[i] for i in drawn]


def rows_of(batch):
    """A batch as its rows, each a tuple of (T,) tensors."""
    return list(zip(*batch))


def stacked(rows):
    """Rows as a batch."""
    return tuple(torch.stack(parts) for parts in zip(*rows))


def start(learner, batches):
    learner.buffer = Reservoir(CAPACITY, learner.rng)
    learner.kept["rows"] = learner.buffer.items
    remember(learner, batches)


def remember(learner, batches):
    for batch in batches:
        for row in rows_of(batch):
            learner.buffer.add(row)


def mixed(learner, batch, old):
    """The batch, with its first rows replaced by these."""
    return stacked([*old, *rows_of(batch)[len(old):]])


def loss(learner, batch):
    n = learner.rng.binomial(len(batch[0]), learner.setting["share"])
    return learner.nats(mixed(learner, batch, learner.buffer.draw(n)))


def end(learner):
    """Only now: a row of the task itself is not old, and would be replayed in the place of one that is."""
    remember(learner, learner.recent)
