"""
The bigram: its counts against a loop, its loss and gradient against torch's, both ways to the same table; and the
exercises in broadcasting: the solution passes, and each plausible wrong answer is named.

In float64 two right answers differ by rounding alone, so 1e-12 still convicts a wrong term.
"""

import json
import types

import pytest
import torch
import torch.nn.functional as F

from bpe import datasets
from makemore import bigram, broadcasting, names
from makemore import solution_broadcasting as solution
from makemore.names import ALPHABET, V

SOME = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "zoe", "quinn", "jay", "max"]


def test_count_is_a_loop():
    got, want = bigram.count(*names.examples(SOME, 1)), torch.zeros(V, V)
    for name in SOME:
        for a, b in zip("." + name, name + "."):
            want[ALPHABET.index(a), ALPHABET.index(b)] += 1
    assert torch.equal(got, want)


def test_table_is_a_distribution_of_the_letter_that_follows():
    counts = bigram.count(*names.examples(SOME, 1))
    for smoothing in (0.5, 1, 100):
        p = bigram.log_table(counts, smoothing).exp()
        torch.testing.assert_close(p.sum(1), torch.ones(V))
        row, column = ALPHABET.index("q"), ALPHABET.index("u")
        assert p[row, column].item() == pytest.approx((1 + smoothing) / (1 + V * smoothing))


def random_model():
    generator = torch.Generator().manual_seed(0)
    model = bigram.Bigram().double()
    model.W.data = torch.randn(V, V, generator=generator, dtype=torch.float64)
    idx = torch.randint(V, (7, 3), generator=generator)
    return model, idx, torch.randint(V, (7,), generator=generator)


def test_loss_and_gradient_are_torchs():
    """The logits are the row of the last letter; the gradient is p - onehot(target) of each, in that letter's row."""
    model, idx, targets = random_model()
    logits, loss = model(idx, targets)
    loss.backward()
    W = model.W.detach().clone().requires_grad_()
    want = F.cross_entropy(W[idx[:, -1]], targets)
    want.backward()
    for name, a, b in [("logits", logits, W[idx[:, -1]]), ("loss", loss, want), ("dW", model.W.grad, W.grad)]:
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}")
    by_hand = torch.zeros_like(W)
    for row, target in zip(idx[:, -1], targets):
        by_hand[row] += (W[row].softmax(0) - F.one_hot(target, V)).detach() / len(idx)
    torch.testing.assert_close(model.W.grad, by_hand, rtol=0, atol=1e-12)
    assert (W[idx[:, 0]] - logits).abs().max() > 1e-2, "has teeth: the first letter's row is another"


def test_descent_arrives_where_counting_does(capsys):
    """The loss is convex, and its lowest value is that of the counts without smoothing; never below it."""
    x, y = names.examples(SOME, 1)
    best = -bigram.log_table(bigram.count(x, y), 0)[x[:, 0], y].mean().item()
    model = bigram.Bigram()
    bigram.descend(model, x, y, steps=2000, rate=20)
    assert best < names.loss_of(model, x, y) < best + 5e-3
    assert "step     1/2000 | loss 3.2958" in capsys.readouterr().out


