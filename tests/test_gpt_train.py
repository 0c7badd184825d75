"""
gpt/train.py: its plain setting is GPT-2, its Muon and AdamW are train's, every switch leaves it causal, and
validation counts every character once.
"""

import csv
import json
import math
from dataclasses import fields

import pytest
import torch
import torch.nn as nn

from gpt import ablation
from gpt import model as gpt2
from gpt import race
from gpt import train as script
from gpt.train import GPT, SETTINGS, AdamW, Config, Muon, batches, evaluate, factor, parse, reached
from train.adamw import AdamW as TrainAdamW
from train.muon import Muon as TrainMuon

LETTERS = list("abcdefg")


def build(setting="fast", **changes):
    """A small float64 model of a setting, its zero weights replaced by random ones."""
    torch.manual_seed(0)
    values = {f.name: SETTINGS[setting][f.name] for f in fields(Config)[1:]}
    values |= dict(layers=2, heads=2, width=16, context=12, dropout=0.0) | changes
    model = GPT(Config(len(LETTERS), **values)).double()
    for p in model.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.3)
    return model


def text(n=400, seed=1):
    return torch.randint(len(LETTERS), (n,), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def small(monkeypatch):
    """main() on a text of seven letters."""
    monkeypatch.setattr(script, "load", lambda: (LETTERS, text(2000), text(300, seed=2)))


# ---------------------------------------------------------------------------- the model

def twin(model):
    """gpt/model.py's GPT-2 with the weights of our plain model; nanoGPT's GELU is the exact one."""
    config = model.config
    shape = gpt2.GPTConfig(config.context, config.vocab, config.layers, config.heads, config.width, bias=False)
    other = gpt2.GPT(shape)
    other.double().load_state_dict({f"transformer.{k}" if k != "lm_head.weight" else k: w
                                    for k, w in model.state_dict().items()})
    for block in other.transformer.h:
        block.mlp.gelu = nn.GELU()
    return other


def test_plain_is_gpt2():
    """Logits and loss to rounding in float64, where 1e-12 convicts a wrong term."""
    model, x = build("plain"), text(24).view(2, 12)
    logits, loss = model(x, x)
    want, want_loss = twin(model)(x, x)
    torch.testing.assert_close(logits, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss, want_loss, rtol=0, atol=1e-12)


def test_plain_has_teeth():
    """The comparison turns down GPT-2's approximate GELU."""
    model, x = build("plain"), text(24).view(2, 12)
    other = twin(model)
    for block in other.transformer.h:
        block.mlp.gelu = nn.GELU(approximate="tanh")
    assert (model(x)[0] - other(x, x)[0]).abs().max() > 1e-7


def test_plain_is_as_large_as_nanogpt():
    """nanoGPT prints 0.80M for this setting, without the positions."""
    values = {f.name: SETTINGS["plain"][f.name] for f in fields(Config)[1:]}
    model = GPT(Config(65, **values))
    assert sum(p.numel() for p in model.parameters()) - model.wpe.weight.numel() == 795_904


SWITCHES = [{}, {"activation": "swiglu"}, {"activation": "gelu"}, {"position": "learned"}, {"norm": "layer"},
            {"qk_norm": False}, {"taps": 0}, {"taps": 5}, {"tie": True}]


@pytest.mark.parametrize("changes", SWITCHES, ids=str)
def test_causal(changes):
    """A later character changes no earlier logits, and does change its own."""
    model, x = build(**changes), text(12)[None]
    y = x.clone()
    y[0, 7] = (y[0, 7] + 1) % len(LETTERS)
    a, b = model(x)[0], model(y)[0]
    torch.testing.assert_close(a[:, :7], b[:, :7], rtol=0, atol=1e-14)
    assert (a[:, 7:] - b[:, 7:]).abs().amax(dim=(0, 2)).min() > 1e-6


@pytest.mark.parametrize("n", (1, 2, 3))
def test_shorter_than_the_taps(n):
    """A text of fewer characters than the embedding looks back over reads as the start of a longer one."""
    model, x = build(taps=3), text(12)[None]
    torch.testing.assert_close(model(x[:, :n])[0], model(x)[0][:, :n], rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ("gelu", "relu2", "swiglu"))
def test_activations_of_equal_size(activation):
    count = sum(p.numel() for p in build(activation=activation, width=96).parameters())
    assert abs(count / sum(p.numel() for p in build(width=96).parameters()) - 1) < 0.01


def test_starts_at_the_uniform_guess():
    torch.manual_seed(0)
    model = GPT(Config(7, context=12, width=16))
    assert model(text(12)[None], text(12)[None])[1].item() == pytest.approx(math.log(7), abs=1e-6)


# ---------------------------------------------------------------------------- the optimizers

def copies(*shapes):
    torch.manual_seed(0)
    ours = [torch.randn(s, dtype=torch.float64).requires_grad_() for s in shapes]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    return ours, theirs


@pytest.mark.parametrize("name", ("muon", "adamw"))
def test_optimizer_is_trains(name):
    """Five steps on random gradients, rates that change, several shapes: the same weights to rounding."""
    ours, theirs = copies((6, 4), (4, 6), (6, 4), (5, 5), *(((3,),) if name == "adamw" else ()))
    if name == "muon":
        a, b = Muon(ours), TrainMuon(theirs)
        a.m = {shape: m.double() for shape, m in a.m.items()}
    else:
        a, b = AdamW(ours, (0.9, 0.95), 0.0), TrainAdamW(theirs, betas=(0.9, 0.95))
    for step in range(1, 6):
        for p, q in zip(ours, theirs):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        a.step(0.1 / step)
        b.lr = 0.1 / step
        b.step()
    for p, q in zip(ours, theirs):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-10)


