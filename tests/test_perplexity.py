"""
eval/perplexity.py and eval/texts.py: WikiText-2 read as people write it and counted as published tables count it,
numbers that hang on no batch, ends that move no window, and runs that go on where they were killed.

Compared in float64, where two right answers differ by rounding alone, so 1e-10 convicts any wrong window.
"""

import argparse
import json
import math
import os
import re
from pathlib import Path

import pytest
import torch

from bpe.bpe import Tokenizer
from eval import inputs, perplexity, texts
from gpt import checkpoint
from gpt.llama import Config, Llama

TEXT = "Tom had 3 kites. He lost 1 kite, so 2 kites were left. Which metal is liquid? Mercury is. " * 3
WORDS = [(" It weighs 10 @,@ 000 tons ( 9 @.@ 8 kt ) . ", "It weighs 10,000 tons (9.8 kt)."),
         (" = = Well @-@ known = = ", "== Well-known =="),
         (' It \'s " so " , do n\'t say : " no " . ', 'It\'s "so", don\'t say: "no".'),
         (" James ' son [ the 2nd ] paid $ 5 ; 3 % more ! ", "James' son [the 2nd] paid $5; 3% more!"),
         (" a <unk> - like - thing , 1934 – 37 ", "a <unk> - like - thing, 1934 – 37")]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXT, vocab_size=330)


@pytest.fixture(scope="module")
def model(tokenizer):
    model = Llama(Config(tokenizer.n_vocab, n_layer=2, n_head=2, n_kv_head=1, n_embd=16, n_hidden=24, context=40))
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data.normal_(0, 0.3, generator=generator)
    return model.double().eval()


# ----------------------------------------------------------------------------
# what is a word, and what is the text

@pytest.mark.parametrize("words, text", WORDS)
def test_detokenized_by_hand(words, text):
    assert texts.detokenize(words) == text


def test_articles_and_their_words(tmp_path):
    lines = ["", " = One = ", "", " It is 3 @.@ 5 . ", " = = Part = = ", " So . ", "", " = Two = ", " Yes ! "]
    path = tmp_path / "wiki.tokens"
    path.write_text("".join(line + "\n" for line in lines))
    one, two = texts.read(path)
    assert one == {"text": "\n= One =\n\nIt is 3.5.\n== Part ==\nSo.\n\n", "words": 16 + 7}
    assert two == {"text": "= Two =\nYes!\n", "words": 5 + 2}


def real(name):
    """The file behind a named set, from the mirror; skips where there is none."""
    set_name, file = texts.KNOWN[name]
    path = Path(os.environ.get("DATA_MIRROR", "")) / set_name / file
    return path if path.is_file() else pytest.skip(f"no DATA_MIRROR that holds {set_name}")


@pytest.mark.data
def test_wikitext_is_counted_as_published_tables_count_it():
    """245,569 is the length of the test set in every table since Merity et al. 2016; and nothing but spaces is lost."""
    path = real("wikitext-2")
    found = texts.read(path)
    assert sum(r["words"] for r in found) == 245_569 and len(found) == 62

    def bare(text):
        return re.sub(r"[\s@]", "", text)
    assert bare("".join(r["text"] for r in found)) == bare(path.read_text(encoding="utf-8"))


@pytest.mark.data
@pytest.mark.parametrize("name, documents", [("c4", 1000), ("tinystories", 100)])
def test_named_sets_are_read_document_by_document(name, documents):
    assert len(texts.read(real(name))) > documents


# ----------------------------------------------------------------------------
# the numbers

def test_perplexity_per_word_by_hand(model, tokenizer):
    got = perplexity.measure(model, tokenizer, [{"text": TEXT}, {"text": "Tom had 3 kites.", "words": 10}])
    nats = got["nats_per_token"] * got["tokens"]
    assert got["words"] == len(TEXT.split()) + 10
    assert got["perplexity_per_word"] == pytest.approx(math.exp(nats / got["words"]), rel=1e-12)
    assert got["perplexity_per_token"] == pytest.approx(math.exp(nats / got["tokens"]), rel=1e-12)
    assert got["bits_per_byte"] == pytest.approx(nats / math.log(2) / got["bytes"], rel=1e-12)


def test_the_numbers_hang_on_no_batch_and_no_order(model, tokenizer, monkeypatch):
    records = [{"text": TEXT[:n]} for n in (5, 90, 200, 33, len(TEXT))]
    want = perplexity.measure(model, tokenizer, records)
    nats = perplexity.nats
    monkeypatch.setattr(perplexity, "nats", lambda model, rows: nats(model, rows, batch_tokens=1))
    alone = perplexity.measure(model, tokenizer, records[::-1])
    assert alone == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("n", [1, 39, 40, 41, 60, 61, 80, 81])
