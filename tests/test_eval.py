"""
eval/: likelihoods against hand computation and a plain loop, canaries and word problems with scripted
replies, every script from files to metrics.json, and one clear line for each bad input.

The likelihoods are compared in float64, where two right answers differ by rounding alone (about
1e-13 over a few hundred tokens), so 1e-10 convicts any wrong window, shift or padding.
"""

import json
import math
import os

import pytest
import torch

from bpe.bpe import Tokenizer
from bpe.template import render
from eval import canaries, choice, exercise, gsm8k, inputs, perplexity
from gpt import checkpoint
from gpt.engine import Reply, Sampling
from gpt.llama import Config, Llama

TEXT = "Tom had 3 kites. He lost 1 kite, so 2 kites were left. Which metal is liquid? Mercury is. " * 3


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXT, vocab_size=330)


@pytest.fixture(scope="module")
def model(tokenizer):
    """A tiny Llama in float64 whose every layer matters (a fresh one starts as the identity)."""
    config = Config(tokenizer.n_vocab, n_layer=2, n_head=2, n_kv_head=1, n_embd=16, n_hidden=24, context=40)
    model = Llama(config).double()
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data.normal_(0, 0.3, generator=generator)
    return model.eval()


def uniform(tokenizer, context=40):
    model = Llama(Config(tokenizer.n_vocab, n_layer=1, n_head=1, n_kv_head=1, n_embd=8, n_hidden=8, context=context))
    model.model.embed_tokens.weight.data.zero_()
    return model.eval()


@torch.no_grad()
def slow_nats(model, ids, first):
    """The same by one forward a token, nothing padded: a float64 list."""
    return [-model(torch.tensor([ids[:t]]))[0][0, -1].log_softmax(0)[ids[t]].item() for t in range(first, len(ids))]


# ----------------------------------------------------------------------------
# likelihoods

def test_uniform_model_costs_log_v(tokenizer):
    texts = ["Tom had 3 kites.", TEXT, "é"]
    got = perplexity.measure(uniform(tokenizer), tokenizer, [{"text": t, "bits": 8.0} for t in texts])
    n_tokens, n_bytes = sum(len(tokenizer.encode(t)) for t in texts), sum(len(t.encode()) for t in texts)
    log_v = math.log(tokenizer.n_vocab)
    assert got["nats_per_token"] == pytest.approx(log_v, rel=1e-6)
    assert got["bits_per_byte"] == pytest.approx(n_tokens * log_v / math.log(2) / n_bytes, rel=1e-6)
    assert got["with_end_bits_per_byte"] == pytest.approx((n_tokens + 3) * log_v / math.log(2) / n_bytes, rel=1e-6)
    assert got["floor_bits_per_byte"] == 24 / n_bytes and got["bytes"] == n_bytes and got["tokens"] == n_tokens


@pytest.mark.parametrize("n, context, stride", [(1, 8, 4), (8, 8, 4), (9, 8, 4), (50, 8, 3), (50, 8, 8), (50, 8, 1)])
def test_windows_score_every_id_once(n, context, stride):
    ids, scored = list(range(n + 1)), []
    for row, first in perplexity.windows(ids, context, stride):
        assert len(row) <= context + 1 and first >= (1 if row[0] == 0 else context - stride + 1)
        assert row == ids[row[0]:row[-1] + 1]
        scored += row[first:]
    assert scored == ids[1:]


def test_nats_equal_the_plain_loop_whatever_the_batch(model, tokenizer):
    documents = [tokenizer.encode(TEXT[:n]) for n in (1, 7, 30, 90, len(TEXT))]
    assert max(map(len, documents)) > 60              # three windows
    rows = [row for ids in documents for row in perplexity.windows([0, *ids], 40, 20)]
    want = [x for row, first in rows for x in slow_nats(model, row, first)]
    for batch_tokens in (1, 60, 4096):
        got = torch.cat(perplexity.nats(model, rows, batch_tokens)).tolist()
        assert got == pytest.approx(want, abs=1e-10), batch_tokens
    shifted = torch.cat(perplexity.nats(model, [(row, first - 1) for row, first in rows if first > 1]))
    right = torch.cat(perplexity.nats(model, [(row, first) for row, first in rows if first > 1]))
    assert abs(shifted.sum() - right.sum()) > 1e-2    # teeth: an off-by-one in what is scored shows


def test_stride_matters_and_the_end_is_apart(model, tokenizer):
    ids, bos = tokenizer.encode(TEXT), tokenizer.specials["<|bos|>"]
    text, end = perplexity.document_nats(model, [ids, ids[:10]], bos, stride=20)
    alone, _ = perplexity.document_nats(model, [ids[:10]], bos, stride=20)
    assert text[1].item() == pytest.approx(alone[0].item(), abs=1e-10)
    assert end[1].item() == pytest.approx(slow_nats(model, [bos, *ids[:10], bos], 11)[0], abs=1e-10)
    chopped, _ = perplexity.document_nats(model, [ids], bos, stride=40)
    assert abs(chopped[0] - text[0]) > 1e-3           # teeth: windows that do not overlap give another number


