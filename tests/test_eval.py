"""
eval/: likelihoods against hand computation and a plain loop, how numbers are read out of answers,
every check, the sandbox against hostile code, canaries, and one clear line for each bad input.

The likelihoods are compared in float64, where two right answers differ by rounding alone (about
1e-13 over a few hundred tokens), so 1e-10 convicts any wrong window, shift or padding.
"""

import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
import torch

from bpe.bpe import Tokenizer
from bpe.template import render
from eval import canaries, check, choice, gsm8k, inputs, perplexity, sandbox
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
    model = Llama(Config(tokenizer.n_vocab, n_layer=2, n_head=2, n_kv_head=1, n_embd=16, n_hidden=24, context=40)).double()
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
    picks = choice.answers(model, tokenizer, [{"question": QUESTION}])
    prompt, _ = render([{"role": "user", "content": QUESTION["stem"]}], tokenizer, for_reply=True)
    want = []
    for c in QUESTION["choices"]:
        ids = tokenizer.encode(c["text"])
        want.append(-sum(slow_nats(model, prompt + ids, len(prompt))))
    got = choice.likelihoods(model, tokenizer, [(QUESTION["stem"], c["text"]) for c in QUESTION["choices"]])
    assert got == pytest.approx(want, abs=1e-10)
    per_byte = [x / len(c["text"]) for x, c in zip(want, QUESTION["choices"])]
    assert picks["text"] == [want.index(max(want))] and picks["length"] == [per_byte.index(max(per_byte))]
    assert picks["text"] != picks["length"]           # teeth: the two ways differ on this question
    other = choice.likelihoods(model, tokenizer, [("Which kite?", c["text"]) for c in QUESTION["choices"]])
    assert max(abs(a - b) for a, b in zip(got, other)) > 1e-3


def test_nan_logits_are_an_error(tokenizer):
    broken = uniform(tokenizer)
    broken.model.norm.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match="not finite"):
        perplexity.measure(broken, tokenizer, [{"text": TEXT}])


# ----------------------------------------------------------------------------
# answers and checks

@pytest.mark.parametrize("text, strict, lenient", [
    ("He has 5.\n#### 24", "24", "24"), ("#### 1,234", "1234", "1234"), ("#### $18.00", "18", "18"),
    ("#### -7", "-7", "-7"), ("so 12 and 30", None, "30"), ("10-3", None, "3"), ("It is (4)-1.", None, "1"),
    ("a total of 2.5.", None, "2.5"), ("24 apples, 3, and none", None, "3"), ("#### 24 of 30", "24", "30"),
    ("####24", None, "24"), ("none", None, None), ("", None, None), ("#### four", None, None), ("٣", None, None)])
def test_numbers(text, strict, lenient):
    def number(x):
        return None if x is None else Decimal(x)
    assert check.strict(text) == number(strict) and check.lenient(text) == number(lenient)


PARTS = [{"type": "text", "text": "She has "}, {"type": "call", "text": "2+3"}, {"type": "result", "text": "9"},
         {"type": "text", "text": "5.\n#### 5"}]
STORY = "Tom had a kite. \"Where is it?\" asked Mia. It flew. Tom ran! They found it in a tree."
CODE = {"type": "code", "name": "double", "answer": [[[1], 2], [["ab"], "abab"]]}


@pytest.mark.parametrize("kind, content, good", [
    ({"type": "exact", "answer": "iron"}, " iron\n", True), ({"type": "exact", "answer": "iron"}, "Iron", False),
    ({"type": "number", "answer": "5"}, PARTS, True), ({"type": "number", "answer": "9"}, PARTS, False),
    ({"type": "number", "answer": 5}, "It is 5.0", True), ({"type": "number", "answer": "5"}, "none", False),
    ({"type": "contains", "answer": ["Iron", "gold"]}, "gold and iron", True),
    ({"type": "contains", "answer": ["iron", "gold"]}, "gold", False),
    ({"type": "choice", "answer": "B"}, "B", True), ({"type": "choice", "answer": "B"}, "(B) iron", True),
    ({"type": "choice", "answer": "B"}, "The answer is B.", True), ({"type": "choice", "answer": "B"}, "A. B", False),
    ({"type": "choice", "answer": "A"}, "A bird", False),
    ({"type": "story", "answer": ["Tom", "kite"], "sentences": [5, 12]}, STORY, True),
    ({"type": "story", "answer": ["Tom", "kit"], "sentences": [5, 12]}, STORY, False),
    ({"type": "story", "answer": ["Tom"], "sentences": [6, 12]}, STORY, False),
    (CODE, "def double(x):\n    print('loud')\n    return 2 * x", True),
    (CODE, "Here it is:\n```python\ndef double(x):\n    return x + x\n```\nDone.", True),
    (CODE, "def double(x):\n    return x", False), (CODE, "def triple(x):\n    return 3 * x", False),
    (CODE, "def double(x) return", False), (CODE, "", False)], ids=str)
def test_checks(kind, content, good):
    assert check.passes(kind, content) is good


