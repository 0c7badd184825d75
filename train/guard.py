"""
What to do with a step that goes wrong: leave it out, say so, and stop if it goes on.

A broken batch, or a rate that is too high, gives a loss that is no number or is far above those before it. One
update from such a gradient can undo hours; leaving it out costs one batch. PaLM left out some hundred batches
around each of about 20 spikes (Chowdhery et al. 2022, section 5.1, https://arxiv.org/abs/2204.02311). When
`patience` steps in a row go wrong it is not the batch, and the script stops with its last checkpoint untouched.
"""

import math
import statistics
import sys


class Guard:
    """
    spike: a loss so many standard deviations above the mean of the last `memory` good ones is turned down, 0 for none;
    it takes 20 of them to begin with
    """

    def __init__(self, spike=10.0, patience=10, memory=100):
        self.spike, self.patience, self.memory = spike, patience, memory
        self.losses, self.in_a_row, self.skipped = [], 0, 0

    def accepts(self, loss, finite):
        """Whether a step of this loss, whose gradients are all finite or not, may change the weights."""
        good = finite and math.isfinite(loss) and loss <= self.limit()
        if good:
            self.losses = [*self.losses, loss][-self.memory:]
        self.in_a_row = 0 if good else self.in_a_row + 1
        self.skipped += not good
        return good

    def limit(self):
        if not self.spike or len(self.losses) < 20:
            return math.inf
        return statistics.fmean(self.losses) + self.spike * statistics.stdev(self.losses)

    @property
    def lost(self):
        return self.in_a_row >= self.patience

    def state_dict(self):
        return {"losses": self.losses, "in_a_row": self.in_a_row, "skipped": self.skipped}

    def load_state_dict(self, state):
        vars(self).update(state)


def warn(guard, step, loss, run):
    """Say that a step was left out; after too many in a row, stop."""
    print(f"step {step:5d} | loss {loss.item():.4f} | left out: no number, or far above the last ones", flush=True)
    if guard.lost:
        sys.exit(f"{guard.in_a_row} steps in a row were left out, the last was {step}. The last checkpoint in {run} "
                 "stands: the same command continues from it. If it goes on like this, start anew at lower rates.")
