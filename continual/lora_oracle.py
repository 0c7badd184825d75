"""
An adapter for each task, chosen by being told which domain a text is from: the bound for the router of
continual/lora_per_task.py.
"""

from functools import partial

from continual import lora_per_task
from continual.lora_per_task import answer, begin, end, loss  # noqa: F401


def start(learner, batches):
    lora_per_task.start(learner, batches)
    learner.logits = partial(told, learner)


def told(learner, x, doc, positions):
    return answer(learner, [f"task{learner.domain}"] * len(x), x, doc, positions)
