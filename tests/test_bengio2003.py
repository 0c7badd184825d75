"""
Bengio's network: eq. 1 against a loop over its sums, the estimated softmax against the whole one, mixtures, and a
run that was cut off against one that was not. float64 throughout, in which two right answers differ by rounding
alone; 1e-12 still convicts a wrong term.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from makemore import bengio2003, bengio2003_table
from makemore.bengio2003 import Bengio, chances, logprob
from makemore.bengio2003_mix import mix, perplexity
from makemore.ngram import JelinekMercer, mixture

V, N, M, HIDDEN = 23, 4, 5, 7
KINDS = {"hidden": {}, "both": {"direct": True}, "direct": {"h": 0, "direct": True}, "tied": {"tied": True}}


def make(seed=0, **given):
    """A network with no number left at zero, and a batch: (model, idx, targets)."""
    torch.manual_seed(seed)
    model = Bengio(**{"vocab": V, "n": N, "m": M, "h": HIDDEN, **given}).double()
    for p in model.parameters():
        torch.nn.init.normal_(p)
    return model, torch.randint(V, (9, N - 1)), torch.randint(V, (9,))


def slow(model, context):
    """Eq. 1 for one context, one number at a time: y (V,)."""
    x = [model.C[word, i] for word in context for i in range(M)]
    hidden = []
    if model.hidden is not None:
        for H, d in zip(model.hidden.weight, model.hidden.bias):
            hidden.append(torch.tanh(d + sum(w * a for w, a in zip(H, x))))
    if model.P is not None:
        U = model.C @ model.P.weight                             # (V, h): U = C P
        W = None
    else:
        U, W = model.UW[:, :len(hidden)], model.UW[:, len(hidden):]
    y = []
    for word in range(V):
        y.append(model.b[word] + sum(u * a for u, a in zip(U[word], hidden)))
        if W is not None and W.shape[1]:
            y[-1] = y[-1] + sum(w * a for w, a in zip(W[word], x))
    return torch.stack(y)


@pytest.mark.parametrize("kind", KINDS)
def test_equation_1(kind):
    model, idx, targets = make(**KINDS[kind])
    want = torch.stack([slow(model, context) for context in idx])
    logits, loss = model(idx, targets)
    torch.testing.assert_close(logits, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss, F.cross_entropy(want, targets), rtol=0, atol=1e-12)
    wrong = torch.stack([slow(model, context) for context in idx.flip(1)])
    assert (logits - wrong).abs().max() > 1e-2                   # the order of the words matters


def test_direct_connections_of_zero_are_none():
    model, idx, _ = make(direct=True)
    with torch.no_grad():
        model.UW[:, HIDDEN:] = 0
    plain, *_ = make()
    state = {**model.state_dict(), "UW": model.UW[:, :HIDDEN]}
    plain.load_state_dict(state)
    torch.testing.assert_close(model(idx)[0], plain(idx)[0], rtol=0, atol=1e-12)


def test_impossible_networks_are_refused():
    for given in ({"h": 0}, {"tied": True, "direct": True}, {"tied": True, "h": 0}):
        with pytest.raises(ValueError):
            make(**given)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities(kind):
    """logprob() is the model's own softmax, word by word, and sums to one over the vocabulary."""
    model, *_ = make(**KINDS[kind])
    ids = torch.randint(V, (40,))
    got = logprob(model, ids, batch=16)                          # 40 = 16 + 16 + 8
    windows = torch.cat([torch.zeros(N - 1, dtype=torch.int64), ids]).unfold(0, N, 1)
    want = F.log_softmax(model(windows[:, :-1])[0], dim=1).gather(1, ids[:, None])[:, 0]
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=0, atol=1e-12)
    alike = [np.exp(logprob(model, torch.cat([ids[:10], torch.tensor([w])]))[-1]) for w in range(V)]
    assert abs(sum(alike) - 1) < 1e-12


def gradients(model, loss):
    names, parameters = zip(*model.named_parameters())
    return dict(zip(names, torch.autograd.grad(loss, parameters)))


@pytest.mark.parametrize("kind", KINDS)
def test_all_words_drawn_is_the_whole_softmax(kind):
    model, idx, targets = make(**KINDS[kind])
    want, chance = model(idx, targets)[1], torch.ones(V, dtype=torch.float64)
    got = model.estimate(idx, targets, torch.randperm(V), chance)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    theirs, ours = gradients(model, want), gradients(model, got)
    for name, g in ours.items():
        torch.testing.assert_close(g, theirs[name], rtol=0, atol=1e-12, msg=lambda m: f"{name}: {m}")


