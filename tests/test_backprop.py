"""
Gradients by hand against PyTorch's, step by step and fused, and the training on them.

In float64 two right answers differ by rounding alone: gradients here are below 100, so by less than 1e-13, and 1e-12
still convicts a wrong term. Letters and parameters are random, gamma too: where it is 1, to forget it is right.
"""

import inspect
import json
import random
from pathlib import Path

import pytest
import torch

from makemore import backprop, names, solution

ROOT = Path(__file__).resolve().parent.parent
SHAPES = [(32, 64), (5, 7), (2, 1)]                          # B, H: typical, odd, smallest


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("B,H", SHAPES)
@pytest.mark.parametrize("backward", [solution.backward, backprop.fused])
def test_gradients_equal_torch(backward, B, H):
    v, want = backprop.problem(generator(), B, H)
    got = backward(v)
    for name in got:
        assert backprop.error(got[name], want[name[1:]]) < 1e-12, name
    assert set(got) >= {f"d{name}" for name in backprop.PARAMETERS}
    if backward is solution.backward:
        assert set(got) == {f"d{name}" for name in backprop.NAMES}


def test_the_loss_is_cross_entropy_after_batchnorm():
    """What is differentiated is the right thing: torch's own layers give the same loss."""
    v, _ = backprop.problem(generator())
    xhat = (v.z - v.z.mean(0)) / (v.z.var(0) + backprop.EPS).sqrt()
    logits = torch.tanh(xhat * v.gamma + v.beta) @ v.W2 + v.b2
    assert abs(torch.nn.functional.cross_entropy(logits, v.targets) - v.loss) < 1e-12
    assert len(set(v.idx.flatten().tolist())) < v.idx.numel(), "no letter twice: dE would be easy"


