"""
A model on its way through a stream, and the interface of a method: four functions in a file of its own.

    start(learner, batches)        once, with what the base was pretrained on: what would the method have kept of it?
    begin(learner)                 before the first batch of a task
    loss(learner, batch) -> nats   of every step, to be differentiated; batch: x, y, doc, positions (train/pack.py)
    end(learner)                   after the last batch of a task; `learner.recent` are its batches

A method that does nothing special there takes continual/naive.py's. Where boundaries are hidden, begin and end are
called where the stream seems to change (continual/boundaries.py). Everything that a method keeps from one
task to the next lies in `learner.kept`, so that its bytes are counted.
"""

import copy
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.nn as nn

from train.adamw import AdamW
from train.schedule import trapezoid
from train.step import mean_loss


@dataclass
class Learner:
    model: nn.Module                        # trained in place
    tokenizer: object
    setting: dict                           # the method's own hyperparameters
    lr: float                               # peak rate of AdamW
    steps: int                              # of a task
    rows: int                               # of a batch
    length: int                             # tokens of a row
    rng: np.random.Generator                # of all that is random in the method
    generator: torch.Generator              # the same for torch
    kept: dict = field(default_factory=dict)
    recent: list = field(default_factory=list)
    tasks: int = 0                          # that have begun
    step: int = 0                           # of this task, from 1
    optimizers: list = field(default_factory=list)    # [(AdamW, factor of the rate)]
    factor: object = partial(trapezoid, warmup=0.1, cooldown=0.5)   # of the rate, by (step, steps of a task)
    flops: float = 0.0
    domain: int = 0                         # of what is being judged; only an oracle may ask

    def __post_init__(self):
        self.logits = self.read             # a method that answers otherwise puts its own function here
        count(self.model, self)

    def read(self, x, doc, positions):
        """Logits (B, T, V) of rows to be judged. The first 64 tokens of a row are to be read, they are not scored."""
        return self.model(x, doc=doc, positions=positions)[0]

    def nats(self, batch, model=None):
        """Mean loss per target."""
        return mean_loss(model or self.model, batch, batch[0].device)

    def train(self, *groups):
        """A fresh optimizer; groups: (parameters, factor of the rate) or parameters, all of the model if none."""
        groups = [g if isinstance(g, tuple) else (g, 1.0) for g in groups or [list(self.model.parameters())]]
        self.optimizers = [(AdamW(parameters), factor) for parameters, factor in groups]

    def copy(self):
        """The model as it is now, frozen: a teacher. What is done with it counts as work, too."""
        return copy.deepcopy(self.model).requires_grad_(False).eval()

    def stored(self):
        """Bytes of what the method keeps between tasks."""
        return size(self.kept)


def size(thing):
    """Bytes of tensors, arrays and models, however nested. Ids count two bytes, as a shard stores them."""
    if isinstance(thing, nn.Module):
        return size({t.data_ptr(): t for t in thing.state_dict().values()})       # tied weights once
    if isinstance(thing, dict):
        return size(list(thing.values()))
    if isinstance(thing, (list, tuple)):
        return sum(map(size, thing))
    if isinstance(thing, torch.Tensor):
        return thing.numel() * (thing.element_size() if thing.is_floating_point() else 2)
    return thing.nbytes if isinstance(thing, np.ndarray) else 0


def count(model, learner):
    """
    Have every pass through the model counted, in operations: 2 N a token forward, as many for the gradient of
    activations, 2 for each trained number (Kaplan et al. 2020, section 2.1; attention left out). Copies count too.
    """
    def work(model, inputs, output):
        every = list({id(p): p for p in model.parameters()}.values())
        total, trained = sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad)
        backward = 2 * (total + trained) if torch.is_grad_enabled() and trained else 0
        learner.flops += inputs[0].numel() * (2 * total + backward)
    model.register_forward_hook(work)
