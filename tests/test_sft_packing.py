"""
Supervised fine-tuning on conversations of several turns, with a system prompt and a calculator: what counts in the
loss, that packed conversations leak nothing into each other, which records are refused, and what --keep leaves.

The loss of a packed row is held in float64 against every conversation alone; only the order of sums differs: 1e-12.
"""

import json

import numpy as np
import pytest
import torch

from align import sft
from bpe.bpe import Tokenizer
from gpt import checkpoint
from gpt.llama import Config, Llama
from train.loader import Conversations, Loader
from train.pack import batch

TOKENIZER = Tokenizer([])                                    # a byte a token
NAMES = {i: name for name, i in TOKENIZER.specials.items()}
CALL = [{"type": "text", "text": "So "}, {"type": "call", "text": "2*3"}, {"type": "result", "text": "6"},
        {"type": "text", "text": "6."}]


def talk(*said, system=None):
    """A conversation of these turns, the user's first."""
    roles = ("user", "assistant") * len(said)
    head = [{"role": "system", "content": system}] if system else []
    return {"messages": head + [{"role": role, "content": content} for role, content in zip(roles, said)]}


TALKS = [talk("hi", "hello"), talk("2*3?", CALL, "sure?", "yes", system="Be brief."),
         talk("a", "b", "c", "d", "e", "f"), talk("what is a name?", "what you are called by"), talk("x", "y")]


def make_model(dtype=torch.float64):
    model = Llama(Config(TOKENIZER.n_vocab, n_layer=2, n_head=2, n_kv_head=1, n_embd=16, n_hidden=24, context=128,
                         qk_norm=True))
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data.normal_(0, 0.3, generator=generator)
    return model.to(dtype)


def write(folder, records, name="sft_train"):
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    return folder / f"{name}.jsonl"


def own(ids, mask):
    return "".join(NAMES.get(i) or TOKENIZER.decode([i]) for i in np.array(ids)[np.array(mask)].tolist())


def test_what_counts_over_several_turns(tmp_path):
    examples, long = sft.conversations(write(tmp_path, TALKS), TOKENIZER, 100)
    assert long == 0 and [own(*e) for e in examples] == [
        "hello<|end|>", "So <CALC>2*3</CALC>6.<|end|>yes<|end|>", "b<|end|>d<|end|>f<|end|>",
        "what you are called by<|end|>", "y<|end|>"]


def test_a_conversation_that_does_not_fit_is_left_out_whole(tmp_path):
    longest = max(len(ids) for ids, _ in sft.conversations(write(tmp_path, TALKS), TOKENIZER, 100)[0])
    examples, long = sft.conversations(tmp_path / "sft_train.jsonl", TOKENIZER, longest - 2)
    assert len(examples) == len(TALKS) - 1 and long == 1
    assert len(sft.conversations(tmp_path / "sft_train.jsonl", TOKENIZER, longest - 1)[0]) == len(TALKS)


def test_packing_leaks_nothing(tmp_path):
    """The row's loss is the mean over every answer's tokens alone; the row read as one text is another number."""
    model, (examples, _) = make_model(), sft.conversations(write(tmp_path, TALKS), TOKENIZER, 128)
    x, y, doc, positions = batch([examples], 256, 0)         # all in one row
    nats, count = 0.0, 0
    for ids, mask in examples:
        logits = model(torch.tensor(ids)[None, :-1])[0][0].log_softmax(dim=1)     # (T, V)
        for t in range(1, len(ids)):
            if mask[t]:
                nats, count = nats - logits[t - 1, ids[t]].item(), count + 1
    loss = model(x, y, doc=doc, positions=positions)[1].item()
    assert count == (y >= 0).sum() and loss == pytest.approx(nats / count, abs=1e-12)
    assert abs(model(x, y)[1].item() - loss) > 1e-3          # has teeth: no doc, positions run on


