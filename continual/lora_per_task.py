"""
An adapter for each task, all trained against the frozen base alone, and a router (continual/router.py) that picks one
for each text by its first 64 tokens. Nothing is forgotten by construction; what can go wrong is the choice.
Adapters in a column beside what was learned before: Rusu et al. 2016, https://arxiv.org/abs/1606.04671; low-rank ones:
Hu et al. 2021, https://arxiv.org/abs/2106.09685

The base's own domain is one of the router's, answered by the base without an adapter; so is what it abstains from.

setting: rank, of the adapters
"""

from functools import partial

from continual.router import Router
from lora.lora import EMBEDDING, LLAMA, LoRAConfig, inject, parameters, state

BASE = "task0"       # the base's own domain


def newest(learner):
    return f"task{learner.tasks}"


def start(learner, batches):
    learner.router = Router(learner.model.config.vocab_size)
    learner.kept |= {"router": learner.router.statistics, "adapters": {}, "report": {"routed": 0.0, "rows": 0}}
    learner.logits = partial(routed, learner)
    learn_to_route(learner, BASE, batches)


def learn_to_route(learner, name, batches):
    for x, *_ in batches:
        learner.router.add(name, x)


def config(learner):
    """On every matrix, the embedding and the head too: a new domain has tokens that the base has never met."""
    return LoRAConfig(int(learner.setting["rank"]), 2 * learner.setting["rank"], targets=LLAMA + EMBEDDING)


def begin(learner):
    inject(learner.model, config(learner), newest(learner), learner.generator)
    learner.train(parameters(learner.model, newest(learner)))


def loss(learner, batch):
    learn_to_route(learner, newest(learner), [batch])
    learner.model.select(newest(learner))
    return learner.nats(batch)


def end(learner):
    learner.kept["adapters"][newest(learner)] = state(learner.model, newest(learner))
    learner.kept["report"] = {"routed": 0.0, "rows": 0}


def answer(learner, names, x, doc, positions):
    """Logits of rows, each with the adapter of its name; the base's own domain has none, nor has one not met yet."""
    there = {f"task{n}" for n in range(1, learner.tasks + 1)}
    learner.model.select([name if name in there else None for name in names])
    logits = learner.read(x, doc, positions)
    learner.model.select(None)
    return logits


def routed(learner, x, doc, positions):
    names = learner.router.choose(x)
    if learner.domain <= learner.tasks:                      # reported: how often the choice is right
        report, right = learner.kept["report"], sum(name == f"task{learner.domain}" for name in names)
        report["routed"] = (report["routed"] * report["rows"] + right) / (report["rows"] + len(x))
        report["rows"] += len(x)
    return answer(learner, names, x, doc, positions)
