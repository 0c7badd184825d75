"""The log of a run: what follows from its numbers, resuming, TensorBoard and Weights & Biases beside the CSV."""

import csv
import math

import pytest
import torch

from train.adamw import AdamW
from train.hardware import peak_flops
from train.log import Log, update_to_data, weights_of


def rows(folder):
    with open(folder / "log.csv", newline="") as f:
        return list(csv.DictReader(f))


def test_what_follows(tmp_path):
    """ln 2 nats a token at two bytes a token is half a bit a byte; half the peak is an MFU of a half."""
    log = Log(tmp_path, ("gradient_norm",), bytes_per_token=2.0, flops_per_token=100.0, peak=1e6)
    log.log(1, loss_nats=math.log(2), tokens_per_second=5000.0, gradient_norm=0.5)
    row, = rows(tmp_path)
    assert float(row["perplexity"]) == pytest.approx(2) and float(row["bits_per_byte"]) == pytest.approx(0.5)
    assert float(row["mfu"]) == pytest.approx(0.5) and float(row["gradient_norm"]) == 0.5
    assert int(row["peak_memory_bytes"]) > 1e6


def test_old_callers(tmp_path):
    """Without the new facts, the columns are those of before."""
    Log(tmp_path, ("valid_loss_nats",)).log(1, loss_nats=1.0)
    assert list(rows(tmp_path)[0]) == ["step", "seconds", "tokens", "loss_nats", "perplexity", "tokens_per_second",
                                       "peak_memory_bytes", "valid_loss_nats"]


def test_update_to_data():
    """SGD by 1e-3 of the gradient, which here is the weights themselves: the ratio is 1e-3. Vectors do not count."""
    model = torch.nn.Linear(7, 5, dtype=torch.float64)
    before = weights_of(model)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1 - 1e-3)
        model.bias.add_(100)
    assert update_to_data(model, before) == pytest.approx(1e-3, rel=1e-9)


def test_update_to_data_of_adamw():
    """Adam's first step changes every weight by lr: over weights of RMS 0.5 that is a ratio of 2 lr."""
    p = torch.nn.Linear(64, 64, bias=False)
    torch.nn.init.constant_(p.weight, 0.5)
    p.weight.grad, before = torch.randn(64, 64), weights_of(p)
    AdamW(p.parameters(), lr=1e-3).step()
    assert update_to_data(p, before) == pytest.approx(2e-3, rel=1e-3)


def test_peak_is_measured_here():
    """A product of matrices runs at some GFLOP/s, and the second answer is the first one's."""
    peak = peak_flops(torch.device("cpu"), torch.float32)
    assert 1e8 < peak < 1e14 and peak_flops(torch.device("cpu"), torch.float32) == peak


def test_unknown_sink(tmp_path):
    with pytest.raises(ValueError, match="paper"):
        Log(tmp_path, to=("paper",))


@pytest.mark.peer
def test_tensorboard(tmp_path):
    """TensorBoard reads the numbers of the CSV, and a resumed run's take the place of the lost ones."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    log = Log(tmp_path, to=("tensorboard",))
    for step in (1, 2, 3):
        log.log(step, loss_nats=float(step))
    again = Log(tmp_path, resume=2, to=("tensorboard",))
    again.log(3, loss_nats=30.0)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss_nats")] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert [row["loss_nats"] for row in rows(tmp_path)] == ["1", "2", "30"]


@pytest.mark.peer
def test_wandb_offline(tmp_path, monkeypatch):
    """Nothing is sent: the run lies in a file under the folder, and holds what was logged."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    log = Log(tmp_path, to=("wandb",))
    log.log(1, loss_nats=1.25)
    wandb.finish()
    wandb.teardown()                                         # its service writes on, until it is stopped
    file, = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"loss_nats" in file.read_bytes()
