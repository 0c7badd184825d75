"""
Names as numbers: examples against a loop, the split, the loss of many batches, drawing; and sample.py, which
reads what the scripts of this folder save.
"""

import pytest
import torch

from bpe import datasets
from makemore import bigram, mlp, names, sample
from makemore.names import ALPHABET, V

SOME = ["emma", "olivia", "ava", "b", "zoe", "quinn", "jay", "max", "mia", "isabella"]


@pytest.mark.parametrize("context", [1, 2, 3, 8])
def test_examples_are_a_loop(context):
    want = []
    for name in SOME:
        before = "." * context
        for letter in name + ".":
            want.append((before, letter))
            before = before[1:] + letter
    x, y = names.examples(SOME, context)
    assert x.dtype == y.dtype == torch.int64 and x.is_contiguous()
    assert [("".join(ALPHABET[i] for i in row), ALPHABET[j]) for row, j in zip(x.tolist(), y.tolist())] == want


def test_split():
    many = [f"name{i}" for i in range(100)]
    train, dev, test = names.split(many)
    assert (len(train), len(dev), len(test)) == (80, 10, 10)
    assert sorted(train + dev + test) == sorted(many) and train != many[:80]
    assert names.split(many) == (train, dev, test) and many[0] == "name0"


@pytest.mark.data
def test_the_real_split():
    if datasets.here("names") == "no":
        pytest.skip("no DATA_MIRROR or cache with names")
    everything = names.load()
    assert len(everything) == 32033 and [len(part) for part in names.split(everything)] == [25626, 3203, 3204]
    assert len(names.examples(everything, 3)[1]) == 228146


class Fixed(torch.nn.Module):
    """Writes `word` letter by letter, for ever if it has no end; remembers in which mode it was called."""

    def __init__(self, word):
        super().__init__()
        self.word, self.modes = word, set()

    def forward(self, idx, targets=None):
        self.modes.add(self.training)
        said = int((idx[0] != 0).sum())
        logits = torch.full((len(idx), V), -1e9)
        logits[:, ALPHABET.index(self.word[said % len(self.word)])] = 0
        return logits, None


def test_generate():
    generator = torch.Generator().manual_seed(0)
    model = Fixed("emma.")
    assert names.generate(model, 3, 8, generator) == ["emma"] * 3
    assert model.modes == {False} and model.training
    assert names.generate(Fixed("a"), 2, 3, generator, longest=7) == ["a" * 7] * 2


def test_loss_of_is_the_mean_of_all():
    """Over batches of unequal size, and the mode is given back."""
    model = mlp.MLP(3, 2, 4, torch.Generator().manual_seed(0)).double()
    x, y = names.examples(SOME, 3)
    want = model(x, y)[1].item()
    for batch in (7, len(x) - 1, 10**6):
        assert names.loss_of(model, x, y, batch) == pytest.approx(want, abs=1e-12)
    assert model.training


def save_models(folder):
    """A bigram that was counted on SOME and an MLP that was never trained."""
    table = bigram.Bigram()
    table.W.data = bigram.log_table(bigram.count(*names.examples(SOME, 1)), 0.01)
    names.save(folder / "bigram", "bigram", {}, table, context=1)
    config = dict(context=4, n_embd=2, n_hidden=5)
    names.save(folder / "mlp", "mlp", config, mlp.MLP(**config), context=4)
    return table


def test_sample_loads_what_was_saved(tmp_path):
    table = save_models(tmp_path)
    kind, model, context = sample.load(tmp_path / "bigram" / "model.pt")
    assert (kind, context) == ("bigram", 1) and torch.equal(model.W, table.W)
    kind, model, context = sample.load(tmp_path / "mlp" / "model.pt")
    assert (kind, context) == ("mlp", 4) and model.W1.shape == (8, 5)


def test_sample_script(tmp_path, monkeypatch, capsys):
    save_models(tmp_path)
    monkeypatch.setattr(names, "load", lambda: SOME)
    outputs = []
    for seed in ("0", "0", "1"):
        sample.main(["--runs", str(tmp_path), "--n", "8", "--seed", seed])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]
    assert "bigram" in outputs[0] and "mlp" in outputs[0] and "wavenet" not in outputs[0]
    sample.main([str(tmp_path / "mlp" / "model.pt"), "--n", "1"])
    assert "bigram" not in capsys.readouterr().out


def test_sort():
    known, real = {"emma", "ava"}, {"zoe", "ava"}           # a name of dev may stand in train as well
    assert sample.sort(["ava", "zoe", "xq", "emma", "xq"], known, real) == {
        "known from training": ["ava", "emma"], "real, never shown": ["zoe"], "new": ["xq", "xq"]}


def test_temperature_near_0_takes_the_likeliest(tmp_path):
    table = save_models(tmp_path)
    drawn = names.generate(table, 20, 1, torch.Generator().manual_seed(0), temperature=0.01)
    first = ALPHABET[table.W[0].argmax()]
    assert all(name.startswith(first) for name in drawn)


def test_errors(tmp_path):
    with pytest.raises(SystemExit, match=r"no .*model.pt. Train a model with\s+python makemore/bigram.py"):
        sample.main(["--runs", str(tmp_path)])
    with pytest.raises(SystemExit, match="temperature above 0"):
        sample.main(["--temperature", "0"])
    names.save(tmp_path, "gru", {}, bigram.Bigram(), context=1)
    with pytest.raises(SystemExit, match="'gru', none of"):
        sample.load(tmp_path / "model.pt")
