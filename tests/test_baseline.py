"""
The reference points of eval/baseline.py: equal compute, rows that are right by another count, runs made once.
"""

import json
import math
from collections import Counter

import pytest
import torch

from bpe.bpe import Tokenizer
from eval import baseline
from gpt.describe import flops, idle
from gpt.kinds import build
from tests.runs import make_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("baseline"))


def arguments(data, *more, operations=1e10):
    return ["--data", str(data / "shards"), "--tokenizer", str(data), "--operations", str(operations), "--order", "3",
            "--documents", "40", "--seeds", "2", "--jobs", "1", "--out", str(data / "out"), *more]


def made(data, name, seed=0):
    baseline.main(arguments(data, "--one", name, str(seed)))
    return json.loads((data / f"out/runs/{name}_{seed}.json").read_text())["row"]


def test_kinds_are_of_one_size():
    """Weights that a token meets differ by a tenth; the mixture has about twice as many in all."""
    with torch.device("meta"):
        models = {name: build(baseline.config(name, 2048)) for name in baseline.NETWORKS}
    met = {name: sum(p.numel() for p in m.parameters()) - idle(m) for name, m in models.items()}
    assert max(met.values()) < 1.15 * min(met.values()), met
    assert sum(p.numel() for p in models["moe"].parameters()) > 1.9 * met["moe"]


@pytest.mark.parametrize("name", ["llama", "moe"])
def test_equal_compute(data, name):
    """Tokens x operations a token is what was asked for, to half a step; and a few steps have taught something."""
    row = made(data, name)
    assert abs(row["tokens"] * row["flops_per_token"] / 1e10 - 1) < 0.7 and row["met"] <= row["parameters"]
    tokenizer = Tokenizer.load(data)
    with torch.device("meta"):
        assert row["flops_per_token"] == flops(build(baseline.config(name, tokenizer.n_vocab)))
    assert 0.5 < row["bits_per_byte"] < math.log2(tokenizer.n_vocab)


def test_unigram_by_hand(data):
    """Frequencies of the training tokens, discounted for what was never seen: within 2% of counting plus a half."""
    row, tokenizer = made(data, "unigram"), Tokenizer.load(data)
    args = baseline.parse(arguments(data))
    seen = Counter(i for ids in baseline.documents(args, "train", tokenizer, row["tokens"]) for i in ids)
    total, test = sum(seen.values()), baseline.documents(args, "valid", tokenizer)[:40]
    bits = -sum(math.log2((seen[i] + 0.5) / (total + 0.5 * tokenizer.n_vocab)) for ids in test for i in ids)
    assert row["bits_per_byte"] == pytest.approx(bits / sum(len(tokenizer.decode_bytes(ids)) for ids in test), rel=0.05)


def test_kneser_ney_is_about_as_good_as_counting_tokens(data):
    """These words are drawn independently, so contexts help only within words; and its order was chosen, not given."""
    row, unigram = made(data, "kneser_ney"), made(data, "unigram")
    assert row["detail"] in ("2 bytes", "3 bytes") and row["bits_per_byte"] < 1.1 * unigram["bits_per_byte"]


def test_documents_and_bytes(data):
    args, tokenizer = baseline.parse(arguments(data)), Tokenizer.load(data)
    texts = [json.loads(line)["text"] for line in (data / "valid.jsonl").read_text().splitlines()]
    some = baseline.documents(args, "valid", tokenizer)
    assert [tokenizer.decode(ids) for ids in some] == texts
    flat = baseline.as_bytes(some[:2], tokenizer).tolist()
    assert flat == [256, *texts[0].encode(), 256, *texts[1].encode()]


def test_a_run_is_made_once_and_says_when_settings_changed(data, monkeypatch):
    row = made(data, "unigram")
    monkeypatch.setattr(baseline, "count", lambda *a: pytest.fail("made again"))
    assert made(data, "unigram") == row
    with pytest.raises(SystemExit, match="other settings"):
        baseline.main(arguments(data, "--one", "unigram", "0", operations=2e10))


def test_the_table(data, monkeypatch, tmp_path, capsys):
    def one(args, name, seed):
        counted = name in baseline.COUNTED
        return {"model": name, "seed": None if counted else seed, "parameters": 1000, "tokens": 5000,
                "met": None if counted else 900, "flops_per_token": None if counted else 6e6,
                "bits_per_byte": 2.0 + 0.1 * seed} | ({"detail": "3 bytes"} if counted else {})

    monkeypatch.setattr(baseline, "one", one)
    baseline.main(arguments(data, "--out", str(tmp_path)))
    metrics, said = json.loads((tmp_path / "metrics.json").read_text()), capsys.readouterr().out
    assert "| kneser-ney (3 bytes) | 1,000 | – | – | 5,000 | 2.0000 |" in said
    assert "| moe | 1,000 | 900 | 6.00 | 5,000 | 2.0500 ± 0.0707 |" in said
    assert metrics["numbers"]["mla_bits_per_byte"] == pytest.approx(2.05) and len(metrics["baseline"]) == 10


def test_a_preset_says_what_it_runs(capsys):
    baseline.main(["--preset", "124m", "--say", "--gpus", "8", "--tokens", "1000000"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("torchrun --standalone --nproc_per_node 8 train/train.py --preset 124m") and
               line.endswith("--compile --tokens 1000000") for line in lines)
    assert [word for word in ("wikitext-2", "c4", "arc-easy", "gsm8k") if not any(word in line for line in lines)] == []
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="add --say"):
            baseline.main(["--preset", "124m"])


def test_what_a_preset_gathers(tmp_path):
    """Loss, medians of speed and MFU, cost = hours x GPUs x price, and every score."""
    for name, numbers, scores in (("pretrain", {"valid_loss_nats": 3.3}, {}),
                                  ("wikitext_2", {"wikitext_2_perplexity_per_word": 35.0}, {}), ("c4", {}, {}),
                                  ("arc_easy", {}, {"arc_easy": {"value": 0.4}}), ("gsm8k", {}, {"gsm8k": None})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps({"numbers": numbers, "scores": scores}))
    (tmp_path / "pretrain/log.csv").write_text(
        "step,seconds,tokens,tokens_per_second,mfu\n1,10,5,100,0.1\n2,20,10,300,0.4\n3,7200,15,200,0.3\n")
    found = baseline.gather(baseline.parse(["--gpus", "8", "--price", "3"]), tmp_path)
    assert found == {"tokens_per_second": 200, "mfu": 0.3, "tokens": 15, "hours": 2, "gpus": 8, "dollars": 48,
                     "valid_loss_nats": 3.3, "wikitext_2_perplexity_per_word": 35.0, "arc_easy": 0.4}


def test_mistakes(tmp_path):
    with pytest.raises(SystemExit, match="bash run.sh"):
        baseline.main(["--data", str(tmp_path / "none")])
    with pytest.raises(SystemExit):
        baseline.parse(["--seeds", "0"])
