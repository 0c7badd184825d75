"""
Continued pretraining: the rate is warmed up again to a peak and decayed by a cosine to a tenth of it, for every task
anew, and 5% of all rows are old ones: Ibrahim et al. 2024, sections 3.1 and 3.2, https://arxiv.org/abs/2403.08763.
Against continual/replay.py it differs by the schedule alone: no level stretch, and an end at a tenth, not at nothing.

The warm-up takes 1% of a task; by section 6.1 of the paper its length hardly matters. Where boundaries are hidden the
end of a task is not known, so there is nothing to decay towards: the rate is then the same as every other method's.

setting: lr, the peak that is warmed up to;  share, of the rows of a batch that are old
"""

from functools import partial

from continual import replay
from continual.replay import begin, end, loss  # noqa: F401
from train.schedule import cosine


def start(learner, batches):
    learner.factor = partial(cosine, warmup=0.01, floor=0.1)
    replay.start(learner, batches)
