"""
eval/generate.py: pass@k against counting every choice of k samples, HumanEval's form judged in the sandbox, and
what is wrong with a file in one line.
"""

import json
from itertools import combinations

import pytest
import torch

from bpe.bpe import Tokenizer
from eval import generate
from gpt import checkpoint
from gpt.engine import Reply, Sampling
from gpt.llama import Config, Llama

HUMAN = {"task_id": "x/0", "entry_point": "total",
         "prompt": 'from typing import List\n\ndef total(xs: List[int]) -> int:\n    """Their sum."""\n',
         "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n"}
TEXT = json.dumps(HUMAN) + " 2+2? 4 yes no Paris " * 3


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXT, vocab_size=330)


@pytest.mark.parametrize("n, c, k", [(5, 0, 2), (5, 2, 1), (5, 2, 3), (5, 4, 2), (6, 6, 6)])
def test_pass_at_k_counts_every_choice(n, c, k):
    hits = [any(i < c for i in some) for some in combinations(range(n), k)]
    assert generate.pass_at_k(n, c, k) == pytest.approx(sum(hits) / len(hits), abs=1e-12)
    if 0 < c < n and k > 1:    # teeth: the plain estimate 1 - (1 - c/n)^k is another number
        assert abs(generate.pass_at_k(n, c, k) - (1 - (1 - c / n) ** k)) > 1e-3
    with pytest.raises(ValueError):
        generate.pass_at_k(n, c, n + 1)


@pytest.mark.parametrize("form, text, want", [
    ("plain", "    return sum(xs)\n\ndef other():\n    syntax error here", True),
    ("plain", "    return sum(xs) + 1\n", False), ("plain", "    return sum(xs", False),
    ("plain", "    while True: pass\n", False), ("plain", "    open('/etc/passwd')\n    return sum(xs)\n", False),
    ("plain", "    import socket\n    return sum(xs)\n", False),
    ("plain", "    return sum(xs) + len('x' * 10**9)*0\n", False),
    ("chat", "Here:\n```python\ndef total(xs):\n    return sum(xs)\n```", True), ("chat", "    return sum(xs)", True),
    ("chat", "I cannot say.", False)])
def test_humaneval_runs_in_the_sandbox(form, text, want):
    assert generate.humaneval(HUMAN, text, form) is want


def test_script_of_every_form(tmp_path, tokenizer, monkeypatch, capsys):
    model = Llama(Config(tokenizer.n_vocab, n_layer=1, n_head=1, n_kv_head=1, n_embd=8, n_hidden=8, context=512))
    checkpoint.save(tmp_path / "run", 1, model, tokenizer)
    items = [{"prompt": "2+2?", "check": {"type": "number", "answer": "4"}}, HUMAN,
             {"messages": [{"role": "user", "content": "Say yes."}], "check": {"type": "exact", "answer": "yes"}},
             {"prompt": "far too long " * 300, "check": {"type": "contains", "answer": ["Paris"]}}]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    said = iter(["4", "5", "    return sum(xs)", "no", "no", "yes"])
    monkeypatch.setattr(generate, "generate", lambda model, tok, prompts, max_new, **how: [
        Reply(ids, max_new, Sampling(), 0, ids=tokenizer.encode(next(said)), finished="end") for ids in prompts])
    generate.main(["--checkpoint", str(tmp_path / "run"), "--data", str(tmp_path / "items.jsonl"), "--name", "mine",
                   "--samples", "2", "--k", "2", "--out", str(tmp_path / "out")])
    scores = json.loads((tmp_path / "out/metrics.json").read_text())["scores"]
    assert scores["mine"]["value"] == pytest.approx(1.5 / 4)
    assert scores["mine_pass_at_2"]["value"] == pytest.approx(3 / 4)
    rows = [json.loads(line) for line in open(tmp_path / "out/answers.jsonl")]
    assert [row["right"] for row in rows] == [1, 1, 1, 0]
    assert [row["passed"] for row in rows] == [True, True, False, False]
    assert "1 number, 1 HumanEval, 1 exact, 1 contains" in capsys.readouterr().out


@pytest.mark.parametrize("line, message", [
    ('{"check": {}}', "has no 'prompt' or 'messages'"), ('{"prompt": "?"}', "has no 'check'"),
    ('{"prompt": "?", "check": {"type": "taste", "answer": 1}}', "has a check of type 'taste'; there are exact"),
    ('{"prompt": "?", "entry_point": "f"}', "has an 'entry_point' and no 'test'"),
    ('{"prompt": ', "is no JSON record")])
def test_malformed_lines_are_named(tmp_path, line, message):
    good = json.dumps({"prompt": "?", "check": {"type": "exact", "answer": "a"}})
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{good}\n{line}\n")
    with pytest.raises(SystemExit, match=f"bad.jsonl, line 2 {message}"):
        generate.read(path, "chat")
