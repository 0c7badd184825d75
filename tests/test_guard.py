"""
A step that goes wrong is left out and logged; too many in a row stop the run, its last checkpoint untouched.
"""

import csv
import json
import math

import pytest
import torch

from gpt import checkpoint
from kernels.cross_entropy import linear_cross_entropy
from tests.runs import command, losses, make_data, weights
from train import device
from train import train as script
from train.guard import Guard


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def test_what_it_turns_down():
    guard = Guard(spike=5, patience=3)
    noise = torch.randn(300, generator=torch.Generator().manual_seed(0)).tolist()
    assert all(guard.accepts(4 - n / 100 + 0.1 * x, True) for n, x in enumerate(noise[:200]))    # a loss that falls
    assert not guard.accepts(math.nan, False) and not guard.accepts(math.inf, True) and not guard.lost
    assert not guard.accepts(9.0, True) and guard.lost and guard.skipped == 3
    assert guard.accepts(2.0, True) and not guard.lost and guard.in_a_row == 0
    assert not guard.accepts(2.0, False)                     # a gradient that overflowed
    again = Guard(spike=5, patience=3)
    again.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    assert vars(again) == vars(guard)


def test_without_spikes_and_without_history_only_numbers_count():
    assert Guard(spike=0).accepts(1e9, True) and not Guard(spike=0).accepts(math.nan, True)
    young = Guard()
    assert all(young.accepts(x, True) for x in (1.0, 1.0, 100.0))


def poison(monkeypatch, bad):
    """The loss of the training steps in `bad` is nan, and so is its gradient."""
    seen = 0

    def poisoned(x, weight, targets):
        nonlocal seen
        loss = linear_cross_entropy(x, weight, targets)
        seen += torch.is_grad_enabled()
        return loss * math.nan if torch.is_grad_enabled() and seen in bad else loss
    monkeypatch.setattr(device, "linear_cross_entropy", poisoned)


def train(data, out, *more):
    script.main([str(word) for word in command(data, out, *more)[1:]])


def test_two_bad_batches_cost_two_batches(data, tmp_path, monkeypatch, capsys):
    poison(monkeypatch, {4, 9})
    train(data, tmp_path)
    rows = list(csv.DictReader(open(tmp_path / "log.csv")))
    assert [row["step"] for row in rows if row["loss_nats"] == "nan"] == ["4", "9"]
    assert rows[-1]["skipped_steps"] == "2" and float(rows[-1]["loss_nats"]) < float(rows[0]["loss_nats"])
    assert json.loads((tmp_path / "metrics.json").read_text())["numbers"]["skipped_steps"] == 2
    assert capsys.readouterr().out.count("left out") == 2
    assert all(p.isfinite().all() for p in checkpoint.load(tmp_path / "run")[0].parameters())


def test_three_in_a_row_stop_the_run(data, tmp_path, monkeypatch):
    """The checkpoint of step 7 stands, and the mended run goes on from it to the bits of one that met nothing."""
    with monkeypatch.context() as patch:
        poison(patch, range(13, 99))
        with pytest.raises(SystemExit, match="3 steps in a row were left out, the last was 15. The last checkpoint in"):
            train(data, tmp_path / "a", "--bad-steps", 3)
    assert checkpoint.describe(tmp_path / "a" / "run")["step"] == 7
    train(data, tmp_path / "a", "--bad-steps", 3)
    train(data, tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b") and losses(tmp_path / "a") == losses(tmp_path / "b")
