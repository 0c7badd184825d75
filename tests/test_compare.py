"""
Two runs compared: p values against ones known, pairing where it is possible, and luck that is not taken for more.
"""

import json
import math
import random

import pytest

from eval import compare
from eval.inputs import write_jsonl


def put(folder, task, passed, value=None, n=None):
    """An evaluation's folder: its score and, unless passed is None, what became of each question."""
    n = n or len(passed)
    value = sum(passed) / n if value is None else value
    if passed is not None:
        write_jsonl(folder / "answers.jsonl", [{"task": task, "question": f"q{i}", "passed": ok}
                                               for i, ok in enumerate(passed)])
    folder.mkdir(parents=True, exist_ok=True)
    score = {"value": value, "n": n, "stderr": math.sqrt(value * (1 - value) / n), "chance": 0.0}
    (folder / "metrics.json").write_text(json.dumps({"scores": {task: score, "missing": None}, "numbers": {}}))


def run(tmp_path):
    compare.main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out")])
    return json.loads((tmp_path / "out/metrics.json").read_text())["numbers"]


def test_mcnemar():
    """Of 10 changed questions 1 for the worse: 2 (1 + 10) / 1024. Even changes prove nothing."""
    assert compare.mcnemar(1, 9) == compare.mcnemar(9, 1) == 22 / 1024
    assert compare.mcnemar(5, 5) == compare.mcnemar(0, 0) == 1.0 and compare.mcnemar(0, 20) == 2 / 2**20


def test_the_same_questions_are_paired(tmp_path, capsys):
    """12 of 200 answers change, all for the better: sure when paired, luck when the two errors are added."""
    before = [i % 2 == 0 for i in range(200)]
    after = [ok or i < 24 for i, ok in enumerate(before)]
    put(tmp_path / "a/eval", "math", before)
    put(tmp_path / "b/eval", "math", after)
    numbers = run(tmp_path)
    assert numbers["math_difference"] == pytest.approx(0.06) and numbers["math_p"] == pytest.approx(2 / 2**12)
    assert "paired" in capsys.readouterr().out
    (tmp_path / "a/eval/answers.jsonl").unlink()
    numbers = run(tmp_path)
    assert numbers["math_difference"] == pytest.approx(0.06) and numbers["math_p"] > 0.2
    assert "paired" not in capsys.readouterr().out


def test_other_questions_are_not_paired(tmp_path):
    put(tmp_path / "a/eval", "math", [True] * 50)
    put(tmp_path / "b/eval", "math", [True] * 40 + [False] * 9)
    assert run(tmp_path)["math_p"] == pytest.approx(math.erfc(3.321 / math.sqrt(2)), rel=0.02)   # (9/49) / its error


def test_luck_is_not_taken_for_more(tmp_path, capsys):
    """Twenty scores of two equally good runs: after Holm's correction none is marked."""
    rng = random.Random(1)
    for name in "ab":
        for task in range(20):
            put(tmp_path / name / f"t{task}", f"t{task}", [rng.random() < 0.5 for _ in range(400)])
    numbers = run(tmp_path)
    p = [x for key, x in numbers.items() if key.endswith("_p")]
    assert len(p) == 20 and min(p) > 0.05 / 20 and "0 of 20 changes" in capsys.readouterr().out
    assert compare.holm({"a": 0.001, "b": 0.03, "c": 0.02}) == ["a", "c", "b"]
    assert compare.holm({"a": 0.03, "b": 0.04}) == []


def test_mistakes(tmp_path):
    put(tmp_path / "a/eval", "math", [True])
    with pytest.raises(SystemExit, match="no folder"):
        run(tmp_path)
    put(tmp_path / "b/eval", "science", [True])
    with pytest.raises(SystemExit, match="no score in common"):
        run(tmp_path)
