"""
The base, which learns nothing and forgets nothing: the other end of every comparison.
"""

from continual.naive import end, start  # noqa: F401


def begin(learner):
    learner.model.requires_grad_(False)


def loss(learner, batch):
    pass
