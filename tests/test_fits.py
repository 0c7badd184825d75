"""
The fits of scaling laws on losses whose exponents are known, since the tests made them: what comes back, how wide its
interval is, and that a wrong exponent, a wrong law and a wrong frontier are turned down.
"""

import numpy as np
import pytest

from eval import fits

TRUE = {"E": 1.0, "A": 0.4, "alpha": 0.34, "B": 0.3, "beta": 0.28}           # of fits.synthetic()


def seen(noise, seed=0):
    """(x (2, n), y (n,)) of a synthetic sweep without its held-out run"""
    rows = [row for row in fits.synthetic(noise, seed) if not row["held_out"]]
    return np.array([fits.inputs(row) for row in rows]).T, np.array([row["loss_nats"] for row in rows])


def test_the_law_of_both_comes_back_from_exact_losses():
    fit = fits.estimate("hoffmann", *seen(0), draws=20)
    for name, value in TRUE.items():
        assert fit.numbers()[name][0] == pytest.approx(value, rel=0.01), name
    assert fit.error < 1e-5
    assert fits.predicted(fit) == pytest.approx((0.28 / 0.62, 0.34 / 0.62), abs=0.002)


def test_kaplan_s_law_comes_back_with_and_without_a_floor():
    x = np.log(np.stack(np.meshgrid(np.geomspace(0.1, 20, 8), np.geomspace(0.2, 4, 5)))).reshape(2, -1)
    for name, numbers in (("kaplan", (300.0, 40.0, 0.1, 0.15)), ("kaplan with a floor", (0.5, 0.3, 0.4, 0.6, 0.9))):
        y = np.exp(fits.kaplan(np.log([numbers]), x))[0]
        found = fits.estimate(name, x, y, draws=5).numbers()
        for (key, value), want in zip(found.items(), numbers):
            assert value[0] == pytest.approx(want, rel=0.02), (name, key)


@pytest.mark.parametrize("seed", [1, 2])
def test_intervals_hold_the_truth_and_reject_another_exponent(seed):
    """With losses that scatter by 0.2%, the interval of alpha holds 0.34 and neither Kaplan's 0.076 nor 0.5."""
    value, low, high = fits.estimate("hoffmann", *seen(0.002, seed), draws=150).numbers()["alpha"]
    assert low - 0.01 < 0.34 < high + 0.01 and low < value < high
    assert not low < 0.076 < high and not low < 0.5 < high
    assert high - low < 0.1


def test_one_input():
    x = np.log(np.geomspace(0.1, 20, 9))
    fit = fits.estimate("power", x, 1.1 + 0.5 * np.exp(-0.6 * x), draws=20)
    assert [fit.numbers()[key][0] for key in ("E", "A", "alpha")] == pytest.approx([1.1, 0.5, 0.6], rel=1e-3)
    assert fit.loss(np.log(100.0))[0][0] == pytest.approx(1.1 + 0.5 * 100 ** -0.6, rel=1e-4)


def test_the_wrong_law_is_seen_to_be_wrong():
    """Without a floor the misfit is several times as large, and the held-out model is missed by more than 3%."""
    found = fits.study(fits.synthetic(0.001), draws=20)
    assert found["fits"]["kaplan"].error > 5 * found["fits"]["hoffmann"].error
    measured = found["held_out"]["loss_nats"]
    assert abs(found["guesses"]["hoffmann"][0] / measured - 1) < 0.005
    assert abs(found["guesses"]["kaplan"][0] / measured - 1) > 0.03


def test_one_run_gone_wrong_hardly_counts(monkeypatch):
    """The last run 30% too high: the prediction for the larger model moves by under 1%, least squares's by over 3%."""
    x, y = seen(0)
    y[-1] *= 1.3
    at, true = np.log([4e6 / fits.N0, 2e6 / fits.D0]), fits.synthetic(0)[-1]["loss_nats"]
    assert fits.estimate("hoffmann", x, y, draws=2).loss(*at)[0][0] == pytest.approx(true, rel=0.01)
    monkeypatch.setattr(fits, "HUBER", 1e9)
    assert fits.estimate("hoffmann", x, y, draws=2).loss(*at)[0][0] > 1.03 * true


def test_a_fit_is_no_worse_than_the_truth():
    x, y = seen(0.01)
    true = np.log([list(TRUE.values())])
    _, sums = fits.fit(fits.hoffmann, true, x, y)
    assert sums[0] <= fits.huber(fits.hoffmann(true, x) - np.log(y)).sum()


def test_valleys():
    points = [(n, 1e12 / n, (np.log(n) - np.log(3e5)) ** 2 + 2) for n in (1e5, 2e5, 4e5, 8e5)]
    assert np.exp(fits.valley(points)) == pytest.approx((3e5, 1e12 / 3e5))
    assert fits.valley(points[2:]) is None and fits.valley(points[:2] + [(2.5e5, 4e6, 2.05)]) is None  # lowest outside
    assert fits.valley([(n, d, -loss) for n, d, loss in points]) is None                               # a hill


def test_the_frontier_by_equal_compute():
    """The slope agrees with the law's own 0.452 and the interval has no room for Kaplan's 0.73."""
    grid = fits.grid_of([row for row in fits.synthetic(0) if not row["held_out"]])
    slopes, cut = fits.frontier(grid, noise=0.002, draws=100)
    assert slopes["N"][0] == pytest.approx(0.28 / 0.62, abs=0.03)
    assert slopes["N"][0] + slopes["D"][0] == pytest.approx(1, abs=0.01)
    assert slopes["N"][1] < slopes["N"][0] < slopes["N"][2] < 0.73
    for budget, points in cut.items():
        for n, d, loss in points:
            assert 6 * n * d == pytest.approx(budget, rel=1e-3)
            assert loss == pytest.approx(1 + 0.4 * (n / 1e5) ** -0.34 + 0.3 * (d / 1e6) ** -0.28, rel=2e-3)
    assert fits.frontier(dict(list(grid.items())[:2]), 0.01) == ({}, {})


def test_what_is_held_out_is_not_seen():
    rows = fits.synthetic()
    other = [row | {"loss_nats": 9.0} if row["held_out"] else row for row in rows]
    a, b = fits.study(rows, draws=5), fits.study(other, draws=5)
    assert a["values"] == b["values"] and a["guesses"] == b["guesses"]
    assert fits.numbers(a)["extrapolation_error"] < 0.03 < fits.numbers(b)["extrapolation_error"]


def test_the_law_that_predicts_is_chosen_unseen():
    """By how well each goes from the smaller sizes to the largest; made of Hoffmann's law, that one is."""
    found = fits.study(fits.synthetic(0.001), draws=5)
    assert fits.chosen(found) == "hoffmann" and found["trust"]["hoffmann"] < 0.005 < found["trust"]["kaplan"]
    assert fits.numbers(found)["extrapolation_error"] == abs(
        found["guesses"]["hoffmann"][0] / found["held_out"]["loss_nats"] - 1)


def test_too_few_runs():
    with pytest.raises(ValueError, match="4 runs do not determine the 5 numbers"):
        fits.estimate("hoffmann", np.zeros((2, 4)), np.ones(4))


def test_the_script(tmp_path, capsys):
    fits.main(["--synthetic", "--draws", "10"])
    said = capsys.readouterr().out
    assert "Kaplan 2020" in said and "held out: N 4,000,000" in said and "known, and no fit was told" in said
    with pytest.raises(SystemExit, match="python eval/scaling.py"):
        fits.main(["--table", str(tmp_path / "none.json")])
