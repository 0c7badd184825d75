"""Adam's bias correction: the formula against simulated averages and against train/adamw.py's first steps."""

import numpy as np
import pytest
import torch

from train import bench, bias
from train.adamw import AdamW


@pytest.mark.parametrize("betas", [(0.9, 0.95), (0.9, 0.999), (0.5, 0.9)])
def test_averages_are_short_by_the_formula(betas):
    """20,000 runs leave about 1% of noise; the uncorrected average is far outside it."""
    t = np.arange(1, 31)
    for seen, b in zip(bias.simulate(30, *betas), betas):
        np.testing.assert_allclose(seen, 1 - b**t, rtol=0.05)
        assert np.abs(seen - 1).max() > 0.4


def test_factor_is_what_adamw_undoes():
    """Under a constant gradient a corrected step is lr at every t; an uncorrected one is lr times the factor."""
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer, (b1, b2), m, v = AdamW([p], lr=1.0, eps=0.0), (0.9, 0.95), 0.0, 0.0
    for t in range(1, 40):
        before, p.grad = p.item(), torch.full_like(p, 3.0)
        optimizer.step()
        assert before - p.item() == pytest.approx(1.0, rel=1e-9)
        m, v = b1 * m + (1 - b1) * 3.0, b2 * v + (1 - b2) * 9.0
        assert m / v**0.5 == pytest.approx(bias.factor(t, b1, b2), rel=1e-9)


def test_command(tmp_path, capsys):
    bias.main(["--out", str(tmp_path), "--no-picture"])
    assert "0.447 x" in capsys.readouterr().out and not (tmp_path / "bias.png").exists()
    with pytest.raises(SystemExit, match="between 0 and 1"):
        bias.main(["--betas", "0.9", "1"])


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    bias.draw(tmp_path / "bias.png", 0.9, 0.95, steps=30)
    assert (tmp_path / "bias.png").stat().st_size > 10_000


def test_state_of_optimizers():
    """AdamW holds 8 bytes a parameter, ours as torch's (and a step count each there); Muon 4 of its matrices."""
    model = torch.nn.Sequential(torch.nn.Linear(6, 5))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    P = sum(p.numel() for p in model.parameters())
    for make in (bench.OPTIMIZERS["torch, fused"], bench.ours):
        optimizers = make(model)
        optimizers[0].step()
        assert bench.state_bytes(optimizers) in (8 * P, 8 * P + 2 * 4)
    assert bench.state_bytes([bench.Muon([model[0].weight])]) == 4 * 30