@pytest.mark.parametrize("record, complaint", [
    (talk("hi"), "line 2: message 0: has no reply"),
    ({"messages": []}, "line 2: a conversation is a list of at least one message"),
    ({"messages": [{"role": "bot", "content": "a"}]}, "line 2: message 0: must be a dict with content and a role"),
    (talk("hi", "a", system=None) | {"messages": [{"role": "user"}]}, "line 2: message 0"),
    ({"messages": [{"role": "user", "content": "a"}] * 2}, "line 2: message 1: is the user's where the assistant's"),
    (talk("hi", [{"type": "context", "text": "a"}]), "line 2: message 1: the assistant has no part of type 'context'"),
    (talk("hi", 3), "line 2: message 1: content must be a string or a list of parts"),
    ({"text": "hi"}, "line 2 has no 'messages'"),
])
def test_a_malformed_record_is_named_by_its_line(tmp_path, record, complaint):
    path = write(tmp_path, [TALKS[0], record, TALKS[1]])
    with pytest.raises(SystemExit) as e:
        sft.conversations(path, TOKENIZER, 100)
    assert str(e.value).startswith(f"{path}, {complaint}")


def test_a_line_that_is_no_json(tmp_path):
    (tmp_path / "sft_train.jsonl").write_text(json.dumps(TALKS[0]) + "\n{'messages': []}\n")
    with pytest.raises(SystemExit, match="line 2 is no JSON record"):
        sft.conversations(tmp_path / "sft_train.jsonl", TOKENIZER, 100)


def test_keep():
    records = [{"kind": kind} for kind in ["sum", "chat"] * 20] + [{}]
    def count(*keep):
        kept = [r for r in sft.thinned(records, keep) if r is not None]
        return [sum(r.get("kind") == kind for r in kept) for kind in ("sum", "chat", None)]
    assert count() == [20, 20, 1] and count("sum=0.1") == [2, 20, 1] and count("rest=0", "sum=1") == [20, 0, 0]
    assert count("sum=0.25", "rest=0.5") == [5, 10, 0]
    places = [n for n, r in enumerate(sft.thinned(records, ["sum=0.1", "rest=0"])) if r]
    assert places[1] - places[0] == 20                       # evenly spread, and each at its own line


@pytest.mark.parametrize("word", ["arithmetic", "arithmetic=2", "arithmetic=many"])
def test_a_keep_that_is_none(word):
    with pytest.raises(SystemExit):
        sft.parse(["--checkpoint", "x", "--data", "y", "--keep", word])


def test_unmasked_learns_the_questions(tmp_path):
    """Masked, the loss on the questions does not fall as it does unmasked; both learn the answers."""
    checkpoint.save(tmp_path / "run", 1, make_model(torch.float32), TOKENIZER, stage="pretrain")
    for name in ("sft_train", "sft_valid"):
        write(tmp_path, TALKS, name)
    words = ["--checkpoint", str(tmp_path / "run"), "--data", str(tmp_path), "--tokens", "20480", "--batch", "4",
             "--muon-lr", "0.05", "--adamw-lr", "0.05"]
    nats = {}
    for name, more in (("masked", []), ("unmasked", ["--unmasked"])):
        sft.main([*words, "--out", str(tmp_path / name), *more])
        numbers = json.loads((tmp_path / name / "metrics.json").read_text())["numbers"]
        model, _, _ = checkpoint.load(tmp_path / name / "run", "cpu")
        examples, _ = sft.conversations(tmp_path / "sft_valid.jsonl", TOKENIZER, 128)
        questions = [(ids, ~mask) for ids, mask in examples]
        x, y, doc, positions = Loader(Conversations(questions), 0, 2, 128, crop=False).next()
        with torch.no_grad():
            nats[name] = numbers["valid_loss_nats"], model(x, y, doc=doc, positions=positions)[1].item()
    assert max(answers for answers, _ in nats.values()) < 4
    assert nats["unmasked"][1] < nats["masked"][1] - 0.5