def test_scoring_the_end_moves_no_window(model, n):
    """Text nats are those of windows over the text alone; the end is given all the context there is."""
    ids = [i % 300 for i in range(7, 7 + n)]
    text, end = perplexity.document_nats(model, [ids], 0, stride=20)
    alone = torch.cat(perplexity.nats(model, list(perplexity.windows([0, *ids], 40, 20)))).sum()
    assert text.item() == pytest.approx(alone.item(), abs=1e-10)
    last = [0, *ids, 0][-41:]
    row = last if n >= 40 else [0, *ids, 0]
    if n <= 40:
        (want,) = perplexity.nats(model, [(row, len(row) - 1)])
        assert end.item() == pytest.approx(want.item(), abs=1e-10)
    other, _ = perplexity.document_nats(model, [[*ids[:-1], 299 - ids[-1]]], 0, stride=20)
    assert abs(other.item() - text.item()) > 1e-3     # teeth: the last token counts in the text, not in the end


def test_an_empty_document_costs_its_end_alone(model):
    text, end = perplexity.document_nats(model, [[]], 0)
    assert text.item() == 0 and end.item() > 0


# ----------------------------------------------------------------------------
# going on after a kill

def test_resume_does_each_example_once(tmp_path):
    path, asked = tmp_path / "unfinished.jsonl", []

    def work(items, first):
        asked.extend(items)
        if first >= 6 and len(asked) < 12:
            raise KeyboardInterrupt
        return [{"item": item, "number": first + n} for n, item in enumerate(items)]
    items = list("abcdefghijk")
    with pytest.raises(KeyboardInterrupt):
        inputs.resume(path, {"run": 1}, items, work, batch=3)
    with open(path, "a") as file:
        file.write('{"item": "g", "num')              # a kill tears a line
    rows = inputs.resume(path, {"run": 1}, items, work, batch=3)
    assert [row["item"] for row in rows] == items and [row["number"] for row in rows] == list(range(11))
    assert "".join(asked) == "abcdefghi" + "ghijk"
    assert inputs.resume(path, {"run": 1}, items, work, batch=3) == rows and len(asked) == 14
    inputs.resume(path, {"run": 2}, items, work)      # teeth: what hangs on other settings is not taken over
    assert len(asked) == 25


def test_settings_tell_runs_apart(tmp_path):
    data = tmp_path / "data"
    data.write_text("a")
    args = argparse.Namespace(data=data, limit=3, out="here")
    about = inputs.settings(args, {"hash": "x"}, data)
    args.out = "there"
    assert inputs.settings(args, {"hash": "x"}, data) == about == json.loads(json.dumps(about))
    data.write_text("b")
    assert inputs.settings(args, {"hash": "x"}, data) != about


def test_logits_that_break_on_the_way_keep_what_is_finished(tmp_path, model, tokenizer):
    """Not a number after the first batch: one line that says so, and the first batch is on the disk."""
    def work(items, first):
        if first:
            raise inputs.NotFinite("the model's logits are not finite")
        return [0] * len(items)
    with pytest.raises(SystemExit, match="from example 3 on; the 2 before it are kept"):
        inputs.resume(tmp_path / "kept.jsonl", {}, range(5), work, batch=2)
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 3


def test_a_killed_script_gives_the_numbers_of_a_whole_one(tmp_path, model, tokenizer, monkeypatch):
    checkpoint.save(tmp_path / "run", 1, model.float(), tokenizer)
    model.double()
    data = tmp_path / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": TEXT[:20 + n]}) + "\n" for n in range(9)))
    argv = ["--checkpoint", str(tmp_path / "run"), "--data", str(data), "--out", str(tmp_path / "out")]
    small = inputs.resume
    monkeypatch.setattr(perplexity, "resume", lambda *args: small(*args, batch=4))
    perplexity.main(argv)
    whole = json.loads((tmp_path / "out/metrics.json").read_text())
    nats, calls = perplexity.nats, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return nats(*args)
    monkeypatch.setattr(perplexity, "nats", killed)
    with pytest.raises(KeyboardInterrupt):
        perplexity.main(argv)
    assert (tmp_path / "out/unfinished_fiction.jsonl").exists()
    perplexity.main(argv)
    again = json.loads((tmp_path / "out/metrics.json").read_text())
    assert again["numbers"] == whole["numbers"] and len(calls) == 4
    assert not (tmp_path / "out/unfinished_fiction.jsonl").exists()


def test_unknown_task_is_one_line(tmp_path):
    with pytest.raises(SystemExit, match="no task 'wikitext': there are wikitext-2"):
        perplexity.main(["--checkpoint", str(tmp_path), "--data", "wikitext"])
