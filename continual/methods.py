"""
All methods, with the hyperparameters that were tried for each: four trials each, and which of them was chosen.

    python continual/train.py --sweep                # tries them, on tuning texts of another order of the tasks
    python continual/train.py --sweep --stream real

A trial wins if it learns (at least 95% of what fine-tuning at its best rate gains) and forgets least; if none learns
that much, the one that learns most (continual/train.py, `best`).
"""

from typing import NamedTuple

from continual import (der, distill, ewc, fresh, frozen, interpolate, joint, lora_oracle, lora_per_task, merging,
                       naive, olora, online_ewc, replay, rewarm, self_distill, self_replay, single, soft_replay)

RATES = [dict(lr=lr) for lr in (0.001, 0.003, 0.01, 0.03)]
ADAPTERS = [*(dict(lr=lr, rank=32) for lr in (0.006, 0.01, 0.02)), dict(lr=0.006, rank=64)]


class Best(NamedTuple):
    """Numbers of the chosen trials. The novels take those of the other real stream."""
    embedded: int
    real: int


class Method(NamedTuple):
    about: str
    module: object
    trials: list
    best: Best

    def number(self, stream):
        return self.best.embedded if stream == "embedded" else self.best.real

    def chosen(self, stream):
        return dict(self.trials[self.number(stream)])


METHODS = {
    "frozen": Method("the base, untouched", frozen, [dict(lr=0.0)], Best(0, 0)),
    "naive": Method("fine-tuning at its best rate", naive, RATES, Best(2, 1)),
    "joint": Method("all domains at once, the upper bound", joint, RATES, Best(1, 3)),
    "single": Method("fine-tuning on each task alone", single, RATES, Best(2, 1)),
    "fresh": Method("a new model for each task", fresh, RATES, Best(1, 1)),
    **{f"replay_{percent}": Method(f"replay, {percent}% of each batch", replay,
                                   [rate | {"share": percent / 100} for rate in RATES], Best(int(percent > 1), 1))
       for percent in (1, 5, 25)},
    "soft_replay": Method("replay by the previous model's chances", soft_replay,
                          [dict(lr=0.004, old=16, weight=weight) for weight in (2, 4, 8, 16)], Best(3, 0)),
    "self_replay": Method("replay of what the model itself writes", self_replay,
                          [dict(lr=0.003, share=share) for share in (0.1, 0.25, 0.4, 0.55)], Best(3, 2)),
    "rewarm": Method("rate warmed up again, and 5% replay", rewarm, [rate | {"share": 0.05} for rate in RATES],
                     Best(1, 1)),
    "self_distill": Method("on-policy distillation from a copy that has read the task", self_distill,
                           [dict(lr=lr) for lr in (0.001, 0.003, 0.01, 0.03)], Best(0, 1)),
    "interpolate": Method("old and new weights averaged after each task", interpolate,
                          [dict(lr=0.003, share=share) for share in (0.3, 0.5, 0.7, 0.9)], Best(2, 2)),
    "ewc": Method("EWC: a spring to each earlier task's weights", ewc,
                  [dict(lr=0.003, strength=strength) for strength in (10, 30, 100, 300)], Best(1, 0)),
    "online_ewc": Method("EWC with one running Fisher", online_ewc,
                         [dict(lr=0.003, gamma=0.95, strength=strength) for strength in (10, 30, 100, 300)],
                         Best(1, 0)),
    "distill": Method("distillation from the previous model (LwF)", distill,
                      [dict(lr=0.003, strength=strength) for strength in (0.1, 0.3, 1, 3)], Best(1, 1)),
    "der": Method("replay of rows with their old logits (DER++)", der,
                  [dict(lr=0.003, beta=0.5, alpha=alpha) for alpha in (0.1, 0.3, 1, 3)], Best(2, 1)),
    "lora_per_task": Method("an adapter for each task, and a router", lora_per_task, ADAPTERS, Best(0, 3)),
    "lora_oracle": Method("the same, told which adapter is right", lora_oracle, ADAPTERS, Best(0, 3)),
    "olora": Method("adapters at right angles to each other (O-LoRA)", olora,
                    [dict(lr=0.01, rank=32, strength=strength) for strength in (0.1, 1, 10, 100)], Best(3, 3)),
    "merging": Method("an adapter for each task, all added (task arithmetic)", merging,
                      [dict(lr=0.01, rank=32, scale=scale) for scale in (0.25, 0.5, 0.75, 1)], Best(2, 2)),
}
