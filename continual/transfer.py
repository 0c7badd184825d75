"""
What a stream has done to a model, in numbers.

R[i][j] is what is measured on domain j after task i; domain 0 is what the base was pretrained on, so that row 0 is the
base itself and the diagonal is what was known just after it had been learned. Losses are nats per token, lower is
better; accuracies are shares of next tokens guessed, higher is better.

    average_accuracy, backward_transfer, forward_transfer: Lopez-Paz and Ranzato 2017, eq. 2-4, 1706.08840
    forgetting                       Chaudhry et al. 2018, eq. 3, 1801.10112, of losses: relative
    intransigence                    the same, eq. 5, against the base fine-tuned on that task alone
    gain                             of fine-tuning's at its best rate
    worst, gap                       on the way: De Lange et al. 2022, 2205.13452
    interval                         Student's t: seeds are few
"""

import numpy as np

T95 = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # degrees of freedom


def average_accuracy(R):
    """Mean over all domains, at the end: eq. 2"""
    return float(np.mean(np.asarray(R)[-1]))


def backward_transfer(R):
    """Mean change of each earlier domain since it had just been learned: eq. 3. Below zero is forgetting."""
    R = np.asarray(R)
    return float(np.mean(R[-1, :-1] - np.diag(R)[:-1]))


def forward_transfer(R, chance):
    """Mean of what is known of each task before it is learned, above `chance`, a number or one for each task: eq. 4"""
    R = np.asarray(R)
    return float(np.mean(np.diag(R, 1) - chance))


def forgetting(L):
    """
    Largest relative increase of an earlier domain's loss, over all times after it was learned: L[i][j] / min over the
    times before, minus one. (A mean over domains hides the one that was lost.)
    """
    L = np.asarray(L)
    return float(max(L[i, j] / L[j:i, j].min() - 1 for j in range(L.shape[1] - 1) for i in range(j + 1, len(L))))


def intransigence(L, single):
    """Mean nats by which each task is learned worse than by `single`, the L of fine-tuning on it alone: eq. 5"""
    return float(np.mean(np.diag(L)[1:] - np.diag(single)[1:]))


def gain(L, tuned):
    """Mean over tasks of (base's loss - loss just after learning), over the same of `tuned`, fine-tuning's L."""
    L, tuned = np.asarray(L), np.asarray(tuned)
    return float(np.mean((L[0] - np.diag(L))[1:] / (tuned[0] - np.diag(tuned))[1:]))


def columns(curve):
    """A run's curve, rows of (step, loss of each domain), as arrays: (n,) and (n, domains)."""
    curve = np.asarray(curve)
    return curve[:, 0], curve[:, 1:]


def worst(curve, steps):
    """
    Largest relative increase of an earlier domain's loss at any time on the way, over its loss just after learning it.
    steps: of a task
    """
    at, losses = columns(curve)
    return float(max((losses[at > j * steps, j] / at_end(curve, steps, j)).max()
                     for j in range(losses.shape[1] - 1)) - 1)


def gap(curve, steps):
    """
    The stability gap: how far above where it ends up an earlier domain's loss rises while a task is learned, the
    largest, in nats. What is there at the end of a task hides it.
    """
    at, losses = columns(curve)
    gaps = []
    for task in range(1, losses.shape[1]):
        during = (at > (task - 1) * steps) & (at <= task * steps)
        gaps += [losses[during, j].max() - losses[during, j][-1] for j in range(task)]
    return float(max(gaps))


def at_end(curve, steps, task):
    """The task's loss when it had just been learned (0: the base's domain, at the start)."""
    at, losses = columns(curve)
    return float(losses[at == task * steps, task][-1])


def steps_to(curve, steps, task, loss):
    """The first measured step of a task, from 1, at which its loss is at most `loss`; None if it never is."""
    at, losses = columns(curve)
    during = (at > (task - 1) * steps) & (at <= task * steps)
    reached = at[during][losses[during, task] <= loss]
    return int(reached[0] - (task - 1) * steps) if len(reached) else None


def interval(values):
    """(mean, half the width of its 95% interval) of one number for each seed; infinite for a single one."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    half = T95.get(n - 1, T95[9]) * values.std(ddof=1) / n**0.5 if n > 1 else np.inf
    return float(values.mean()), float(half)
