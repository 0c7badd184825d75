"""
lora/compare.py: its arithmetic on planted results, that it resumes and refuses, how it splits medical questions, and
one miniature from a corpus to the table.
"""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from bpe.bpe import Tokenizer
from gpt import checkpoint
from gpt.llama import Config, Llama
from lora import compare

FULL = compare.FULL


def planted(valid, test=0.0, fiction=2.0, base=10.0):
    return {"code_valid_loss_nats": valid, "code_test_loss_nats": test, "fiction_test_loss_nats": fiction,
            "science_test_loss_nats": 5.0, "before_code_test_loss_nats": base, "before_fiction_test_loss_nats": 1.0,
            "before_science_test_loss_nats": 6.0, "trained_parameters": 7, "peak_memory_bytes": 1e6,
            "tokens_per_second": 10.0}


RESULTS = {  # full fine-tuning is best at 0.01 by validation, though 0.1 has the lower test loss
    (FULL, 0.001): [planted(6, 6, 1.5), planted(6, 6, 1.5)], (FULL, 0.01): [planted(2, 2, 4), planted(4, 4, 6)],
    (FULL, 0.1): [planted(4, 1, 9), planted(4, 1, 9)], (8, 0.01): [planted(3, 4, 3), planted(3, 4, 3)],
    (8, 0.1): [planted(1, 1), planted(math.nan, 1)]}


def test_the_rate_is_chosen_by_validation():
    """The mean of all seeds, never the test loss; a rate at which one seed diverged is out."""
    assert compare.best_rate(RESULTS, "code", FULL) == 0.01
    assert compare.best_rate(RESULTS, "code", 8) == 0.01


def test_gain_is_of_the_same_seed():
    full, lora = RESULTS[FULL, 0.01], RESULTS[8, 0.01]
    assert compare.gains(lora, full, "code") == [6 / 8, 6 / 6]
    judged = compare.judge(RESULTS, "code", 8, 0.01, 0.01)
    assert judged["gain"] == pytest.approx(0.875) and judged["code_test_loss_nats"] == 4
    assert judged["gain"] != pytest.approx((10 - 4) / (10 - 3))       # of the means, which is another number


def test_interval():
    """Student's, by hand: mean 2, standard deviation 1, 4.303 / sqrt(3) for three seeds."""
    mean, half = compare.interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(4.303 / math.sqrt(3)) and compare.interval([1.0])[1] == math.inf


def test_forgetting_at_equal_loss():
    """Along full fine-tuning's rates up to the best: base (10, 1), then (6, 1.5), then (3, 5)."""
    path = compare.learning_path(RESULTS, "code", 0.01)
    assert path == [(3, 5), (6, 1.5), (10, 1)]
    assert compare.at_equal_loss(path, 4.5) == pytest.approx(3.25)
    assert math.isnan(compare.at_equal_loss(path, 2.9))      # it has never learned as much
    assert compare.judge(RESULTS, "code", 8, 0.01, 0.01)["fiction_of_full_at_equal_loss"] == pytest.approx(5 - 3.5 / 3)


def test_table():
    judged = {rank: compare.judge(RESULTS, "code", rank, 0.01, 0.01) for rank in (FULL, 8)}
    lines = list(compare.table(RESULTS, judged, "code", 2))
    assert "10.000    1.000    6.000" in lines[2]
    assert lines[4].split()[:5] == ["LoRA,", "rank", "8", "0.01", "7"] and "87.50 ±" in lines[4]
    assert not any("end of the range" in line for line in lines)
    judged[FULL]["rate"] = 0.1
    assert "all weights lies at an end" in list(compare.table(RESULTS, judged, "code", 2))[-1]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """lora/train.py replaced by one that leaves planted numbers; and a list of the runs that were started."""
    started = []

    def run(command, **options):
        argv = [str(word) for word in command[2:]]
        out, rate = argv[argv.index("--out") + 1], float(argv[argv.index("--lr") + 1])
        started.append(rate)
        if rate > 1:
            return options["stdout"].write("Traceback\nValueError: too much\n")
        numbers = planted(rate)
        (compare.Path(out) / "metrics.json").write_text(json.dumps(
            {"argv": argv, "numbers": numbers, "seconds": 1.0, "peak_memory_bytes": 2}))
    monkeypatch.setattr(compare, "subprocess", SimpleNamespace(run=run))

    def go(rates, *rest):
        args = compare.parse(["--out", str(tmp_path), "--jobs", "1", "--", *rest])
        return compare.grid(args, "code", ["--train", "x"], [(FULL, rate) for rate in rates], seeds=2)
    return go, started


