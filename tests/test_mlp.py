"""
makemore's MLP: its logits against a loop over examples, its gradients against differences, that it learns, and that
the same seed gives the same net; the learning-rate finder finds the largest rate that a known problem bears.
"""

import json
import math

import pytest
import torch

from makemore import mlp, names

SOME = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "zoe", "quinn", "jay", "max"] * 3


def small(**sizes):
    return mlp.MLP(**{"context": 3, "n_embd": 2, "n_hidden": 5, **sizes}, generator=torch.Generator().manual_seed(0))


def test_logits_by_hand():
    """Each letter's vector stands at its place: place t of the context meets rows t*C to (t + 1)*C of W1."""
    model, idx = small().double(), torch.tensor([[0, 5, 13], [13, 5, 0]])
    logits, loss = model(idx)
    assert loss is None and logits.shape == (2, names.V)
    for row, letters in enumerate(idx.tolist()):
        x = [c.item() for letter in letters for c in model.C[letter]]
        h = [math.tanh(sum(x[i] * model.W1[i, j].item() for i in range(6)) + model.b1[j].item()) for j in range(5)]
        want = [sum(h[j] * model.W2[j, v].item() for j in range(5)) + model.b2[v].item() for v in range(names.V)]
        torch.testing.assert_close(logits[row].tolist(), want, rtol=0, atol=1e-12)
    assert (logits[0] - logits[1]).abs().max() > 1e-2, "the order of letters matters"


@pytest.mark.parametrize("name", ["C", "W1", "b1", "W2", "b2"])
def test_gradients(name):
    """Central differences at h = 1e-6 are good to about 1e-9; 1e-7 still convicts a wrong term."""
    model = small().double()
    x, y = names.examples(["emma", "zoe"], 3)
    model(x, y)[1].backward()
    p = getattr(model, name)
    at = tuple(n // 2 for n in p.shape) if name != "C" else (5, 1)       # C: "e", which is in the context of some
    losses = []
    with torch.no_grad():
        for move in (1e-6, -2e-6):
            p[at] += move
            losses.append(model(x, y)[1].item())
    assert p.grad[at].item() == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-7)
    assert abs(p.grad[at].item()) > 1e-4, "nothing to compare"


def test_learns_and_repeats(capsys):
    x, y = names.examples(SOME, 3)
    losses = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(1)
        model = mlp.MLP(3, 4, 30, generator)
        before = names.loss_of(model, x, y)
        mlp.train(model, x, y, steps=600, batch=32, rate=0.3, generator=generator)
        losses.append(names.loss_of(model, x, y))
    assert losses[0] == losses[1] and losses[0] < 0.8 < math.log(names.V) < before
    assert "0 s left" in capsys.readouterr().out


def test_step_is_sgd():
    """One step moves each parameter by -rate times its gradient on the batch that the generator draws."""
    x, y = names.examples(SOME, 3)
    model, generator = small(), torch.Generator().manual_seed(3)
    at = torch.randint(len(x), (4,), generator=torch.Generator().manual_seed(3))
    before = [p.detach().clone() for p in model.parameters()]
    grads = torch.autograd.grad(model(x[at], y[at])[1], list(model.parameters()))
    mlp.step(model, x, y, 4, 0.5, generator)
    for p, old, grad in zip(model.parameters(), before, grads):
        torch.testing.assert_close(p.detach(), old - 0.5 * grad)


class Bowl(torch.nn.Module):
    """loss = w^2: gradient descent at rate r multiplies w by 1 - 2r, which shrinks it as long as r < 1."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(self, idx, targets):
        return None, self.w ** 2


def test_finder_turns_where_the_rate_is_too_large():
    x, y = torch.zeros(9, 1), torch.zeros(9)
    rates, losses, smooth = mlp.find_rate(Bowl(), x, y, 3, torch.Generator(), low=1e-4, high=1.5, steps=400)
    assert rates[0] == pytest.approx(1e-4) and rates[-1] == pytest.approx(1.5) and len(losses) == len(smooth) == 400
    ratios = [b / a for a, b in zip(rates, rates[1:])]
    assert max(ratios) == pytest.approx(min(ratios))
    turn = rates[min(range(400), key=lambda k: losses[k])]
    assert turn == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("mode, picture", [([], None), (["--find-lr"], "find_lr.png"),
                                           (["--capacity"], "capacity.png")], ids=["train", "find-lr", "capacity"])
def test_script(mode, picture, tmp_path, monkeypatch, capsys):
    if picture:
        pytest.importorskip("matplotlib")
    monkeypatch.setattr(names, "load", lambda: SOME)
    monkeypatch.setattr(mlp, "SIZES", (2, 4))
    args = [*mode, "--steps", "20", "--batch", "8", "--n-hidden", "6", "--rate", "0.1", "--out", str(tmp_path)]
    mlp.main(args)
    out, metrics = capsys.readouterr().out, json.loads((tmp_path / "metrics.json").read_text())
    assert "uniform guess loses 3.2958" in out and metrics["argv"] == args
    if picture:
        assert (tmp_path / picture).stat().st_size > 10_000 and not (tmp_path / "model.pt").exists()
        assert "dev_loss_nats" not in metrics["numbers"], "an experiment must not pass for the model's figure"
        return
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    model = mlp.MLP(**saved["config"])
    model.load_state_dict(saved["weights"])
    dev = names.examples(names.split(SOME)[1], saved["context"])
    assert names.loss_of(model, *dev) == pytest.approx(metrics["numbers"]["dev_loss_nats"])


def test_refuses():
    with pytest.raises(SystemExit, match="Use 1 or more"):
        mlp.main(["--context", "0"])
