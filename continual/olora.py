"""
O-LoRA: a new adapter for each task, kept at right angles to those before, and all of them added to one set of weights.
Wang et al. 2023, section 3.2, https://arxiv.org/abs/2310.14152

    nats(task t) + strength * sum over i < t of |A_i A_t'|^2             A: (rank, in), its rows span what it reads

Where the rows of A_t are orthogonal to an earlier A_i, a text that A_i alone reads is left as it was. The penalty is
summed over layers and pairs of rows, as in the paper, and normalized by nothing. A finished adapter goes into the
weights at once (what the paper does at the end), of it only A is kept.

setting: rank, strength
"""

from continual.lora_per_task import config
from lora import lora
from lora.lora import inject, layers, parameters

NAME = "newest"


def start(learner, batches):
    lora.untie(learner.model)
    learner.kept["A"] = {}               # layer -> [A of each earlier task]


def begin(learner):
    inject(learner.model, config(learner), NAME, learner.generator)
    learner.train(parameters(learner.model, NAME))


def penalty(model, earlier):
    """The sum above, without strength; earlier: layer -> [A (rank, in), ...]"""
    return sum((A @ layer.adapters[NAME].A.T).square().sum() for path, layer in layers(model)
               for A in earlier.get(path, []))


def loss(learner, batch):
    return learner.nats(batch) + learner.setting["strength"] * penalty(learner.model, learner.kept["A"])


def end(learner):
    for path, layer in layers(learner.model):
        if NAME in layer.adapters:       # none yet where a hidden boundary was found at the very first step
            learner.kept["A"].setdefault(path, []).append(layer.adapters[NAME].A.detach().clone())
    lora.merge(learner.model, NAME)
    lora.remove(learner.model, NAME)
    for _, layer in layers(learner.model):
        layer.unmerged = None            # for good
