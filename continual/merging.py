"""
An adapter for each task, each trained against the frozen base alone, and all added to it, scaled: task arithmetic.
Ilharco et al. 2022, https://arxiv.org/abs/2212.04089

    W = W_base + scale * sum over tasks of (alpha / rank) B A            scale = 1 / tasks is their average

While a task is being learned, the model is the base with its adapter alone. What is kept: all adapters, and the
base's weights, since the next task starts from them again.

setting: rank, scale
"""

import torch

from continual.lora_per_task import config
from lora.lora import inject, layers, parameters, state, unmerge, untie


def start(learner, batches):
    untie(learner.model)
    learner.kept |= {"adapters": {}, "base": []}


def begin(learner):
    unmerge(learner.model)
    name = f"task{learner.tasks}"
    inject(learner.model, config(learner), name, learner.generator)
    learner.train(parameters(learner.model, name))


def loss(learner, batch):
    return learner.nats(batch)


@torch.no_grad()
def end(learner):
    name = f"task{learner.tasks}"
    learner.kept["adapters"][name] = state(learner.model, name)
    for _, layer in layers(learner.model):
        layer.unmerged = layer.weight.clone()
        layer.weight.add_(learner.setting["scale"] * sum(a.delta(a.A.dtype) for a in layer.adapters.values()))
    learner.kept["base"] = [layer.unmerged for _, layer in layers(learner.model)]
    learner.model.select(None)