def test_an_unknown_check_is_an_error():
    with pytest.raises(ValueError, match="no check of type 'vibes'"):
        check.passes({"type": "vibes", "answer": ""}, "")


HOSTILE = {
    "endless loop": "while True: pass",
    "memory": "return len([0] * 10**9)",
    "output": "\n    import os\n    while True: os.write(1, b'x' * 65536)",
    "long answer": "return 'x' * 10**6",
    "read": "return open('/etc/passwd').read()",
    "standard input": "return open(0).read()",
    "write": "open({path!r}, 'w').write('x'); return 1",
    "remove": "\n    import os\n    os.remove({path!r})\n    return 1",
    "socket": "\n    import socket\n    socket.create_connection(('127.0.0.1', 80))\n    return 1",
    "bare socket": "\n    import _socket\n    _socket.socket()\n    return 1",
    "process": "\n    import os\n    if not os.fork(): os._exit(0)\n    return 1",
    "shell": "\n    import os\n    os.system('true')\n    return 1",
    "modules": "\n    return [m.system('true') for m in sys.modules.values() if hasattr(m, 'system')]",
    "posix": "\n    import posix\n    posix.kill(posix.getppid(), 0)\n    return 1",
    "native code": "\n    import ctypes\n    return 1",
    "limits": "\n    import resource\n    resource.setrlimit(resource.RLIMIT_CPU, (9, 9))\n    return 1",
    "recursion": "return f(x)",
    "exit": "raise SystemExit(0)",
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """All of them side by side: {name: (what came back, seconds)}, and the file they were to write or remove."""
    path = tmp_path_factory.mktemp("hostile") / "precious"
    path.write_text("here")
    sources = {name: f"import sys\ndef f(x):\n    {body.format(path=str(path))}" for name, body in HOSTILE.items()}
    start = time.time()
    with ThreadPoolExecutor(4) as pool:
        got = dict(zip(sources, pool.map(lambda s: sandbox.run(s, "f", [[1]]), sources.values())))
    return got, time.time() - start, path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_code_gets_nowhere(hostile, name):
    got, _, path = hostile
    assert got[name] is None and path.read_text() == "here"


def test_hostile_code_is_stopped_soon_and_honest_code_runs(hostile):
    assert hostile[1] < 30
    assert sandbox.run("import sys, math\ndef f(x):\n    return math.floor(x), {'a': [x]}", "f", [[1.5]]) == [[1, {"a": [1.5]}]]


@pytest.mark.parametrize("name", ["read", "write", "remove", "bare socket", "process", "modules", "posix"])
def test_the_fence_has_teeth(name, tmp_path, monkeypatch):
    """Without the hook and the limits the same code does what it wants: it is the fence that stops it."""
    monkeypatch.setattr(sandbox, "CHILD", sandbox.CHILD.replace("sys.addaudithook(guard)", ""))
    monkeypatch.setattr(sandbox, "LIMITS", {})
    path = tmp_path / "precious"
    path.write_text("here")
    body = HOSTILE[name].format(path=str(path))
    body = body.replace("_socket.socket()", "_socket.socket().close()")
    assert sandbox.run(f"import sys\ndef f(x):\n    {body}", "f", [[1]]) is not None
    assert (path.exists() and path.read_text() == "here") is (name not in ("write", "remove"))


def test_code_cannot_learn_the_results_it_should_give():
    """Nothing but the arguments crosses over; what it returns is compared here."""
    spy = "import sys\ndef double(x):\n    return [v for k, v in sys._getframe(1).f_globals['job'].items() if k == 'answer']"
    assert not check.passes(CODE, spy)


# ----------------------------------------------------------------------------
# canaries and word problems, with scripted replies

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


ITEMS = [{"messages": [{"role": "user", "content": "2+3?"}], "kind": "arithmetic", "check": {"type": "number", "answer": "5"}},
         {"messages": [{"role": "user", "content": "4+4?"}], "kind": "arithmetic", "check": {"type": "number", "answer": "8"}},
         {"messages": [{"role": "user", "content": "Say yes."}], "kind": "format", "check": {"type": "exact", "answer": "yes"}}]


def test_canaries_and_their_ledger(tokenizer, model, monkeypatch):
    monkeypatch.setattr(canaries, "generate", scripted(tokenizer, [PARTS, "7", "yes"]))
    before = canaries.measure(model, tokenizer, ITEMS)
    monkeypatch.setattr(canaries, "generate", scripted(tokenizer, [PARTS, "8", "yes and…"]))
    after = canaries.measure(model, tokenizer, ITEMS)
    assert before["arithmetic"]["value"] == 0.5 and before["format"]["value"] == 1 and before["ends"]["value"] == 1
    assert after["arithmetic"] == {"value": 1, "n": 2, "stderr": 0} and after["ends"]["value"] == pytest.approx(2 / 3)
    block = canaries.block(before, after)
    assert block["difference"]["arithmetic"] == {"value": 0.5, "n": 2, "stderr": pytest.approx(0.5)}  # 1 and 0: sd/sqrt(2)
    assert block["difference"]["all"]["value"] == 0 and "answers" not in block["before"]
    json.dumps(block)
    assert "arithmetic 100.0%" in canaries.show(after)
    with pytest.raises(ValueError):
        canaries.block(before, {**after, "answers": after["answers"][:2]})


def test_word_problems_strict_and_lenient(tokenizer, model, monkeypatch):
    items = [{"question": "q", "answer": "She has <<2+3=5>>5.\n#### 5"}] * 3 + [{"question": "far too long " * 99, "answer": "#### 5"}]
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
    write = lambda name, rows: (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    write("fiction.jsonl", [{"text": TEXT, "bits": 400.0}, {"text": "Tom had 3 kites.", "bits": 20.0}])
    write("questions.jsonl", [{"id": "1", "question": QUESTION, "answerKey": "B"}] * 5)
    write("arithmetic.jsonl", [{"question": "Tom had 3 kites.", "answer": "#### 2"}] * 3)
    write("canaries.jsonl", ITEMS)
    return folder


def run(script, folder, data, *more):
    out = folder / script.__name__.split(".")[-1]
    script.main(["--checkpoint", str(folder / "run"), "--data", str(folder / data), "--out", str(out), *more])
    return json.loads((out / "metrics.json").read_text())


def test_scripts_write_their_keys(folder):
    n_bytes = len(TEXT.encode()) + 16
    ngram = folder / "ngram.json"
    ngram.write_text(json.dumps({"numbers": {"test_bits_per_byte": 2.0, "test_bytes": n_bytes}}))
    got = run(perplexity, folder, "fiction.jsonl", "--heldout", str(folder / "fiction.jsonl"), "--ngram", str(ngram))["numbers"]
    assert got["fiction_bits_per_byte"] == got["fiction_heldout_bits_per_byte"]
    assert got["fiction_floor_bits_per_byte"] == got["fiction_heldout_floor_bits_per_byte"] == 420 / n_bytes
    assert got["fiction_over_floor"] == pytest.approx(got["fiction_bits_per_byte"] * n_bytes / 420)
    assert got["fiction_below_ngram"] == 1 - got["fiction_bits_per_byte"] / 2
    metrics = run(choice, folder, "questions.jsonl")
    assert set(metrics["scores"]) == {"science_choice", "science_choice_length", "science_choice_letter"}
    assert metrics["scores"]["science_choice"]["chance"] == 0.25 and metrics["numbers"]["science_choice_majority"] == 1
    unseen = str(folder / "arithmetic.jsonl")
    metrics = run(gsm8k, folder, "arithmetic.jsonl", "--unseen", unseen, "--no-tool", "--limit", "2", "--max-new", "4")
    assert {"gsm8k_tiny", "gsm8k_tiny_unseen", "gsm8k_tiny_no_tool", "gsm8k_tiny_lenient"} <= set(metrics["scores"])
    assert metrics["scores"]["gsm8k_tiny"]["n"] == 2 and metrics["checkpoint"] and metrics["data_sha"]
    rows = (folder / "gsm8k" / "answers.jsonl").read_text().splitlines()
    assert len(rows) == 6 and {"task", "question", "reply", "ended", "passed"} <= set(json.loads(rows[0]))
    metrics = run(canaries, folder, "canaries.jsonl")
    assert metrics["scores"]["canaries_all"]["n"] == 3 and (folder / "canaries" / "answers.jsonl").exists()


def test_a_corpus_without_canaries_says_so(folder, capsys):
    assert run(canaries, folder, "none.jsonl")["canaries"] is None
    assert "has no canaries" in capsys.readouterr().out


def test_bad_input_ends_in_one_line(folder, tmp_path):
    bad, empty, short = tmp_path / "bad.jsonl", tmp_path / "empty.jsonl", tmp_path / "short.jsonl"
    bad.write_text('{"text": "a"}\n{"text": \n')
    empty.write_text("")
    short.write_text('{"text": "a"}\n{"txt": "b"}\n')
    unmarked = tmp_path / "unmarked.jsonl"
    unmarked.write_text('{"question": "?", "answer": "5"}\n')
    ngram = tmp_path / "metrics.json"
    ngram.write_text('{"numbers": {"test_bits_per_byte": 2.0, "test_bytes": 1}}')
    fiction = folder / "fiction.jsonl"
    for argv, message in [(("--data", bad), r"bad.jsonl, line 2 is no JSON"), (("--data", empty), "is empty"),
                          (("--data", short), "line 2 has no 'text'"), (("--data", tmp_path / "none.jsonl"), "no .*none"),
                          (("--data", fiction, "--ngram", ngram), "is about 1 bytes"),
                          (("--data", fiction, "--stride", "99"), "context, 40")]:
        with pytest.raises(SystemExit, match=message):
            perplexity.main(["--checkpoint", str(folder / "run"), "--out", str(tmp_path), *map(str, argv)])
    with pytest.raises(SystemExit, match="record 1: the answer has no line"):
        gsm8k.main(["--checkpoint", str(folder / "run"), "--data", str(unmarked), "--out", str(tmp_path)])
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
