"""
What a stream did to a model, in numbers: every measure on matrices and curves small enough to be done by hand, against
the formulas of the papers written out in loops, and on the same with rows and columns exchanged, which must not pass.
"""

import math

import numpy as np
import pytest

from continual import transfer

R = [[0.90, 0.10, 0.20],                 # accuracies: row, after which task; column, on which domain
     [0.60, 0.80, 0.30],
     [0.50, 0.70, 0.85]]
L = [[1.0, 5.0, 6.0],                    # losses
     [2.0, 3.0, 5.5],
     [4.0, 3.6, 2.0]]
STEPS = 4
CURVE = [[0, 1.0, 9.0, 8.0],             # step, loss of each of three domains: two tasks of four steps
         [2, 3.0, 5.0, 0.5],
         [4, 1.5, 2.0, 9.0],
         [6, 2.5, 7.0, 5.0],
         [8, 2.0, 2.5, 3.0]]


def swapped(M):
    return np.transpose(M).tolist()


# ----------------------------------------------------------------------------
# matrices

def test_by_hand():
    assert transfer.average_accuracy(R) == pytest.approx((0.5 + 0.7 + 0.85) / 3)
    assert transfer.backward_transfer(R) == pytest.approx(((0.5 - 0.9) + (0.7 - 0.8)) / 2)
    assert transfer.forward_transfer(R, 0.05) == pytest.approx(((0.1 - 0.05) + (0.3 - 0.05)) / 2)
    assert transfer.forward_transfer(R, [0.1, 0.2]) == pytest.approx((0.0 + 0.1) / 2)


def test_exchanged_rows_and_columns_are_found_out():
    """R[i][j] is after task i on domain j; whoever takes it for the other thing gets other numbers."""
    for measure in (transfer.average_accuracy, transfer.backward_transfer, lambda M: transfer.forward_transfer(M, 0)):
        assert abs(measure(R) - measure(swapped(R))) > 0.05
    assert transfer.forgetting(L) == pytest.approx(3) and abs(transfer.forgetting(swapped(L)) - 3) > 0.5
    assert abs(transfer.gain(L, L) - transfer.gain(swapped(L), L)) > 0.1


@pytest.mark.parametrize("n", [2, 3, 6])
def test_the_formulas_of_lopez_paz_and_ranzato(n):
    """Eq. 2-4 of 1706.08840 as they are printed there, tasks numbered from one."""
    rng = np.random.default_rng(n)
    M, chance = rng.random((n, n)), rng.random(n)
    at = {(i, j): M[i - 1, j - 1] for i in range(1, n + 1) for j in range(1, n + 1)}
    acc = sum(at[n, i] for i in range(1, n + 1)) / n
    bwt = sum(at[n, i] - at[i, i] for i in range(1, n)) / (n - 1)
    fwt = sum(at[i - 1, i] - chance[i - 1] for i in range(2, n + 1)) / (n - 1)
    assert transfer.average_accuracy(M) == pytest.approx(acc, abs=1e-12)
    assert transfer.backward_transfer(M) == pytest.approx(bwt, abs=1e-12)
    assert transfer.forward_transfer(M, chance[1:]) == pytest.approx(fwt, abs=1e-12)


def test_forgetting_is_the_worst_rise_over_the_best_so_far():
    assert transfer.forgetting(L) == pytest.approx(4 / 1 - 1)                     # the base's domain, not 3.6 / 3 - 1
    assert transfer.forgetting([[1, 9, 9], [3, 2, 9], [1.1, 2, 1]]) == pytest.approx(2), "coming back is no excuse"
    assert transfer.forgetting([[1, 9, 9], [0.5, 2, 9], [0.6, 2, 1]]) == pytest.approx(0.2), "a gain can be lost"
    assert transfer.forgetting([[1, 9, 9], [1, 2, 9], [1, 3, 1]]) == pytest.approx(0.5), "later tasks count, too"
    assert transfer.forgetting([[1, 9], [0.8, 2]]) == pytest.approx(-0.2), "and it may be learned better than before"
    before = [[1, 1, 9], [1, 2, 9], [1, 2, 1]]
    assert transfer.forgetting(before) == 0, "a domain's loss before its own task is not a thing to be forgotten"