def test_optimizer_comparison_has_teeth():
    """Muon without the factor for tall matrices is told apart."""
    ours, theirs = copies((6, 4))
    ours[0].grad = theirs[0].grad = torch.randn(6, 4, dtype=torch.float64)
    a, b = Muon(ours), TrainMuon(theirs)
    a.m = {shape: m.double() for shape, m in a.m.items()}
    a.step(0.1 / 1.5**0.5)
    b.lr = 0.1
    b.step()
    assert (ours[0] - theirs[0]).abs().max() > 1e-3


def test_adamw_decays_matrices_alone():
    ours, _ = copies((3, 3), (3,))
    before = [p.detach().clone() for p in ours]
    for p in ours:
        p.grad = torch.zeros_like(p)
    AdamW(ours, (0.9, 0.99), 0.1).step(0.5)
    torch.testing.assert_close(ours[0].detach(), before[0] * 0.95)
    assert torch.equal(ours[1], before[1])


@pytest.mark.parametrize("step", (1, 50, 100, 101, 1000, 2000))
def test_cosine_is_nanogpts(step):
    """nanoGPT counts steps from 0, with 100 of warm-up, and a tenth of the peak at the end."""
    it, warmup, end = step - 1, 100, 2000
    want = (it + 1) / (warmup + 1) if it < warmup else \
        0.1 + 0.5 * (1 + math.cos(math.pi * (it - warmup) / (end - warmup))) * 0.9
    assert factor("cosine", step, end) == pytest.approx(want, abs=1e-3)


# ---------------------------------------------------------------------------- data and validation

def test_epoch_has_each_window_once():
    """Inputs and targets are neighbours in the text; one epoch's rows do not overlap."""
    ids = torch.arange(1000)
    args = parse(["--context", "12", "--batch", "5"])
    feed, seen = batches(ids, args, torch.Generator().manual_seed(3)), []
    for _ in range(16):                                      # an epoch has 82 or 83 windows
        x, y = next(feed)
        assert torch.equal(x + 1, y)
        seen += x.flatten().tolist()
    assert len(set(seen)) == len(seen) == 16 * 60


@pytest.mark.parametrize("n", (25, 26, 31, 37))
def test_validation_counts_every_character_once(n):
    """The mean over all characters but the first, each seen after those of its own window, whatever is left over."""
    model, ids, total = build(), text(n), 0.0
    for i in range(1, n):
        start = (i - 1) // 12 * 12
        logits = model(ids[None, start:i])[0][0, -1]
        total -= logits.log_softmax(0)[ids[i]].item()
    assert evaluate(model, ids, "cpu") == pytest.approx(total / (n - 1), abs=1e-12)


def test_reached():
    model, ids = build(), text(300)
    loss = evaluate(model, ids, "cpu")
    assert reached(model, ids, loss + 0.5, "cpu") == pytest.approx(loss)
    assert reached(model, ids, loss - 0.5, "cpu") is None


# ---------------------------------------------------------------------------- the script

SMALL = ["--layers", "1", "--heads", "1", "--width", "8", "--context", "8", "--batch", "4", "--sample", "20"]


