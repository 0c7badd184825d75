"""
eval/choice.py, questions.py and shared.py: prompts read once give the numbers of reading every choice in full,
every published form of a question becomes the same one, few-shot prompts by hand, and what a user gets wrong.

Float64: two right answers differ by rounding alone, so 1e-10 convicts a token too many, too few or out of place.
"""

import json

import pytest
import torch

from bpe.bpe import Tokenizer
from bpe.template import render
from eval import choice, questions, shared
from eval.inputs import NotFinite
from eval.perplexity import nats
from gpt import checkpoint
from gpt.llama import Config, Llama
from gpt.model import GPT, GPTConfig

TEXT = "Question: Which metal is liquid?\nAnswer: Mercury is. Tom had 3 kites, iron, A. B. C. D. " * 3
ARC = {"id": "q", "question": {"stem": "Which metal is liquid?", "choices": [
    {"label": label, "text": text} for label, text in zip("ABCD", ("iron", "Mercury is", "the kite, 3", "2"))]},
    "answerKey": "B"}
MMLU = {"question": "Which metal is liquid?", "choices": ["iron", "Mercury is", "the kite, 3", "2"], "answer": 1}
SHOT = {"question": "Is it so?", "choices": ["yes", "no"], "answer": "yes"}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXT, vocab_size=330)


def make(kind, tokenizer):
    config = {"llama": Config(tokenizer.n_vocab, n_layer=2, n_head=2, n_kv_head=1, n_embd=16, n_hidden=24, context=64),
              "window": Config(tokenizer.n_vocab, n_layer=2, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24, context=64,
                               window=9),
              "gpt": GPTConfig(64, tokenizer.n_vocab, n_layer=2, n_head=2, n_embd=16)}[kind]
    model = (GPT if kind == "gpt" else Llama)(config).double().eval()
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data.normal_(0, 0.3, generator=generator)
    return model


@pytest.fixture(scope="module")
def model(tokenizer):
    return make("llama", tokenizer)


# ----------------------------------------------------------------------------
# prompts read once

def groups(seed, n=9, top=60):
    """Random groups of rows that share their prompt, of ragged lengths; the answers have 1 to 5 tokens."""
    generator = torch.Generator().manual_seed(seed)

    def ids(low, high):
        return torch.randint(300, (int(torch.randint(low, high + 1, (1,), generator=generator)),),
                             generator=generator).tolist()
    for _ in range(n):
        prompt = ids(1, top)
        yield [(prompt + ids(1, 5), len(prompt)) for _ in range(int(torch.randint(1, 5, (1,), generator=generator)))]


@pytest.mark.parametrize("kind", ["llama", "window", "gpt"])
def test_prompts_read_once_give_the_same(kind, tokenizer):
    model, some = make(kind, tokenizer), list(groups(0))
    assert any(group[0][1] > 59 for group in groups(0, 60)) and any(len(group) > 1 for group in some)
    want = [[x.sum().item() for x in nats(model, group)] for group in some]
    for batch_tokens in (1, 200, 8192):
        got = shared.answer_nats(model, some, batch_tokens)
        assert [len(x) for x in got] == [len(x) for x in want]
        assert sum(got, []) == pytest.approx(sum(want, []), abs=1e-10), batch_tokens


def test_groups_that_share_no_prompt_or_fill_the_context(model):
    apart = [([1, 2, 3, 4], 2), ([1, 9, 3, 4], 2)]
    full = [(list(range(65)), 63), (list(range(64)), 63)]
    one = [([5, 6, 7], 1)]
    got = shared.answer_nats(model, [apart, full, one])
    assert sum(got, []) == pytest.approx([x.sum().item() for group in (apart, full, one) for x in nats(model, group)],
                                         abs=1e-10)


def test_a_cache_that_is_not_set_back_is_seen(model, monkeypatch):
    """Teeth: a second answer that is read after the first one, not in its place, has another likelihood."""
    some = [[([1, 2, 3, 4, 5], 2), ([1, 2, 6, 7, 8], 2)]]
    want = shared.answer_nats(model, some)
    original = shared.Cache

    class Stuck(original):
        def __init__(self, *args):
            super().__init__(*args)
            self.lengths = self.lengths.as_subclass(type("L", (torch.Tensor,), {"copy_": lambda self, x: self}))
    monkeypatch.setattr(shared, "Cache", lambda config, slots, context, *more: Stuck(config, slots, context + 9, *more))
    assert abs(shared.answer_nats(model, some)[0][1] - want[0][1]) > 1e-3


def test_nan_is_an_error(tokenizer):
    model = make("llama", tokenizer)
    model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(NotFinite):
        shared.answer_nats(model, [[([1, 2], 1)]])


# ----------------------------------------------------------------------------
# forms and prompts

def test_every_form_becomes_the_same(tmp_path):
    forms = {"arc.jsonl": [ARC], "mmlu.jsonl": [MMLU, MMLU | {"answer": "B"}, MMLU | {"answer": "Mercury is"}]}
    for name, rows in forms.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert questions.read(tmp_path / name) == [ARC | {"id": row.get("id")} for row in rows]
    (tmp_path / "mmlu.csv").write_text('Which metal is liquid?,iron,Mercury is,"the kite, 3",2,B\n')
    assert questions.read(tmp_path / "mmlu.csv") == [ARC | {"id": None}]