def test_ratio_and_its_error_by_hand():
    """Two documents with ratios 1 and 3 around a mean of 2: residuals -1 and +1."""
    r, error = perplexity.ratio(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    assert r == 2 and error == pytest.approx(math.sqrt(2 * 2 / 1) / 2)


QUESTION = {"stem": "Which metal is liquid?", "choices": [
    {"text": "iron", "label": "A"}, {"text": "Mercury is", "label": "B"}, {"text": "the kite", "label": "C"},
    {"text": "2", "label": "D"}]}


def test_choice_equals_the_loop_by_hand(model, tokenizer):
    other = {"stem": "Was it so?", "choices": QUESTION["choices"][:3]}
    got, letters = (way(model, tokenizer, [QUESTION, other]) for way in (choice.likelihoods, choice.letters))
    wrong = []
    for q, text, letter in zip([QUESTION, other], got, letters):
        plain, _ = render([{"role": "user", "content": q["stem"]}], tokenizer, for_reply=True)
        with_choices, _ = render([{"role": "user", "content": choice.listed(q)}], tokenizer, for_reply=True)
        for c, x, y in zip(q["choices"], text, letter, strict=True):
            ids, label = tokenizer.encode(c["text"]), tokenizer.encode(c["label"])
            assert x == pytest.approx(-sum(slow_nats(model, plain + ids, len(plain))), abs=1e-10)
            assert y == pytest.approx(-slow_nats(model, with_choices + label, len(with_choices))[0], abs=1e-10)
            wrong.append(x + sum(slow_nats(model, plain + ids, len(plain) + 1)))
    assert min(map(abs, wrong)) > 1e-3                # teeth: a choice without its first token is another number


def test_choice_picks_the_likeliest_by_each_way(model, tokenizer):
    picks = choice.picks(model, tokenizer, [QUESTION], ["Mercury is. That is B."])
    (text,), (letter,) = (way(model, tokenizer, [QUESTION]) for way in (choice.likelihoods, choice.letters))
    per_byte = [x / len(c["text"]) for x, c in zip(text, QUESTION["choices"])]
    assert picks == {"reply": [1]} | {way: [x.index(max(x))] for way, x in (
        ("shown", choice.likelihoods(model, tokenizer, [QUESTION], shown=True)[0]), ("letter", letter), ("text", text),
        ("length", per_byte))}
    assert picks["text"] != picks["length"]           # teeth: the two ways differ on this question


def test_a_reply_without_a_letter_of_a_choice_is_no_pick(model, tokenizer):
    said = ["Mercury.", "That is E.", "", "D", "The answer is (C)."]
    assert choice.picks(model, tokenizer, [QUESTION] * 5, said)["reply"] == [None, None, None, 3, 2]


def test_nan_logits_are_an_error(tokenizer):
    broken = uniform(tokenizer)
    broken.model.norm.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match="not finite"):
        perplexity.measure(broken, tokenizer, [{"text": TEXT}])


# ----------------------------------------------------------------------------
# canaries and word problems, with scripted replies

PARTS = [{"type": "text", "text": "She has "}, {"type": "call", "text": "2+3"}, {"type": "result", "text": "9"},
         {"type": "text", "text": "5.\n#### 5"}]


def scripted(tokenizer, texts):
    """A generate() that answers with these texts, in turn; one that ends in "…" was cut at the limit."""
    def generate(model, tok, prompts, max_new, tools=None):
        for prompt, text in zip(prompts, texts, strict=True):
            ids = render([{"role": "user", "content": "?"}, {"role": "assistant", "content": text}], tokenizer)[0]
            reply = Reply(prompt, max_new, Sampling(), 0)
            reply.ids = ids[ids.index(tokenizer.specials["<|assistant|>"]) + 1:]
            reply.finished = "length" if str(text).endswith("…") else "end"
            yield reply
    return lambda *args, **kw: list(generate(*args, **kw))


ITEMS = [{"messages": [{"role": "user", "content": ask}], "kind": kind, "check": {"type": form, "answer": answer}}
         for ask, kind, form, answer in [("2+3?", "arithmetic", "number", "5"), ("4+4?", "arithmetic", "number", "8"),
                                         ("Say yes.", "format", "exact", "yes")]]


