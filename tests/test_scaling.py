"""
The sweep of eval/scaling.py: its grid, its texts, one real run that is made once, and what is made of a table.
"""

import json
import math

import pytest
import torch

from bpe.bpe import Tokenizer
from bpe.datasets import fetch
from eval import fits, scaling
from gpt.kinds import build


def arguments(out, *more):
    return scaling.parse(["--text", "embedded", "--sizes", "2x16", "2x24", "2x32", "--held-out", "2x40", "--jobs", "1",
                          "--tokens", "1024", "2048", "--documents", "6", "--out", str(out), "--no-picture", *more])


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Texts, and one run of four steps: (args, folder of texts, row)"""
    args = arguments(tmp_path_factory.mktemp("scaling"))
    folder = scaling.prepare(args)
    return args, folder, scaling.one(args, folder, "2x16", 2048)


def test_the_grid_is_what_it_claims():
    costs = [scaling.cost(size) for size in scaling.SIZES]
    assert len(costs) >= 8 and len(scaling.TOKENS) >= 4 and costs == sorted(costs)
    assert costs[-1][0] > 100 * costs[0][0] and scaling.cost(scaling.HELD_OUT)[0] > 1.9 * costs[-1][0]
    model = build(scaling.shape("2x32"))
    outside = sum(p.numel() for name, p in model.named_parameters() if "embed_tokens" not in name)
    assert scaling.cost("2x32")[0] == outside


def test_a_run_is_made_once(swept, monkeypatch):
    args, folder, row = swept
    assert row["parameters"] == scaling.cost("2x16")[0] and row["tokens"] == 2048
    assert row["floor_nats"] < row["loss_nats"] < math.log(scaling.VOCABULARY) + 0.5 and row["epochs"] < 1
    assert not (args.out / "runs/2x16_2048_seed0/run").exists()
    monkeypatch.setattr(scaling, "run", lambda *a, **k: pytest.fail("made again"))
    assert scaling.one(args, folder, "2x16", 2048) == row and scaling.prepare(args) == folder
    monkeypatch.setitem(scaling.RATES, "--adamw-lr", 1.0)
    with pytest.raises(SystemExit, match="other settings"):
        scaling.one(args, folder, "2x16", 2048)
    with pytest.raises(SystemExit, match="holds other texts"):
        scaling.prepare(arguments(args.out, "--documents", "7"))


def test_the_floor_is_the_entropy_of_the_text(swept):
    """In nats a token, document ends counted as tokens: what no model can go below."""
    args, folder, row = swept
    records = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    tokenizer = Tokenizer.load(folder / "tokenizer")
    count = sum(len(tokenizer.encode(record["text"])) + 1 for record in records)
    assert row["floor_nats"] == pytest.approx(sum(record["bits"] for record in records) * math.log(2) / count)
    train = {json.loads(line)["text"] for line in (folder / "train.jsonl").read_text().splitlines()}
    assert len(records) == 6 and not train & {record["text"] for record in records}


def test_measure_of_a_model_that_knows_nothing(swept, monkeypatch):
    """Equal logits lose ln V on every token, the ends of documents included."""
    _, folder, _ = swept
    model = build(scaling.shape("2x16")).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight.zero_()
    monkeypatch.setattr(scaling, "load_model", lambda path: (model, Tokenizer.load(folder / "tokenizer"), {}))
    assert scaling.measure(None, folder / "test.jsonl")["loss_nats"] == pytest.approx(math.log(scaling.VOCABULARY))


def test_what_is_made_of_the_rows(tmp_path, monkeypatch, capsys):
    """The table, the metrics that the checklist reads, the pictures; every pair once and the longest first."""
    pytest.importorskip("matplotlib")
    asked, made = [], fits.synthetic()
    (tmp_path / "text").mkdir()
    (tmp_path / "text/asked.json").write_text("{}")
    monkeypatch.setattr(scaling, "prepare", lambda args: None)

    def one(args, folder, size, tokens):
        asked.append((size, tokens))
        number = 32 if size == args.held_out else args.tokens.index(tokens) + 4 * args.sizes.index(size)
        return made[number] | {"size": size, "seconds": 1.0, "epochs": 1.5}

    monkeypatch.setattr(scaling, "one", one)
    scaling.main(["--out", str(tmp_path)])
    assert len(set(asked)) == len(asked) == 33 and asked[0] == (scaling.HELD_OUT, 2_000_000)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["numbers"]["extrapolation_error"] < 0.03 and metrics["numbers"]["floor_nats"] == 1.0
    assert metrics["numbers"]["hoffmann_alpha_low"] < metrics["numbers"]["hoffmann_alpha"]
    assert (tmp_path / "laws.png").exists() and (tmp_path / "valleys.png").exists()
    said = capsys.readouterr().out
    assert "best N over C" in said and "read up to 1.5 times" in said
    fits.main(["--table", str(tmp_path / "table.json"), "--draws", "5"])
    assert "held out" in capsys.readouterr().out


def test_predict_says_how_long(tmp_path, capsys):
    scaling.main(["--sizes", "2x16", "--held-out", "2x24", "--predict", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert "2x24" in said and "minutes with --jobs" in said and not list(tmp_path.iterdir())


def test_mistakes(tmp_path):
    for size in ("two", "2x33", "2x"):
        with pytest.raises(SystemExit):
            scaling.parse(["--sizes", size])
    with pytest.raises(SystemExit, match="three --sizes"):
        scaling.main(["--sizes", "2x16", "--out", str(tmp_path)])


@pytest.mark.data
def test_real_text():
    """Pieces of articles that fit into a row, from different files for training and test."""
    try:
        fetch("wikitext-2")
    except SystemExit as error:
        pytest.skip(str(error))
    args = scaling.parse([])
    train, test = (scaling.documents(args, split, 50) for split in ("train", "test"))
    assert len(train) == len(test) == 50 and not {r["text"] for r in train} & {r["text"] for r in test}
    assert max(len(r["text"].split(" ")) for r in train) <= scaling.WORDS and "bits" not in train[0]