def test_script(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(names, "load", lambda: SOME * 3)
    pytest.importorskip("matplotlib")
    bigram.main(["--steps", "3", "--out", str(tmp_path)])
    numbers = json.loads((tmp_path / "metrics.json").read_text())["numbers"]
    keys = {f"{how}{part}_loss_nats" for how in ("", "learned_") for part in ("train", "dev", "test")}
    assert set(numbers) == keys | {"all_loss_nats"}
    assert (tmp_path / "counts.png").stat().st_size > 10_000
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    model = bigram.Bigram(**saved["config"])
    model.load_state_dict(saved["weights"])
    _, dev, _ = names.split(SOME * 3)
    assert names.loss_of(model, *names.examples(dev, 1)) == pytest.approx(numbers["dev_loss_nats"])
    assert "a uniform guess loses 3.2958" in capsys.readouterr().out


@pytest.mark.parametrize("args", [["--steps", "0"], ["--smoothing", "0"]], ids=" ".join)
def test_refuses(args):
    with pytest.raises(SystemExit, match="Use --steps"):
        bigram.main(args)


@pytest.mark.data
def test_published_figure():
    """2.454 nats on all names (Karpathy, makemore, lecture 1), and the same of a table that never saw dev."""
    if datasets.here("names") == "no":
        pytest.skip("no DATA_MIRROR or cache with names")
    everything = names.load()
    train, dev, _ = names.split(everything)
    for counted, scored, smoothing, at_most in [(everything, everything, 0, 2.4545), (train, dev, 1, 2.455)]:
        x, y = names.examples(scored, 1)
        table = bigram.log_table(bigram.count(*names.examples(counted, 1)), smoothing)
        assert 2.45 < -table[x[:, 0], y].mean() < at_most


def learner(**wrong):
    """The solution with some functions replaced; None: left out."""
    functions = {name: getattr(solution, name) for name in broadcasting.CHECKS} | wrong
    return types.SimpleNamespace(**{name: f for name, f in functions.items() if f})


def test_solution_passes(capsys):
    broadcasting.main(["--check", solution.__file__])
    assert capsys.readouterr().out.count("is right") == 5
    assert all(broadcasting.faults(solution, seed) == {} for seed in range(20))


def leaking(words, context):
    text = torch.tensor([0] * context + [ALPHABET.index(c) for word in words for c in word + "."])
    windows = text.unfold(0, context + 1, 1)
    return windows[:, :-1], windows[:, -1]


def torn(x, y, size, generator):
    return (x[torch.randint(len(x), (size,), generator=generator)],
            y[torch.randint(len(x), (size,), generator=generator)])


def in_place(counts):
    whole = counts.sum(1, keepdim=True).clone()
    return counts.copy_(counts / whole)


def pick(high=None, generated=True):
    def batch(x, y, size, generator):
        at = torch.randint(high or len(x), (size,), generator=generator if generated else None)
        return x[at], y[at]
    return batch


def naive(logits, targets):
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -p[torch.arange(len(p)), targets].log().mean()


WRONG = {
    "normalize": [(lambda c: c / c.sum(1), "keepdim"), (lambda c: c / c.sum(0), "columns"), (in_place, "changes"),
                  (lambda c: c / c.sum(), "differs"), (lambda c: (c / c.sum(1, keepdim=True)).tolist(), "list"),
                  (None, "missing")],
    "one_hot": [(lambda i, n: i[..., None] == torch.arange(n), "bool"), (lambda i, n: torch.eye(n + 1)[i], "shape"),
                (lambda i, n: (i[:, None] == torch.arange(n)).float(), "stops with|shape"),
                (lambda i, n: torch.eye(n)[(i + 1) % n], "differs")],
    "examples": [(leaking, "right for the first word"), (lambda w, c: names.examples(w, c)[::-1], "shape"),
                 (lambda w, c: (names.examples(w, c)[0].flip(1), names.examples(w, c)[1]), "differs")],
    "batch": [(torn, "tears"), (pick(high=5), "never draws row 5"), (pick(generated=False), "generator"),
              (lambda x, y, s, g: pick()(x, y, s - 1, g), "shape")],
    "loss": [(naive, "size 1000: exp"), (lambda l, t: F.cross_entropy(l, t, reduction="sum"), "differs"),
             (lambda l, t: F.cross_entropy(l, t, reduction="none"), "shape"),
             (lambda l, t: F.cross_entropy(l.softmax(1), t), "differs")],
}


@pytest.mark.parametrize("name, wrong, says", [(n, f, s) for n, cases in WRONG.items() for f, s in cases])
def test_names_what_is_wrong(name, wrong, says):
    found = broadcasting.faults(learner(**{name: wrong}))
    assert set(found) == {name}
    assert any(part in found[name] for part in says.split("|")), found[name]


def test_the_check_as_a_command(tmp_path, capsys):
    mine = tmp_path / "mine.py"
    with pytest.raises(SystemExit, match="no .*mine.py"):
        broadcasting.main(["--check", str(mine)])
    mine.write_text("def normalize(counts):\n    return counts / counts.sum(1)\n")
    with pytest.raises(SystemExit, match="5 of 5 wrong"):
        broadcasting.main(["--check", str(mine)])
    out = capsys.readouterr().out
    assert "keepdim" in out and "loss       is missing" in out
    broadcasting.main([])
    task = capsys.readouterr().out
    assert all(f"\n{name}(" in task for name in broadcasting.CHECKS)