def test_what_is_done_is_not_done_again(fake):
    go, started = fake
    go([0.1, 0.2])
    found = go([0.1, 0.2, 0.3])
    assert started == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    assert [seeds[1]["code_valid_loss_nats"] for seeds in found.values()] == [0.1, 0.2, 0.3]
    with pytest.raises(SystemExit, match="other settings"):
        go([0.1], "--tokens", "9")
    with pytest.raises(SystemExit, match="failed: ValueError: too much"):
        go([2.0])


def test_medical_pages_are_held_out_whole(tmp_path, monkeypatch):
    """Questions about one page go to one part, and training gives up what repeats a held-out answer."""
    rows = [{"url": f"page{n // 2}", "question": f"q{n}", "answer": f"answer number {n} has its own words, {n} times"}
            for n in range(200)]
    held_out = next(row for row in rows if compare.split(row["url"]) == "test")
    rows.append({"url": next(row["url"] for row in rows if compare.split(row["url"]) == "train"), "question": "twin",
                 "answer": held_out["answer"]})
    compare.write(tmp_path / "medquad.jsonl", rows)
    compare.write(tmp_path / "bases/real/data_fiction/valid.jsonl", [{"text": "once"}])
    (tmp_path / "a.py").write_text("import this\n")
    monkeypatch.setattr(compare.datasets, "fetch", lambda name: {
        "science": {"medquad.jsonl": tmp_path / "medquad.jsonl"}, "code": {"a.py": tmp_path / "a.py"}}[name])
    args = compare.parse(["--out", str(tmp_path / "out"), "--bases", str(tmp_path / "bases")])
    folder, page = compare.medical(args), {row["question"]: row["url"] for row in rows}
    parts = {part: {row["question"] for _, row in compare.records(folder / f"medical_{part}.jsonl")}
             for part in ("train", "valid", "test")}
    assert all(parts.values()) and sum(map(len, parts.values())) == 200 and "twin" not in set().union(*parts.values())
    pages = [{page[question] for question in questions} for questions in parts.values()]
    assert not (pages[0] & pages[1] or pages[0] & pages[2] or pages[1] & pages[2])
    assert "import this" in (folder / "python_test.jsonl").read_text()


def test_miniature(tmp_path, capsys):
    """Base, corpus, lora/train.py in processes of its own, table and metrics.json."""
    pytest.importorskip("safetensors")
    for name in ("code_train", "code_valid", "code_test", "fiction_test", "science_test"):
        texts = [f"the {name} of {word}" for word in ("cats", "dogs", "hens")] * 4
        compare.write(tmp_path / f"corpus/{name}.jsonl", [{"text": text} for text in texts])
    tokenizer = Tokenizer([], "qwen")
    model = Llama(Config(vocab_size=tokenizer.n_vocab, n_layer=1, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24,
                         context=64))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    checkpoint.save(tmp_path / "bases/embedded/base_fiction_0/run", 1, model, tokenizer, stage="pretrain")
    compare.main(["--domains", "code", "--corpus", str(tmp_path / "corpus"), "--bases", str(tmp_path / "bases"),
                  "--out", str(tmp_path / "out"), "--full-rates", "0.01", "--lora-rates", "0.02", "--rank", "2",
                  "--ranks", "2", "--seeds", "1", "--no-picture", "--", "--tokens", "2000", "--length", "32"])
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())["numbers"]
    assert 0 < numbers["gain"] == numbers["code_rank2_gain"] and numbers["code_full_gain"] == 1
    assert numbers["code_rank2_trained_parameters"] < numbers["code_full_trained_parameters"]
    assert "LoRA, rank 2" in capsys.readouterr().out


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    judged = {rank: compare.judge(RESULTS, "code", rank, 0.01, 0.01) for rank in (FULL, 8)}
    compare.draw(tmp_path / "compare.png", {"code": (RESULTS, judged)}, 8)
    assert (tmp_path / "compare.png").stat().st_size > 10_000


def test_mistakes(tmp_path):
    with pytest.raises(SystemExit, match="rates are above zero"):
        compare.main(["--full-rates", "0"])
    with pytest.raises(SystemExit, match="continual/base.py --stream embedded"):
        compare.main(["--no-picture", "--domains", "code", "--bases", str(tmp_path)])
    (tmp_path / "embedded/base_fiction_0/run").mkdir(parents=True)
    with pytest.raises(SystemExit, match="bpe/tinyworld.py"):
        compare.main(["--no-picture", "--domains", "code", "--bases", str(tmp_path), "--corpus", str(tmp_path)])
