"""The learning-rate sweep: its recommendation on valleys with known floors, and that it resumes and stops cleanly."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from bpe.record import write_metrics
from train import sweep


def valley(rates, best=3e-3, a=0.05, floor=2.0):
    return [floor + a * math.log(rate / best) ** 2 for rate in rates]


RATES = [1e-4, 1e-3, 2e-3, 5e-3, 1e-2]


def test_recommendation_is_the_floor():
    """Of an exact parabola in log(rate), uneven rates or not, whatever its depth: the floor to rounding."""
    rate, loss, a, b, c = sweep.recommend(RATES, valley(RATES))
    assert rate == pytest.approx(3e-3, rel=1e-9) and loss == pytest.approx(2.0, abs=1e-9)
    x = np.log([1e-3, 3e-3])
    np.testing.assert_allclose(a * x**2 + b * x + c, valley([1e-3, 3e-3]), atol=1e-9)


def test_it_has_teeth():
    """A parabola in the rate itself, not its logarithm, misses that floor by a tenth and more."""
    losses = valley(RATES)
    n = int(np.argmin(losses))
    a, b, _ = np.polyfit(RATES[n - 1:n + 2], losses[n - 1:n + 2], 2)
    assert abs(-b / (2 * a) / 3e-3 - 1) > 0.1


@pytest.mark.parametrize("best, says", [(1e-6, "try lower"), (1.0, "try higher")])
def test_no_recommendation_at_an_end(best, says):
    losses = valley(RATES, best)
    assert sweep.recommend(RATES, losses) is None and says in sweep.verdict(RATES, losses, 0.0, "muon-lr")


def test_divergence_bounds_the_rate():
    losses = [2.0, 1.9, 1.8, math.inf, math.inf]
    assert "last before training diverges" in sweep.verdict(RATES, np.array(losses), 0.0, "muon-lr")


def test_seeds_say_what_is_equal():
    assert "0.002, 0.005 are within the spread" in sweep.verdict(RATES, np.array(valley(RATES)), 0.02, "lr")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """train.py replaced by one that leaves the loss of a known valley, and a list of the runs that were started."""
    started = []

    def run(command, **options):
        argv = [str(word) for word in command[2:]]
        out, rate = sweep.Path(argv[argv.index("--out") + 1]), float(argv[argv.index("--muon-lr") + 1])
        started.append(rate)
        if rate > 0.1:
            options["stdout"].write("10 steps in a row were left out, the last was 11. ... lower rates start anew.\n")
        elif rate > 0.05:
            options["stdout"].write("Traceback\nValueError: 7 is no multiple of 4\n")
        else:
            write_metrics(out, "train/train.py", argv, numbers={"valid_loss_nats": valley([rate], best=0.02)[0]})
    monkeypatch.setattr(sweep, "subprocess", SimpleNamespace(run=run))
    for name in "data", "tokenizer":
        (tmp_path / name).mkdir()
    base = ["--data", tmp_path / "data", "--tokenizer", tmp_path / "tokenizer", "--out", tmp_path / "out",
            "--flag", "muon-lr"]
    return lambda *rest: sweep.main([str(word) for word in [*base, *rest]]), started, tmp_path


def test_runs_once_and_resumes(fake, capsys):
    """The second time nothing is trained; a new rate adds its own run; the numbers say the floor."""
    go, started, folder = fake
    go("--rates", 0.005, 0.01, 0.04, "--no-picture", "--", "--tokens", 9)
    go("--rates", 0.005, 0.01, 0.04, 0.02, "--no-picture", "--", "--tokens", 9)
    assert sorted(started) == [0.005, 0.01, 0.02, 0.04]
    assert "--muon-lr 0.02" in capsys.readouterr().out
    numbers = json.loads((folder / "out/metrics.json").read_text())["numbers"]
    assert numbers["best_rate"] == pytest.approx(0.02, rel=1e-6)
    with pytest.raises(SystemExit, match="other settings"):
        go("--rates", 0.005, 0.01, 0.04, "--no-picture", "--", "--tokens", 10)


def test_divergence_and_failure(fake, capsys):
    """A run that gave up for its loss counts as diverged; one that failed stops the sweep with its last line."""
    go, _, _ = fake
    go("--rates", 0.01, 0.02, 0.04, 0.2, "--no-picture")
    assert "inf nats" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="7 is no multiple of 4"):
        go("--rates", 0.01, 0.02, 0.06, "--no-picture")


def test_picture(fake):
    pytest.importorskip("matplotlib")
    go, _, folder = fake
    go("--rates", 0.005, 0.01, 0.02, 0.2, "--seeds", 2)
    assert (folder / "out/sweep.png").stat().st_size > 10_000


def test_mistakes(fake):
    go, started, _ = fake
    with pytest.raises(SystemExit, match="three rates"):
        go("--rates", 0.1, 0.2)
    assert not started
