"""
continual/peer.py: both libraries are given the same windows, take the same steps, and where no method interferes end
at the same weights. The comparison itself is `python continual/peer.py`.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from continual import ewc, peer
from gpt.llama import Config, Llama

ARGS = SimpleNamespace(lr=0.01, steps=6, rows=4)


def tiny():
    torch.manual_seed(0)
    model = Llama(Config(vocab_size=11, n_layer=1, n_head=2, n_kv_head=1, n_embd=8, n_hidden=12, context=64))
    for p in model.parameters():
        if not p.any():                                      # a fresh model's blocks write nothing
            torch.nn.init.normal_(p, std=0.2)
    return model.eval()


def tasks(n=3, length=8):
    """Texts that count upwards, by a step of their own each."""
    rng = np.random.default_rng(0)
    starts = torch.from_numpy(rng.integers(11, size=(n, ARGS.steps * ARGS.rows, 1)))
    rows = (starts + torch.arange(length + 1) * torch.arange(1, n + 1)[:, None, None]) % 11
    return [(row[:, :-1], row[:, 1:]) for row in rows]


def trained(library, method, setting, sets=None):
    """The weights after each task."""
    model = tiny()
    return [[p.detach().clone() for p in model.parameters()]
            for _ in library(ARGS, method, setting, model, None, sets or tasks(), 0)]


def distance(a, b):
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True))


def test_windows_follow_each_other():
    """y is x moved by one, across the edges of windows too; as many as asked for, or as there are."""
    tokenizer = SimpleNamespace(specials={"<|bos|>": 0}, encode=lambda text: list(range(1, 301)))
    x, y = peer.windows(["a", "b"], tokenizer, 5, np.random.default_rng(0))
    assert x.shape == y.shape == (5, peer.LENGTH)
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert torch.equal((x + 1) % 301, y)
    assert sorted(x[:, 0].tolist()) == sorted(n * peer.LENGTH % 301 for n in range(5))
    assert len(peer.windows(["a", "b"], tokenizer, 50, np.random.default_rng(0))[0]) == 601 // peer.LENGTH


@pytest.mark.parametrize("method", peer.METHODS)
def test_ours_run(method):
    """Every method of ours leaves the base as it is at the start, and has learned something by the end of each task."""
    first, second, third = trained(peer.ours, method, {"share": 0.25, "strength": 1.0, "gamma": 1.0})
    assert distance(first, tiny().parameters()) == 0
    assert distance(first, second) > 0.01 and distance(second, third) > 0.01


def test_missing(monkeypatch, capsys):
    """Without Avalanche: one line, before any work, that says where to find the commands."""
    monkeypatch.setitem(sys.modules, "avalanche", None)
    for name in [name for name in sys.modules if name.startswith("avalanche.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit) as stop:
        peer.main(["--out", "nowhere/at/all"])
    assert "python continual/peer.py -h" in stop.value.code and "\n" not in stop.value.code
    with pytest.raises(SystemExit):
        peer.parse(["-h"])
    assert "pip install --no-deps avalanche-lib" in capsys.readouterr().out


def test_table(capsys):
    """Differences are taken seed by seed: two seeds that differ much, and libraries that differ by the same."""
    sides = {"ours": [0.2, 0.4], "theirs": [0.1, 0.3], "difference": [0.1, 0.1]}
    peer.show({"naive": {"average_accuracy": sides, "backward_transfer": sides}})
    out = capsys.readouterr().out
    assert out.count("+0.1000 ±0.0000") == 2 and "+0.3000 ±" in out


# ----------------------------------------------------------------------------
# beside Avalanche

@pytest.mark.peer
def test_naive_agrees():
    """AdamW twice, in single precision: the same weights to rounding. Another order of the rows gives others."""
    pytest.importorskip("avalanche")
    ours, theirs = (trained(library, "naive", {}) for library in (peer.ours, peer.theirs))
    for a, b in zip(ours, theirs, strict=True):
        assert distance(a, b) < 1e-4
    backwards = trained(peer.ours, "naive", {}, [(x.flip(0), y.flip(0)) for x, y in tasks()])
    assert distance(ours[-1], backwards[-1]) > 1e-2


@pytest.mark.peer
def test_springs_hold():
    """Both EWCs move less from the base the stronger they are, and both of Avalanche's modes do something."""
    pytest.importorskip("avalanche")
    start = list(tiny().parameters())
    for method in ("ewc", "online ewc"):
        for library in (peer.ours, peer.theirs):
            moved = [distance(trained(library, method, {"strength": s, "gamma": 1.0})[-1], start) for s in (0.0, 1e6)]
            assert moved[1] < 0.7 * moved[0], (method, library.__name__, moved)


@pytest.mark.peer
def test_steps_do_not_depend_on_the_share(monkeypatch):
    """Avalanche takes `steps` steps of `rows` rows each, of which as many are old as asked for."""
    pytest.importorskip("avalanche")
    seen = []
    monkeypatch.setattr(peer.Scores, "forward", lambda self, x, forward=peer.Scores.forward: (
        seen.append(len(x)), forward(self, x))[1])
    trained(peer.theirs, "replay", {"share": 0.5})
    assert seen == [ARGS.rows] * ARGS.steps * 2


@pytest.mark.peer
def test_importances_are_no_fisher():
    """
    Avalanche's importances are the mean of squared batch gradients to rounding, with the data's labels; so they shrink
    as the batch grows (here to less than half, from 1 window to 8), and ours, per token, do not.
    """
    pytest.importorskip("avalanche")
    EWCPlugin, model, (x, y) = peer.avalanche()[3], tiny(), tasks()[0]

    def theirs(size):
        data, optimizer = torch.utils.data.TensorDataset(x, y), torch.optim.SGD(model.parameters())
        found = EWCPlugin(1.0).compute_importances(peer.Scores(model), torch.nn.CrossEntropyLoss(), optimizer, data,
                                                   "cpu", size)
        return [imp.data for imp in found.values()]

    squares = [torch.zeros_like(p) for p in model.parameters()]
    for a, b in zip(x.split(8), y.split(8)):
        loss = F.cross_entropy(model(a)[0].flatten(0, 1), b.flatten())
        for total, g in zip(squares, torch.autograd.grad(loss, list(model.parameters()))):
            total += g.square() / 3
    assert distance(theirs(8), squares) < 1e-6
    assert sum(t.sum() for t in theirs(8)) < 0.8 * sum(t.sum() for t in theirs(1))
    sums = [sum(t.sum() for t in ewc.fisher(model, list(zip(*(t.split(n) for t in (x, y, *peer.unpacked(x))))),
                                            torch.Generator().manual_seed(0))) for n in (1, 8)]
    torch.testing.assert_close(sums[0], sums[1])