@pytest.mark.parametrize("setting", ([], ["--plain"], ["--long"], ["--large"]), ids=str)
def test_main(small, tmp_path, capsys, setting):
    script.main([*setting, *SMALL, "--steps", "6", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "a uniform guess loses 1.9459 nats" in out and "validation" in out
    rows = list(csv.DictReader(open(tmp_path / "log.csv")))
    numbers = json.loads((tmp_path / "metrics.json").read_text())["numbers"]
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert float(rows[-1]["valid_loss_nats"]) == pytest.approx(numbers["valid_loss_nats"], abs=1e-5)
    assert numbers["tokens"] == 6 * 32


def test_learns(small, tmp_path, monkeypatch):
    """A text that repeats seven letters is learned to almost nothing."""
    ids = torch.arange(2000) % 7
    monkeypatch.setattr(script, "load", lambda: (LETTERS, ids, ids[:300]))
    script.main([*SMALL, "--steps", "60", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "metrics.json").read_text())["numbers"]["valid_loss_nats"] < 0.2


def test_target_stops(small, tmp_path, monkeypatch, capsys):
    ids = torch.arange(2000) % 7
    monkeypatch.setattr(script, "load", lambda: (LETTERS, ids, ids[:300]))
    script.main([*SMALL, "--steps", "400", "--eval-every", "10", "--target", "1.0", "--out", str(tmp_path)])
    numbers = json.loads((tmp_path / "metrics.json").read_text())["numbers"]
    assert numbers["steps"] < 400 and numbers["valid_loss_nats"] <= 1.0
    script.main([*SMALL, "--steps", "2", "--target", "0.01", "--out", str(tmp_path)])
    assert "the target was not reached" in capsys.readouterr().out


def test_the_same_seed_the_same_losses(small, tmp_path):
    logs = []
    for name in "ab":
        script.main([*SMALL, "--steps", "5", "--seed", "3", "--out", str(tmp_path / name)])
        logs.append([row["loss_nats"] for row in csv.DictReader(open(tmp_path / name / "log.csv"))])
    assert logs[0] == logs[1]


@pytest.mark.parametrize("wrong", (["--width", "10"], ["--steps", "0"], ["--activation", "tanh"]), ids=str)
def test_bad_arguments(wrong, capsys):
    with pytest.raises(SystemExit) as error:
        parse(wrong)
    assert error.value.code == 2


def test_context_too_long(small):
    with pytest.raises(SystemExit, match="Use less"):
        script.main(["--context", "64"])


def test_race_without_nanogpt(tmp_path):
    with pytest.raises(SystemExit, match="git clone"):
        race.main(["--nanogpt", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])


def test_race_scores_their_weights(tmp_path, monkeypatch):
    """A checkpoint in nanoGPT's form has the loss that our plain model with those weights has."""
    torch.manual_seed(0)
    model = GPT(Config(65, **{f.name: SETTINGS["plain"][f.name] for f in fields(Config)[1:]}))
    ids = torch.randint(65, (500,))
    monkeypatch.setattr(race, "load", lambda: (None, None, ids))
    names = {k if k == "lm_head.weight" else f"transformer.{k}": w for k, w in model.state_dict().items()}
    torch.save({"model": names, "iter_num": 2000, "config": {"n_layer": 4}}, tmp_path / "ckpt.pt")
    assert race.score(tmp_path / "ckpt.pt") == pytest.approx(evaluate(model, ids, "cpu"))


@pytest.mark.data
def test_ablation(tmp_path, monkeypatch, capsys):
    """A table of means; a run that is there is not run again; a wrong flag is named."""
    monkeypatch.setattr(ablation, "ROWS", {"nothing": SMALL[:-2]})
    for _ in range(2):
        ablation.main(["--steps", "2", "--seeds", "1", "--out", str(tmp_path)])
        numbers = json.loads((tmp_path / "metrics.json").read_text())["numbers"]["nothing"]
        assert len(numbers["valid_loss_nats"]) == 1 and 3 < numbers["valid_loss_nats"][0] < 4.5
        monkeypatch.setattr(ablation.subprocess, "run", None)
    monkeypatch.undo()
    monkeypatch.setattr(ablation, "ROWS", {"nothing": ["--taps", "many"]})
    with pytest.raises(SystemExit, match="invalid int value"):
        ablation.main(["--steps", "2", "--seeds", "1", "--out", str(tmp_path)])
