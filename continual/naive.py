"""
Fine-tuning, as everybody does it: every weight follows the newest task. What the other methods are measured against,
at its own best learning rate, for a low rate alone already forgets less.
"""


def start(learner, batches):
    pass


def begin(learner):
    learner.train()


def loss(learner, batch):
    return learner.nats(batch)


def end(learner):
    pass
