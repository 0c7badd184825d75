"""
lora/train.py on a model of two layers: an adapter and the base it was trained on give the losses that were printed,
a merged model gives them alone, and full fine-tuning moves every weight.
"""

import json

import pytest
import torch

from bpe.bpe import Tokenizer
from gpt import checkpoint
from gpt.llama import Config, Llama
from lora import peft_format
from lora import train as script
from train.device import device

pytest.importorskip("safetensors")


@pytest.fixture
def ground(tmp_path):
    """A base checkpoint and two files of texts; returns the folder."""
    texts = [f"the {animal} sat on the {place}" for animal in ("cat", "dog", "hen") for place in ("mat", "log")] * 4
    (tmp_path / "code_train.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    (tmp_path / "code_valid.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts[:5]))
    talk = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello there"}]}
    (tmp_path / "talk_valid.jsonl").write_text(json.dumps(talk) + "\n")
    tokenizer = Tokenizer([], "qwen")
    torch.manual_seed(0)
    model = Llama(Config(vocab_size=tokenizer.n_vocab, n_layer=2, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24,
                         context=64))
    for p in model.parameters():
        if not p.any():                                      # a fresh model's blocks write nothing; a trained one's do
            torch.nn.init.normal_(p, std=0.2)
    checkpoint.save(tmp_path / "base", 1, model, tokenizer, stage="pretrain")
    return tmp_path


def run(ground, *flags, out="out"):
    paths = {"--checkpoint": "base", "--train": "code_train.jsonl", "--valid": "code_valid.jsonl",
             "--other": "talk_valid.jsonl", "--out": out}
    script.main([str(x) for flag, name in paths.items() for x in (flag, ground / name)] + [
        "--tokens", "4000", "--batch", "4", "--length", "48", "--eval-rows", "8", "--rank", "2", "--lr", "0.03",
        *flags])
    return json.loads((ground / out / "metrics.json").read_text())["numbers"]


def measured(ground, model, tokenizer):
    args = script.parse(["--train", "x", "--valid", "x", "--batch", "4", "--length", "48", "--eval-rows", "8"])
    sets = {"code_valid": script.held_out(ground / "code_valid.jsonl", tokenizer, args),
            "talk_valid": script.held_out(ground / "talk_valid.jsonl", tokenizer, args)}
    return script.losses(model, sets, device())


@pytest.mark.parametrize("flags", ([], ["--dora"], ["--rslora", "--lora-plus", "16", "--dropout", "0.1"]), ids=str)
def test_adapter(ground, flags):
    numbers = run(ground, *flags)
    assert numbers["code_valid_loss_nats"] < numbers["before_code_valid_loss_nats"] - 0.05
    assert numbers["trained_parameters"] < numbers["parameters"] / 3
    model, tokenizer, info = checkpoint.load(ground / "base", device())
    peft_format.load(model, ground / "out" / "adapter")
    for name, loss in measured(ground, model, tokenizer).items():
        assert loss == pytest.approx(numbers[name], abs=1e-4)


def test_merged(ground):
    numbers = run(ground, "--merge")
    model, tokenizer, info = checkpoint.load(ground / "out" / "run", device())
    assert info["parent"] == checkpoint.load(ground / "base", "cpu")[2]["hash"]
    for name, loss in measured(ground, model, tokenizer).items():
        assert loss == pytest.approx(numbers[name], abs=1e-4)


def test_questions_with_answers(ground):
    """In GSM8K's form, calculations and all: only the answer is predicted, and the figures alone are written."""
    rows = [{"question": f"what is {n} and {n}?", "answer": f"it is <<{n}+{n}={2 * n}>>{2 * n}"} for n in range(9)]
    (ground / "code_train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    numbers = run(ground, "--no-weights")
    assert numbers["tokens"] == 4032
    assert {path.name for path in (ground / "out").iterdir()} == {"log.csv", "metrics.json"}
    ids, mask = script.documents(ground / "code_train.jsonl", Tokenizer([], "qwen"))[3]
    assert 0 < mask.sum() < len(ids) / 2


@pytest.mark.parametrize("targets, layers", (("attention", 8), ("blocks", 14), ("all", 16)))
def test_what_is_adapted(ground, capsys, targets, layers):
    run(ground, "--targets", targets, "--no-weights")
    assert f"adapter on {layers} layers" in capsys.readouterr().out


def test_full(ground):
    numbers = run(ground, "--full")
    before = checkpoint.load(ground / "base", "cpu")[0].state_dict()
    after = checkpoint.load(ground / "out" / "run", "cpu")[0].state_dict()
    assert numbers["trained_parameters"] == numbers["parameters"]
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_the_same_seed_the_same_losses(ground):
    assert run(ground, out="a")["code_valid_loss_nats"] == run(ground, out="b")["code_valid_loss_nats"]


def test_what_a_user_gets_wrong(ground, tmp_path):
    with pytest.raises(SystemExit, match="continual/base.py"):
        script.main(["--checkpoint", str(tmp_path / "nowhere"), "--train", "x", "--valid", "x"])
    (ground / "code_train.jsonl").write_text('{"title": "no text"}\n')
    with pytest.raises(SystemExit, match="line 1 is neither a text nor a conversation"):
        run(ground)