def test_intransigence_and_gain():
    """Both look at the diagonal alone; the first domain was learned before the stream and is no task."""
    single = [[7, 5, 6], [7, 2.5, 7], [7, 7, 1.0]]
    assert transfer.intransigence(L, single) == pytest.approx(((3 - 2.5) + (2 - 1)) / 2)
    assert transfer.gain(L, single) == pytest.approx(((5 - 3) / (5 - 2.5) + (6 - 2) / (6 - 1)) / 2)
    assert transfer.gain(L, L) == 1 and transfer.gain([L[0]] * 3, L) == 0


# ----------------------------------------------------------------------------
# curves

def test_worst_on_the_way():
    assert transfer.worst(CURVE, STEPS) == pytest.approx(7 / 2 - 1)               # domain 1 in the middle of task 2
    assert transfer.worst([row[:3] for row in CURVE[:3]], STEPS) == pytest.approx(3 / 1 - 1)
    late = [row[:1] + [1.0] + row[2:] for row in CURVE]
    assert transfer.worst(late, STEPS) == pytest.approx(2.5), "each domain is held against its own end"
    only_ends = [row for row in CURVE if row[0] % STEPS == 0]
    assert transfer.worst(only_ends, STEPS) == pytest.approx(2 / 1 - 1), "teeth: a look at the ends misses it"


def test_gap_is_what_comes_back():
    assert transfer.gap(CURVE, STEPS) == pytest.approx(7 - 2.5)
    assert transfer.gap([row[:3] for row in CURVE[:3]], STEPS) == pytest.approx(3 - 1.5)
    rising = [[0, 1, 9], [2, 2, 5], [4, 3, 2]]
    assert transfer.gap(rising, STEPS) == 0, "what is forgotten for good is no gap"


def test_steps_to():
    """Counted from the task's own beginning, and what a domain's loss was before its task does not count."""
    assert transfer.steps_to(CURVE, STEPS, 1, 5.0) == 2 and transfer.steps_to(CURVE, STEPS, 1, 4.9) == 4
    assert transfer.steps_to(CURVE, STEPS, 1, 1.9) is None
    assert transfer.steps_to(CURVE, STEPS, 2, 5.0) == 2 and transfer.steps_to(CURVE, STEPS, 2, 3.0) == 4
    assert [transfer.at_end(CURVE, STEPS, task) for task in range(3)] == [1.0, 2.0, 3.0]


# ----------------------------------------------------------------------------
# intervals

def within(t, freedom):
    """P(|x| < t) for Student's t: its density, integrated by the midpoint rule."""
    x = (np.arange(100_000) + 0.5) * t / 100_000
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    return 2 * scale * ((1 + x * x / freedom) ** (-(freedom + 1) / 2)).mean() * t


@pytest.mark.parametrize("freedom", transfer.T95)
def test_the_table_is_students(freedom):
    assert within(transfer.T95[freedom], freedom) == pytest.approx(0.95, abs=1e-4)


def test_interval_by_hand():
    assert transfer.interval([1, 2, 3]) == pytest.approx((2, 4.303 / 3**0.5))      # the sample's deviation is one
    assert transfer.interval([2.0] * 5) == (2.0, 0.0)
    mean, half = transfer.interval([7])
    assert mean == 7 and half == np.inf, "one seed says nothing about the next"
    for n in (11, 20, 31):
        values = np.arange(n)
        half = transfer.interval(values)[1]
        assert within(half / (values.std(ddof=1) / n**0.5), n - 1) >= 0.95, f"{n} seeds: too narrow"


def test_it_covers():
    """Three seeds of a bell curve: the mean lies in 95% of the intervals, but in far fewer of 1.96 errors' width."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4000, 3))
    found = np.array([transfer.interval(v) for v in values])
    assert 0.94 < (abs(found[:, 0]) < found[:, 1]).mean() < 0.96
    assert (abs(found[:, 0]) < 1.96 * values.std(1, ddof=1) / 3**0.5).mean() < 0.88