def test_canaries_and_their_ledger(tokenizer, model, monkeypatch):
    monkeypatch.setattr(canaries, "generate", scripted(tokenizer, [PARTS, "7", "yes"]))
    before = canaries.measure(model, tokenizer, ITEMS)
    monkeypatch.setattr(canaries, "generate", scripted(tokenizer, [PARTS, "8", "yes and…"]))
    after = canaries.measure(model, tokenizer, ITEMS)
    assert before["arithmetic"]["value"] == 0.5 and before["format"]["value"] == 1 and before["ends"]["value"] == 1
    assert after["arithmetic"] == {"value": 1, "n": 2, "stderr": 0} and after["ends"]["value"] == pytest.approx(2 / 3)
    block = canaries.block(before, after)
    change = block["difference"]["arithmetic"]        # of 0 and 1: mean 1/2, deviation sqrt(1/2), over sqrt(2)
    assert change == {"value": 0.5, "n": 2, "stderr": pytest.approx(0.5)}
    assert block["difference"]["all"]["value"] == 0 and "answers" not in block["before"]
    json.dumps(block)
    assert "arithmetic 100.0%" in canaries.show(after)
    with pytest.raises(ValueError):
        canaries.block(before, {**after, "answers": after["answers"][:2]})


def test_word_problems_strict_and_lenient(tokenizer, model, monkeypatch):
    items = [{"question": "q", "answer": "She has <<2+3=5>>5.\n#### 5"}] * 3
    items += [{"question": "far too long " * 99, "answer": "#### 5"}]
    monkeypatch.setattr(gsm8k, "generate", scripted(tokenizer, [PARTS, "It is 5", "#### 6"]))
    rows = gsm8k.solve(model, tokenizer, items, 50, None)
    assert [row["passed"] for row in rows] == [True, False, False, False]
    assert [row["lenient"] for row in rows] == [True, True, False, False]
    assert rows[0]["reply"] == PARTS and not rows[3]["ended"]


# ----------------------------------------------------------------------------
# the scripts, from files to metrics.json, and bad input

@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer, model):
    """A checkpoint and a small corpus."""
    folder = tmp_path_factory.mktemp("eval")
    checkpoint.save(folder / "run", 1, model.float(), tokenizer)
    model.double()
    stories = [{"text": TEXT, "bits": 400.0}, {"text": "Tom had 3 kites.", "bits": 20.0}]
    problems = [{"question": "Tom had 3 kites.", "answer": "#### 2"}] * 3
    questions = [{"id": "1", "question": QUESTION, "answerKey": "B"}] * 5
    (folder / "empty").mkdir()
    for name, rows in {"fiction_test": stories, "fiction_heldout": stories, "questions_test": questions,
                       "canaries": ITEMS, "arithmetic_test": problems, "arithmetic_unseen": problems[:2],
                       "real/arithmetic_test": problems}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(script, folder, *more, data="."):
    """What a script writes of the corpus folder, or of one file in it."""
    out = folder / script.__name__.split(".")[-1]
    script.main(["--checkpoint", str(folder / "run"), "--data", str(folder / data), "--out", str(out), *more])
    return json.loads((out / "metrics.json").read_text())


def test_perplexity_script(folder):
    n_bytes = len(TEXT.encode()) + 16
    ngram = folder / "ngram.json"
    ngram.write_text(json.dumps({"numbers": {"test_bits_per_byte": 2.0, "test_bytes": n_bytes}}))
    got = run(perplexity, folder, "--ngram", str(ngram))["numbers"]
    assert got["fiction_bits_per_byte"] == got["fiction_heldout_bits_per_byte"]
    assert got["fiction_floor_bits_per_byte"] == got["fiction_heldout_floor_bits_per_byte"] == 420 / n_bytes
    assert got["fiction_over_floor"] == pytest.approx(got["fiction_bits_per_byte"] * n_bytes / 420)
    assert got["fiction_below_ngram"] == 1 - got["fiction_bits_per_byte"] / 2
    (folder / "novel.txt").write_text("Tom had 3 kites.\n<|endoftext|>\nHe lost 1 kite.\n")
    got = run(perplexity, folder, "--name", "novel", data="novel.txt")["numbers"]
    assert got["novel_documents"] == 2 and got["novel_bytes"] == 31 and "novel_over_floor" not in got


def test_choice_script(folder):
    metrics = run(choice, folder)
    assert set(metrics["scores"]) == {f"science_choice{way}" for way in ("", "_text", "_length", "_letter", "_shown")}
    assert "science_choice_reply" in run(choice, folder, "--by", "text")["scores"]
    assert metrics["scores"]["science_choice"]["chance"] == 0.25
    assert metrics["numbers"] == {"science_choice_majority": 1, "science_choice_shortest": 0}