def test_plain_prompts_are_the_harness_s(tokenizer, model):
    """arc_easy.yaml: "Question: {{question}}\\nAnswer:", a space before the answer, an empty line between examples."""
    shot, arc = questions.to_arc(SHOT), ARC["question"]
    before = choice.examples([shot], "text", "plain")
    ids, first = questions.row(tokenizer, before, choice.ask(arc, "text", "plain"), "iron", "plain", 999)
    assert tokenizer.decode(ids[1:]) == ("Question: Is it so?\nAnswer: yes\n\n"
                                         "Question: Which metal is liquid?\nAnswer: iron")
    assert tokenizer.decode(ids[first:]) == " iron" and ids[0] == tokenizer.specials["<|bos|>"]
    asked = choice.ask(arc, "letter", "plain")
    assert asked == "Which metal is liquid?\nA. iron\nB. Mercury is\nC. the kite, 3\nD. 2\nAnswer:"
    assert choice.examples([shot], "letter", "plain") == [("Is it so?\nA. yes\nB. no\nAnswer:", "A")]
    values = choice.likelihoods(model, tokenizer, [arc], form="plain", shots=[])
    row, n = questions.row(tokenizer, [], "Question: Which metal is liquid?\nAnswer:", "iron", "plain", 64)
    assert values[0][0] == pytest.approx(-nats(model, [(row, n)])[0].sum().item(), abs=1e-10)


def test_chat_examples_are_turns(tokenizer):
    ids, first = questions.row(tokenizer, [("1?", "one")], "2?", "two", "chat", 999)
    turns = ("user", "1?"), ("assistant", "one"), ("user", "2?")
    messages = [{"role": role, "content": text} for role, text in turns]
    assert ids == render(messages, tokenizer, for_reply=True)[0] + tokenizer.encode("two")
    assert ids[first:] == tokenizer.encode("two")


def test_too_long_loses_its_beginning(tokenizer):
    whole, first = questions.row(tokenizer, [], TEXT, "iron", "plain", 999)
    ids, n = questions.row(tokenizer, [], TEXT, "iron", "plain", 20)
    assert ids == whole[-21:] and ids[n:] == whole[first:]


def test_baselines_by_hand():
    two = questions.to_arc(SHOT)                    # right: A "yes", while "no" is the shortest
    assert choice.baselines([ARC, ARC, two]) == pytest.approx(((0.25 + 0.25 + 0.5) / 3, 2 / 3, 0))


# ----------------------------------------------------------------------------
# the script

@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("choice")
    checkpoint.save(folder / "run", 1, make("llama", tokenizer).float(), tokenizer)
    (folder / "test.jsonl").write_text((json.dumps(MMLU) + "\n") * 5)
    (folder / "dev.jsonl").write_text((json.dumps(SHOT) + "\n") * 2)
    return folder


def run(folder, *more, data="test.jsonl"):
    files = ["--checkpoint", str(folder / "run"), "--data", str(folder / data), "--out", str(folder / "out")]
    choice.main([*files, *more])
    return json.loads((folder / "out" / "metrics.json").read_text())


def test_plain_few_shot_script_goes_on_after_a_kill(folder, monkeypatch, capsys):
    argv = ("--form", "plain", "--by", "letter", "--name", "mmlu",
            "--shots", "1", "--shots-from", str(folder / "dev.jsonl"))
    whole, original, work = run(folder, *argv), choice.resume, choice.answer
    assert set(whole["scores"]) == {"mmlu", "mmlu_text", "mmlu_length", "mmlu_shown"}
    assert whole["scores"]["mmlu"].keys() == {"value", "n", "stderr", "chance", "majority"}
    calls = []

    def killed(*args):
        calls.append(len(args[2]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return work(*args)
    monkeypatch.setattr(choice, "resume", lambda *args: original(*args, batch=2))
    monkeypatch.setattr(choice, "answer", killed)
    with pytest.raises(KeyboardInterrupt):
        run(folder, *argv)
    assert run(folder, *argv)["scores"] == whole["scores"] and calls == [2, 2, 2, 1]
    assert "2 of 5 examples" in capsys.readouterr().out
    assert not list((folder / "out").glob("unfinished*"))


@pytest.mark.parametrize("rows, message", [
    ('{"question": "?"}', "record 1: there is no list of choices"),
    ('{"question": {"stem": "?"}, "answerKey": "A"}', "record 1: the question has no list"),
    (json.dumps(MMLU) + '\n{"question": "?", "choices": ["a"], "answer": 4}', "record 2: no choice has the label 4"),
    ('{"question": "?",', "line 1 is no JSON record"), ("", "is empty")])
def test_malformed_questions_name_file_and_line(folder, rows, message):
    (folder / "bad.jsonl").write_text(rows)
    with pytest.raises(SystemExit, match=rf"bad.jsonl,? {message}"):
        run(folder, data="bad.jsonl")


def test_arguments_that_cannot_be(folder, capsys):
    for more, code in [(["--form", "plain", "--by", "reply"], 2), (["--shots", "1"], 2)]:
        with pytest.raises(SystemExit) as e:
            run(folder, *more)
        assert e.value.code == code
    with pytest.raises(SystemExit, match="has 2 questions for --shots 5"):
        run(folder, "--shots", "5", "--shots-from", str(folder / "dev.jsonl"))
    with pytest.raises(SystemExit, match="no task 'arc': there are arc-easy"):
        choice.main(["--checkpoint", "x", "--data", "arc"])