def test_drawn_words_stand_for_all():
    """
    On average over draws, the estimated sum over the words but the target is the sum; without the weights
    1 / chance it is not, and the loss and its gradient come near the whole softmax's: log of a mean of many.
    """
    model, idx, targets = make()
    with torch.no_grad():
        for p in model.parameters():
            p *= 0.3
    chance = chances(torch.arange(1, V + 1).double(), 12)
    g = torch.Generator().manual_seed(1)
    draws = [(torch.rand(V, generator=g) < chance).nonzero()[:, 0] for _ in range(4000)]
    want, logits = model(idx, targets)[1], model(idx)[0].detach()
    others = logits.exp().scatter(1, targets[:, None], 0).sum(1)                # (B,) but the target
    weighed = logits.exp().scatter(1, targets[:, None], 0) / chance             # (B, V)
    sums = torch.stack([weighed[:, d].sum(1) for d in draws]).mean(0)
    assert ((sums / others - 1).abs() < 0.03).all()
    bare = torch.stack([(weighed * chance)[:, d].sum(1) for d in draws]).mean(0)
    assert ((bare / others - 1).abs() > 0.2).all()
    mean = torch.stack([model.estimate(idx, targets, d, chance) for d in draws[:600]]).mean()
    assert abs(mean - want) < 0.05
    theirs, ours = gradients(model, want), gradients(model, mean)
    for name in ours:
        assert (ours[name] - theirs[name]).norm() < 0.15 * theirs[name].norm(), name


def test_chances():
    counts = torch.tensor([100000.0, 5000.0] + [3.0] * 200)
    chance = chances(counts, 60)
    assert abs(chance.sum() - 60) < 1e-3 and chance.max() == 1 and chance.min() > 0
    assert chance[0] == chance[1] == 1 and (chance[2:] == chance[2]).all()
    assert (chances(counts, 500) == 1).all()


def test_dropout():
    """A share p is gone, what is left grows so that the mean stays; without a generator nothing happens."""
    g, x = torch.Generator().manual_seed(0), torch.ones(300, 301)
    y = bengio2003.drop(x, 0.25, g)
    assert abs((y == 0).double().mean() - 0.25) < 0.01 and abs(y.mean() - 1) < 0.01
    assert len(y.unique()) == 2
    assert bengio2003.drop(x, 0.25, None) is x


# ---------------------------------------------------------------------------------------------------
# Mixtures and the interpolated n-gram


def test_mix():
    a, b = np.log([0.5, 1e-3, 0.2]), np.log([0.1, 1e-9, 0.2])
    np.testing.assert_allclose(np.exp(mix(a, b)), [0.3, 5.000005e-4, 0.2], rtol=1e-12)
    np.testing.assert_allclose(np.exp(mix(a, b, np.array([0.25, 1.0, 0.0]))), [0.2, 1e-3, 0.2], rtol=1e-12)
    far = mix(np.array([-2000.0]), np.array([-2001.0]))          # where probabilities are 0 in float64
    np.testing.assert_allclose(far, -2000 + np.log((1 + np.exp(-1)) / 2), rtol=1e-12)


def test_mixture_weights_are_the_best():
    """EM ends where no other weight is better, bin by bin; a bin without tokens weighs both alike."""
    rng = np.random.default_rng(0)
    p, bins = rng.uniform(0.01, 1, (500, 2)), rng.integers(0, 3, 500)
    p[bins == 1, 0] **= 3
    weights = mixture(p, bins, 4, rounds=500)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(weights[3], 0.5, atol=1e-12)
    assert abs(weights[0, 0] - weights[1, 0]) > 0.1
    for i in range(3):
        grid = np.linspace(0.001, 0.999, 999)
        loss = [-np.log(p[bins == i] @ [w, 1 - w]).mean() for w in grid]
        assert abs(grid[np.argmin(loss)] - weights[i, 0]) < 2e-3


def test_jelinek_mercer():
    """Against relative frequencies counted anew, and a probability in every context, one never seen included."""
    rng = np.random.default_rng(1)
    train, held = rng.integers(0, 6, 300) ** 2 // 5, rng.integers(0, 6, 80) ** 2 // 5
    model = JelinekMercer(3, 6).fit(train)
    before = -model.logprob(held).mean()
    nats = model.tune(held)
    assert nats < before - 0.01 and nats == pytest.approx(-model.logprob(held).mean(), abs=1e-12)
    p, bins = model.estimates(held)
    text, t = train.tolist(), 40
    for n in (1, 2, 3):
        gram = held[t - n + 1:t + 1].tolist()
        context = sum(text[i:i + n - 1] == gram[:-1] for i in range(len(text) - n + 1))
        whole = sum(text[i:i + n] == gram for i in range(len(text) - n + 1))
        assert p[t, n] == pytest.approx(whole / context if context else p[t, n - 1], abs=1e-12)
    assert bins[t] == max(0, np.ceil(-np.log((1 + context) / len(text))))
    for context in ([0, 1], [5, 5], [2, 3]):
        assert sum(np.exp(model.logprob(np.array(context + [w]))[-1]) for w in range(6)) == pytest.approx(1, abs=1e-12)


