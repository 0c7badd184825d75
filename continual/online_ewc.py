"""
Elastic weight consolidation whose cost does not grow with the number of tasks: one running Fisher, and one anchor,
the newest weights. Schwarz et al. 2018, where they define online EWC, https://arxiv.org/abs/1805.06370

    loss = nats per token + strength/2 * sum_i gamma F_i (w_i - w*_i)^2        after a task: F <- gamma F + its Fisher

One anchor is also what Bayes' rule asks for: the newest weights were found under all springs before, so ties to the
older ones as well (continual/ewc.py) count old tasks twice. Huszar 2018, https://arxiv.org/abs/1712.03847
With gamma < 1 old tasks fade away gracefully. All Fishers are per token, so no task counts more for being longer.

setting: strength, and gamma
"""

from continual.ewc import measured, penalty
from continual.naive import begin  # noqa: F401


def start(learner, batches):
    learner.kept["fisher"], learner.kept["anchor"] = measured(learner)


def loss(learner, batch):
    spring = penalty(learner.model, learner.kept["fisher"], learner.kept["anchor"])
    return learner.nats(batch) + learner.setting["strength"] * learner.setting["gamma"] * spring


def end(learner):
    fresh, learner.kept["anchor"] = measured(learner)
    gamma = learner.setting["gamma"]
    learner.kept["fisher"] = [gamma * old + new for old, new in zip(learner.kept["fisher"], fresh)]
