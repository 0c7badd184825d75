"""
Learning-rate schedules, as a factor of the peak rate.

trapezoid: up, level, down (Zhai et al. 2022 and Hägele et al. 2024, https://arxiv.org/abs/2405.18392);
cosine:    up, then half a cosine down to `floor` (Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983).
"""

import math


def trapezoid(step, steps, warmup=0.02, cooldown=0.5, floor=0.0):
    """Factor at step (1..steps); warmup and cooldown are fractions of all steps."""
    up = step / max(1.0, warmup * steps)
    down = floor + (1 - floor) * (steps - step + 1) / max(1.0, cooldown * steps)
    return max(0.0, min(1.0, up, down))


def cosine(step, steps, warmup=0.02, floor=0.1):
    """Factor at step (1..steps)."""
    if step < warmup * steps:
        return step / (warmup * steps)
    done = (step - warmup * steps) / max(1.0, steps - warmup * steps)
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