# ---------------------------------------------------------------------------------------------------
# Training


def learn(state=None, deadlines=(np.inf,), steps=7, monkeypatch=None, **given):
    """Train on a little text, cut off after each of `deadlines` steps but the last; returns the model."""
    ids = torch.randint(V, (200,), generator=torch.Generator().manual_seed(5)) ** 2 // V
    for after in deadlines:
        torch.manual_seed(3)
        model = Bengio(**{"vocab": V, "n": N, "m": M, "h": HIDDEN, **given})
        clock = iter(range(10**6))
        monkeypatch.setattr(bengio2003, "time", SimpleNamespace(time=lambda: next(clock)))
        done = bengio2003.train(model, ids, steps, 0, state, after)
        assert done == (after == np.inf)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_resume_gives_the_same_bits(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(bengio2003, "BATCH", 48)                 # 4 steps an epoch: cut inside and between epochs
    monkeypatch.setattr(bengio2003, "DRAWN", 9)
    whole = learn(monkeypatch=monkeypatch, **KINDS[kind])
    parts = learn(tmp_path / "state.pt", (3, 3, np.inf), monkeypatch=monkeypatch, **KINDS[kind])
    for (name, a), b in zip(whole.named_parameters(), parts.parameters()):
        assert torch.equal(a, b), name
    other = learn(steps=6, monkeypatch=monkeypatch, **KINDS[kind])
    assert not torch.equal(whole.C, other.C)


def test_learns_a_rule(monkeypatch):
    """The next word is the sum of the last two: seen by the network, though most sums come in no unigram."""
    monkeypatch.setattr(bengio2003, "DRAWN", 4)
    monkeypatch.setattr(bengio2003, "RATE", 0.02)
    monkeypatch.setattr(bengio2003, "BATCH", 64)
    rng = np.random.default_rng(0)
    ids = [1, 2]
    while len(ids) < 3000:
        ids.append((ids[-1] + ids[-2]) % 7 if rng.random() < 0.9 else int(rng.integers(7)))
    ids = torch.tensor(ids)
    torch.manual_seed(0)
    model = Bengio(7, 3, 16, 64, dropout=(0.0, 0.0))
    bengio2003.train(model, ids, 600, 0)
    assert perplexity(logprob(model, ids)) < 2.5      # the rule alone: 1.7; a unigram: 7


# ---------------------------------------------------------------------------------------------------
# The commands, on a made-up corpus


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    words = ["w0", "<unk>"] + [f"w{i}" for i in range(1, 150)]
    rng = np.random.default_rng(0)
    for split, lines in (("train", 300), ("valid", 60), ("test", 60)):
        path = tmp_path / "wikitext-2" / f"wiki.{split}.tokens"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(" ".join(words[int(151 * u * u)] for u in rng.random(12)) for _ in range(lines)))
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return tmp_path


def test_load(corpus):
    ids, vocab = bengio2003.load(100)
    assert len(vocab) == 100 and "<unk>" in vocab and "<eos>" in vocab
    text = (corpus / "wikitext-2" / "wiki.valid.tokens").read_text().splitlines()[0].split() + ["<eos>"]
    assert [vocab[i] for i in ids["valid"][:13]] == [w if w in vocab else "<unk>" for w in text]
    assert len(ids["train"]) == 300 * 13


def test_demo(corpus, capsys, monkeypatch):
    monkeypatch.setattr(bengio2003, "WORDS", ("w0", "nowhere"))
    bengio2003.main(["--vocab", "100", "--steps", "3", "--order", "3", "--out", str(corpus / "out")])
    numbers = json.loads((corpus / "out" / "metrics.json").read_text())["numbers"]
    assert 1 < numbers["test_perplexity_kneser_ney"] < 100 and "below_ngram" in numbers
    assert "like w0:" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--vocab"):
        bengio2003.main(["--vocab", "5"])


def test_table_goes_on_where_it_stopped(corpus, capsys):
    argv = ["--vocab", "100", "--epochs", "1", "--out", str(corpus / "table"), "--only", "MLP9", "tied5"]
    bengio2003_table.main(argv + ["--minutes", "0"])
    assert "goes on" in capsys.readouterr().out
    bengio2003_table.main(argv)
    first = (corpus / "table" / "table.md").read_text()
    assert "| MLP9 | 5 | 100 | 30 | no |" in first and "(276)" in first and "Kneser-Ney" in first
    kept = json.loads((corpus / "table" / "table.json").read_text())
    bengio2003_table.main(argv)
    assert "step" not in capsys.readouterr().out.split("wrote")[-2]
    assert json.loads((corpus / "table" / "table.json").read_text()) == kept
    with pytest.raises(SystemExit, match="another place"):
        bengio2003_table.main([*argv, "--seed", "1"])
