"""
Interpolation: after each task the weights are pulled back, part of the way, to those from before it.

    theta = (1 - a) theta_before + a theta_after      Wortsman et al. 2021, https://arxiv.org/abs/2109.01903

WiSE-FT does this once, between a pretrained model and its fine-tuned self; here it is done after every task, with
the model before that task as the other end, so nothing is kept from one task to the next. It rests on the loss being
low all along the straight line between the two, which holds where fine-tuning moved the weights little.

setting: share, a, of the new weights: 1 is fine-tuning, 0 the model as it was
"""

import torch

from continual.naive import loss, start  # noqa: F401


def begin(learner):
    learner.before = learner.copy()
    learner.train()


@torch.no_grad()
def end(learner):
    a = learner.setting["share"]
    for p, before in zip(learner.model.parameters(), learner.before.parameters()):
        p.copy_((1 - a) * before + a * p)