def test_word_problem_script(folder):
    metrics = run(gsm8k, folder, "--max-new", "4")
    names = "gsm8k_tiny", "gsm8k_tiny_unseen", "gsm8k_tiny_no_tool"
    assert set(metrics["scores"]) == {*names, *(f"{name}_lenient" for name in names)}
    assert [metrics["scores"][name]["n"] for name in names] == [3, 2, 3]
    assert metrics["checkpoint"] and metrics["data_sha"]
    rows = [json.loads(line) for line in open(folder / "gsm8k" / "answers.jsonl")]
    assert len(rows) == 8 and {"task", "question", "reply", "ended", "passed"} <= set(rows[0])
    real = run(gsm8k, folder, "--max-new", "4", "--limit", "2", data="real")["scores"]
    assert real["gsm8k_first200"]["n"] == real["gsm8k_first200_no_tool"]["n"] == 2 and "gsm8k_tiny" not in real
    alone = run(gsm8k, folder, "--max-new", "4", "--name", "mine", data="arithmetic_test.jsonl")["scores"]
    assert set(alone) == {"mine", "mine_lenient"}


def test_canary_script(folder):
    metrics = run(canaries, folder)
    assert metrics["scores"]["canaries_all"]["n"] == 3 and (folder / "canaries" / "answers.jsonl").exists()


@pytest.mark.parametrize("script", [canaries, choice], ids=lambda script: script.__name__)
def test_what_a_corpus_lacks_is_not_measured(folder, capsys, script):
    assert run(script, folder, data="empty")["scores"] == {}
    assert "nothing is measured" in capsys.readouterr().out


def test_exercises_turn_down_wrong_solutions(tmp_path, capsys):
    mine = tmp_path / "mine.py"
    mine.write_text("from eval.check import strict as number\nfrom eval.perplexity import windows\n"
                    "def paired(before, after):\n    return 0.0, 0.0\n")
    with pytest.raises(SystemExit):
        exercise.main([str(mine)])
    said = capsys.readouterr().out
    assert "number: right" in said and "windows: right" in said and "yours: (0.0, 0.0)" in said
    mine.write_text("def windows(ids, context, stride):\n    return [(ids, 1)]\n")
    with pytest.raises(SystemExit):
        exercise.main([str(mine)])
    mine.write_text("from eval.exercise import paired\n")
    exercise.main([str(mine)])


def test_bad_input_ends_in_one_line(folder, tmp_path):
    bad, empty, short = tmp_path / "bad.jsonl", tmp_path / "empty.jsonl", tmp_path / "short.jsonl"
    bad.write_text('{"text": "a"}\n{"text": \n')
    empty.write_text("")
    short.write_text('{"text": "a"}\n{"txt": "b"}\n')
    keyless = tmp_path / "keyless.jsonl"
    keyless.write_text(json.dumps({"question": QUESTION, "answerKey": "E"}) + "\n")
    unmarked = tmp_path / "unmarked.jsonl"
    unmarked.write_text('{"question": "?", "answer": "5"}\n')
    ngram = tmp_path / "metrics.json"
    ngram.write_text('{"numbers": {"test_bits_per_byte": 2.0, "test_bytes": 1}}')
    fiction = folder / "fiction_test.jsonl"
    for argv, message in [(("--data", bad), r"bad.jsonl, line 2 is no JSON"), (("--data", empty), "is empty"),
                          (("--data", short), "line 2 has no 'text'"), (("--data", tmp_path / "no.jsonl"), "no .*no"),
                          (("--data", fiction, "--ngram", ngram), "is about 1 bytes"),
                          (("--data", fiction, "--stride", "99"), "context, 40")]:
        with pytest.raises(SystemExit, match=message):
            perplexity.main(["--checkpoint", str(folder / "run"), "--out", str(tmp_path), *map(str, argv)])
    with pytest.raises(SystemExit, match="record 1: the answer has no line"):
        gsm8k.main(["--checkpoint", str(folder / "run"), "--data", str(unmarked), "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="record 1: no choice has the label 'E'"):
        choice.main(["--checkpoint", str(folder / "run"), "--data", str(keyless), "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="no checkpoint at"):
        perplexity.main(["--checkpoint", str(tmp_path / "none"), "--data", str(fiction), "--out", str(tmp_path)])


def test_bad_checkpoints_end_in_one_line(tmp_path, tokenizer):
    broken = uniform(tokenizer)
    broken.model.norm.weight.data.fill_(math.nan)
    checkpoint.save(tmp_path / "nan", 1, broken, tokenizer)
    with pytest.raises(SystemExit, match="not finite"):
        inputs.load_model(tmp_path / "nan")
    path = checkpoint.save(tmp_path / "run", 1, uniform(tokenizer), tokenizer)
    size = os.path.getsize(path / "tokenizer.json")
    Tokenizer.train("other words entirely " * 9, vocab_size=330).save(path)
    assert os.path.getsize(path / "tokenizer.json") != size
    with pytest.raises(SystemExit, match="tokenizer"):
        inputs.load_model(tmp_path / "run")
