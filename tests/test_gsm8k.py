"""
eval/gsm8k.py: strict and lenient over several samples, examples before the question, plain texts for base models,
and seeds that hang on the question and not on the batch.
"""

import json

import pytest
import torch

from bpe.bpe import Tokenizer
from bpe.template import parse_reply
from eval import generate, gsm8k
from gpt import checkpoint
from gpt.engine import Reply, Sampling
from gpt.llama import Config, Llama

TEXT = "Question: Tom had 3 kites and lost 1?\nAnswer: 3-1=2. He has 2 kites.\n#### 2\n\nIt is 5. " * 3
ITEM = {"question": "Tom had 3 kites and lost 1?", "answer": "He has 3-1=<<3-1=2>>2.\n#### 2"}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXT, vocab_size=330)


@pytest.fixture(scope="module")
def model(tokenizer):
    model = Llama(Config(tokenizer.n_vocab, n_layer=1, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24, context=128))
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data.normal_(0, 0.3, generator=generator)
    return model.eval()


def scripted(tokenizer, replies, seen):
    """A generate() that gives these texts in turn and notes its prompts."""
    def write(model, tok, prompts, max_new, tools=None, **how):
        seen.append((prompts, tools, how))
        return [Reply(ids, max_new, Sampling(), 0, ids=tokenizer.encode(text), finished="end")
                for ids, text in zip(prompts, replies, strict=True)]
    return write


def test_several_samples_strict_and_lenient(tokenizer, model, monkeypatch):
    seen = []
    said = ["#### 2", "It is 2", "#### 3", "It is 5", "so #### 2.0", "#### 2"]
    monkeypatch.setattr(gsm8k, "generate", scripted(tokenizer, said, seen))
    one, two = gsm8k.solve(model, tokenizer, [ITEM, ITEM], 9, None, samples=3)
    assert (one["right"], one["right_lenient"], one["passed"], one["lenient"]) == (1, 2, True, True)
    assert (two["right"], two["right_lenient"], two["passed"], two["lenient"]) == (2, 2, False, False)
    assert len(seen[0][0]) == 6
    scores = generate.pass_scores("x", [1, 2], 3, [2])
    assert scores["x"]["value"] == pytest.approx(0.5)
    assert scores["x_pass_at_2"]["value"] == pytest.approx((2 / 3 + 1) / 2)


def test_examples_in_a_chat_keep_their_calls(tokenizer):
    ids = gsm8k.ask(tokenizer, ITEM, [ITEM], "chat")
    special = tokenizer.specials
    first = ids.index(special["<|assistant|>"]) + 1
    assert {"type": "call", "text": "3-1"} in parse_reply(ids[first:], tokenizer)
    assert ids.count(special["<|user|>"]) == 2 and ids[-1] == special["<|assistant|>"]


def test_plain_text_and_where_an_answer_ends(tokenizer, model, monkeypatch):
    ids = gsm8k.ask(tokenizer, ITEM, [ITEM], "plain")
    asked = "Question: Tom had 3 kites and lost 1?\nAnswer:"
    assert tokenizer.decode(ids[1:]) == f"{asked} He has 3-1=2.\n#### 2\n\n{asked}"
    runs_on = "so 2.\n#### 2\n\nQuestion: It is 5?\nAnswer: 5.\n#### 5"
    for form, lenient in (("plain", True), ("chat", False)):      # teeth: uncut, the last number is another's
        monkeypatch.setattr(gsm8k, "generate", scripted(tokenizer, [runs_on], []))
        (row,) = gsm8k.solve(model, tokenizer, [ITEM], 9, None, form=form)
        assert row["passed"] and row["lenient"] is lenient


def run(folder, *more):
    gsm8k.main(["--checkpoint", str(folder / "run"), "--data", str(folder / "test.jsonl"), "--max-new", "6",
                "--name", "word", "--out", str(folder / "out"), *more])
    return json.loads((folder / "out" / "metrics.json").read_text())


def test_pass_at_k_goes_on_after_a_kill_with_the_same_samples(tmp_path, tokenizer, model, monkeypatch):
    checkpoint.save(tmp_path / "run", 1, model, tokenizer)
    rows = [ITEM | {"question": f"Tom had {n} kites?"} for n in range(5)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = ("--samples", "3", "--k", "2", "3", "--temperature", "1",
            "--shots", "1", "--shots-from", str(tmp_path / "test.jsonl"))
    whole, answers = run(tmp_path, *argv), (tmp_path / "out/answers.jsonl").read_text()
    assert set(whole["scores"]) == {f"word{a}{b}" for a in ("", "_lenient") for b in ("", "_pass_at_2", "_pass_at_3")}
    resume, solve, calls = gsm8k.resume, gsm8k.solve, []

    def killed(*args, **how):
        calls.append(how["seed"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return solve(*args, **how)
    monkeypatch.setattr(gsm8k, "resume", lambda *args: resume(*args, batch=2))
    monkeypatch.setattr(gsm8k, "solve", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, *argv)
    assert run(tmp_path, *argv)["scores"] == whole["scores"]
    assert (tmp_path / "out/answers.jsonl").read_text() == answers and calls == [0, 6, 6, 12]
    run(tmp_path, *argv, "--seed", "1")
    assert (tmp_path / "out/answers.jsonl").read_text() != answers    # teeth: other seeds, other samples


@pytest.mark.parametrize("more", [["--k", "4"], ["--samples", "2", "--temperature", "0"], ["--shots", "2"]])
def test_arguments_that_cannot_be(tmp_path, more):
    with pytest.raises(SystemExit) as e:
        run(tmp_path, *more)
    assert e.value.code == 2