MISTAKES = {
    "forgets the way through the variance": (" + dsquare * 2 * v.centred", "", "centred"),
    "forgets the way through the mean": ("dz = dcentred + dmean / B", "dz = dcentred", "z"),
    "divides by B where forward divides by B - 1": ("(v.square) / (B - 1)", "(v.square) / B", "square"),
    "does not sum a bias over the batch": ("db2 = dlogits.sum(0)", "db2 = dlogits", "b2"),
    "averages a bias over the batch": ("db2 = dlogits.sum(0)", "db2 = dlogits.mean(0)", "b2"),
    "keeps only one of the rows of a letter": ("dE.index_add_(0, v.idx.flatten(), demb.flatten(0, 1))",
                                               "dE[v.idx.flatten()] = demb.flatten(0, 1)", "E"),
    "adds, but to each row once": ("dE.index_add_(0, v.idx.flatten(), demb.flatten(0, 1))", "dE[v.idx] += demb", "E"),
    "forgets that counts went into their total": (" + dtotal ", " ", "counts"),
    "does not average over the batch": ("= -1 / B ", "= -1.0 ", "logprobs"),
    "tanh' of what comes out": ("(1 - v.h**2)", "(1 - v.y**2)", "y"),
    "forgets gamma": ("dxhat = dy * v.gamma", "dxhat = dy", "xhat"),
    "forgets the transpose": ("dW2 = v.h.T @ dlogits", "dW2 = dlogits.T @ v.h", "W2"),
    "returns NaN": ("dx = dz @ v.W1.T", "dx = (dz @ v.W1.T) * float('nan')", "x"),
    "forgets one": ("dbeta = dy.sum(0)", "pass", "beta"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_check_names_the_mistake(mistake, tmp_path):
    """Each plausible mistake in the solution is found, and is the first of those that are named."""
    right, planted, named = MISTAKES[mistake]
    text = (ROOT / "makemore/solution.py").read_text()
    assert text.count(right) == 1
    mine = tmp_path / "mine.py"
    mine.write_text(text.replace(right, planted))
    with pytest.raises(SystemExit, match=rf"Begin with d{named}:"):
        backprop.main(["--check", str(mine)])


@pytest.mark.parametrize("right,planted,named", [
    ("(dgamma / (B - 1))", "(dgamma / B)", {"dz", "dx", "dW1", "dE"}),
    ("dy - dbeta / B - v.xhat * (dgamma / (B - 1))", "dy - dbeta / B", {"dz", "dx", "dW1", "dE"}),
    ("dy - dbeta / B - v", "dy - v", {"dz", "dx", "dW1", "dE"}),
    ("dlogits.sum(0)", "dlogits.mean(0)", {"db2"}),
    ("dgamma, dbeta = (dy * v.xhat).sum(0)", "dgamma, dbeta = (dy * v.y).sum(0)", {"dgamma", "dz", "dx", "dW1", "dE"}),
])
def test_fused_has_teeth(right, planted, named):
    source, space = inspect.getsource(backprop.fused), dict(vars(backprop))
    assert right in source
    exec(source.replace(right, planted), space)
    v, want = backprop.problem(generator())
    assert {name for name, x in space["fused"](v).items() if backprop.error(x, want[name[1:]]) > 1e-12} == named


def test_the_mean_does_not_move_the_variance():
    """No mistake, though it looks like one: what reaches the mean through the variance adds up to 0."""
    v, want = backprop.problem(generator())
    dxhat = solution.backward(v)["dxhat"]
    assert backprop.error(-(dxhat * v.rstd).sum(0), want["mean"]) < 1e-12


def test_check(tmp_path, capsys):
    backprop.main(["--check", str(ROOT / "makemore/solution.py")])
    assert "all 25 gradients" in capsys.readouterr().out
    mine = tmp_path / "mine.py"
    for text, said in [("x = 1\n", r"no function backward\(v\)"), ("def backward(v): return 1\n", "returns int"),
                       ("def backward(v): return {'dlogprobs': 3}\n", "25 of 25 .* Begin with dlogprobs")]:
        mine.write_text(text)
        with pytest.raises(SystemExit, match=said):
            backprop.main(["--check", str(mine)])
    assert "dW1         missing; it has the shape of v.W1, (30, 64)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="solution.py"):
        backprop.main(["--check", str(tmp_path / "none.py")])


def test_training_by_hand_is_training_with_autograd():
    """The same losses, step by step; they fall; and the gradients matter: autograd at another rate leaves the curve."""
    text = [word * n for word in ("ab", "cde", "xyz") for n in (1, 2, 3)]
    x, y = names.examples(text, backprop.T)
    args = backprop.parse(["--steps", "60", "--batch", "16"])
    parameters, mine = backprop.train(backprop.by_hand, x, y, args, 60)
    _, theirs = backprop.train(backprop.by_autograd, x, y, args, 60)
    assert max(abs(a - b) for a, b in zip(mine, theirs)) < 1e-12
    assert sum(mine[-5:]) < 0.7 * sum(mine[:5])
    args.rate *= 1.01
    _, other = backprop.train(backprop.by_autograd, x, y, args, 60)
    assert abs(mine[-1] - other[-1]) > 1e-6

    net = backprop.fold(parameters, x)                       # of all examples: then forward() has the same mean
    assert abs(names.loss_of(net, x, y) - backprop.forward(x, y, *parameters).loss) < 1e-5
    assert net(x)[0].shape == (len(x), names.V) and net(x)[1] is None


def test_smallest(tmp_path, monkeypatch, capsys):
    rng = random.Random(0)
    made_up = ["".join(rng.choices("abcdef", k=rng.randint(2, 6))) for _ in range(200)]
    monkeypatch.setattr(names, "load", lambda: made_up)
    backprop.main(["--steps", "20", "--compare", "5", "--out", str(tmp_path)])
    numbers = json.loads((tmp_path / "metrics.json").read_text())["numbers"]
    assert numbers["max_error"] < 1e-12 and numbers["curve_difference_nats"] < 1e-12
    assert 1 < numbers["dev_loss_nats"] < 3.3
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    backprop.Net(**saved["config"]).load_state_dict(saved["weights"])
    assert "the first 5 of these steps again" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--batch 2"):
        backprop.main(["--batch", "1"])
