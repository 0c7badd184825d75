"""
What the terminal and the server share (fitting a conversation, streaming an answer), the thread that
owns the engine, and the terminal chat. The model is tests/scripted.py's, whose answers are known.
"""

import io
import queue
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bpe import template
from chat import cli, session
from gpt import checkpoint
from gpt.llama import Config, Llama
from gpt.sampling import Sampling
from tests.scripted import ABOUT, ANSWERS, SUM, TOKENIZER, Scripted, working

ROOT = Path(__file__).resolve().parent.parent
GREEDY = dict(max_new=400, sampling=Sampling(), seed=0)


def user(text):
    return {"role": "user", "content": text}


def assistant(content):
    return {"role": "assistant", "content": content}


def read(ids, stop=()):
    """All events of an answer."""
    stream = session.Stream(TOKENIZER, stop)
    return [event for id in ids for event in stream.feed(id)] + stream.close()


# ----------------------------------------------------------------------------
# streaming

def test_events_are_the_parts_of_the_reply():
    """On any ids, sensible or not, the events joined are what parse_reply finds in the whole."""
    rng = random.Random(0)
    special = list(TOKENIZER.specials.values())
    special.remove(TOKENIZER.specials["<|end|>"])
    for _ in range(300):
        ids = [rng.choice(special) if rng.random() < 0.2 else rng.randrange(256) for _ in range(30)]
        ids += TOKENIZER.encode("ü🦊") + rng.choices(special, k=2)
        assert template.parts_of(read(ids)) == template.parse_reply(ids, TOKENIZER)


def test_a_character_comes_whole():
    text = "Grüße 🦊 of 你好"
    pieces = [event["text"] for event in read(TOKENIZER.encode(text))]
    assert pieces == list(text)
    assert "".join(TOKENIZER.decode([id]) for id in TOKENIZER.encode(text)) != text, "the test has no teeth"


def test_stop_strings():
    """For any text and stop strings: what comes before the first one found, and no piece is taken back."""
    rng = random.Random(1)
    for _ in range(500):
        text = "".join(rng.choices("ab", k=12))
        stop = ["".join(rng.choices("ab", k=rng.randint(1, 4))) for _ in range(rng.randint(1, 2))]
        got = template.text_of(read(TOKENIZER.encode(text), stop))
        ends = {text.index(s) for s in stop if s in text}
        if len(stop) == 1:
            assert got == text[:min(ends, default=len(text))], (text, stop)
        assert text.startswith(got) and not any(s in got for s in stop), (text, stop)


def test_text_is_held_only_while_it_may_become_a_stop_string():
    stream = session.Stream(TOKENIZER, ["END"])
    pieces = ["".join(e["text"] for e in stream.feed(id)) for id in TOKENIZER.encode("aENbEND!")]
    assert pieces == ["a", "", "", "ENb", "", "", "", ""] and stream.stopped


def test_split_and_merge():
    rng = random.Random(2)
    for _ in range(200):
        parts = template.parts_of([{"type": rng.choice(["text", "call", "result"]), "text": rng.choice("ab🦊")}
                                   for _ in range(rng.randrange(6))])
        assert session.merge(*session.split(parts)) == parts
    text, events = session.split(SUM)
    assert text == "Half of 48 is 48/2=24 apples.\n#### 24" and [e["at"] for e in events] == [19, 19]
    for places in ([99], [2, 1], [0, 0, 3]):                  # a client may send anything: no text is lost or doubled
        assert template.text_of(session.merge("abc", [{"type": "call", "text": "1", "at": n} for n in places])) == "abc"


# ----------------------------------------------------------------------------
# fitting

TALK = [{"role": "system", "content": "Be brief."}, user("one " * 9), assistant(SUM),
        user("two"), assistant("2"), user("three")]


def test_fit_leaves_out_the_oldest_turns():
    def length(messages):
        return len(template.render(messages, TOKENIZER, for_reply=True)[0])

    for first, dropped in [(1, 0), (3, 2), (5, 4)]:
        kept = TALK[:1] + TALK[first:]
        for limit in (length(kept), length(kept) + 1):
            ids, left_out = session.fit(TALK, TOKENIZER, limit)
            assert (ids, left_out) == (template.render(kept, TOKENIZER, for_reply=True)[0], dropped)
    with pytest.raises(session.TooLong, match=f"at most {length(TALK[:1] + TALK[5:]) - 1} tokens"):
        session.fit(TALK, TOKENIZER, length(TALK[:1] + TALK[5:]) - 1)


def test_fit_turns_down_what_is_no_conversation():
    for messages in ([], [assistant("hi")], [user("a"), user("b")], [user("a"), assistant("b")]):
        with pytest.raises(ValueError, match="message|conversation"):
            session.fit(messages, TOKENIZER, 100)


def test_fit_does_not_encode_what_cannot_fit(monkeypatch):
    encode = TOKENIZER.encode

    def watched(text):
        assert len(text) <= 100 * 32, "encoded although it cannot fit"
        return encode(text)

    monkeypatch.setattr(TOKENIZER, "encode", watched)
    with pytest.raises(session.TooLong):
        session.fit([user("x" * 10**6)], TOKENIZER, 100)
    assert session.fit([user("x" * 10**6), assistant("y"), user("z")], TOKENIZER, 100)[1] == 2


# ----------------------------------------------------------------------------
# the worker

def ask(worker, text, **options):
    """A queue of the answer's events, and the answer."""
    events = queue.SimpleQueue()
    ids, _ = session.fit([user(text)], TOKENIZER, worker.context)
    return events, worker.ask(ids, events.put, **GREEDY | options)


def drain(events):
    got = []
    while not got or got[-1]["type"] != "end":
        got.append(events.get(timeout=20))
    return got[:-1], got[-1]


def test_answers_advance_together():
    """Eight questions over four slots, each with its own answer; a stop string and a length end two of them."""
    with working(slots=4) as worker:
        asked = ["sum", "hello", "markup", "broken", "x", "y", "z"]
        queues = [ask(worker, text)[0] for text in asked]
        stopped, cut = ask(worker, "hello", stop=["wö"])[0], ask(worker, "hello", max_new=5)[0]
        for text, events in zip(asked, queues):
            parts, end = drain(events)
            assert template.parts_of(parts) == template.parts_of(ANSWERS.get(text, f"You said: {text}"))
            assert end["reason"] == "stop"
        parts, end = drain(stopped)
        assert template.text_of(parts) == "Hello, " and end == {"type": "end", "reason": "stop", "tokens": 10}
        parts, end = drain(cut)
        assert template.text_of(parts) == "Hello" and end == {"type": "end", "reason": "length", "tokens": 5}


def test_cancel_frees_the_slot():
    with working(Scripted(delay=0.005), slots=1) as worker:
        events, answer = ask(worker, "long")
        events.get(timeout=20)
        following, _ = ask(worker, "hello")
        worker.cancel(answer)
        assert drain(events)[1]["reason"] == "cancelled"
        assert drain(following)[1]["reason"] == "stop"
        worker.cancel(answer)                                 # again, late: nothing happens
        assert drain(ask(worker, "hello")[0])[1]["reason"] == "stop" and not worker.active


def test_the_worker_outlives_a_failure(capsys):
    def fail(seen):
        raise ArithmeticError("planted")

    model = Scripted()
    with working(model) as worker:
        model.answer = fail
        parts, end = drain(ask(worker, "hello")[0])
        assert (parts, end["reason"]) == ([], "error") and "planted" in capsys.readouterr().err
        del model.answer
        assert drain(ask(worker, "hello")[0])[1]["reason"] == "stop"


# ----------------------------------------------------------------------------
# the terminal

@pytest.fixture
def talk(monkeypatch, capsys):
    """talk(line, ...) -> what the terminal chat prints, and the prompts that the model was given."""
    def talk(*lines, **scripted):
        prompts = []
        with working(Scripted(**scripted), slots=1) as worker:
            begin = worker.ask
            monkeypatch.setattr(worker, "ask", lambda ids, *a, **k: (prompts.append(ids), begin(ids, *a, **k))[1])
            monkeypatch.setattr(cli, "load", lambda *_: (worker, ABOUT))
            monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
            cli.main(["--temperature", "0"])
        return capsys.readouterr().out, prompts
    return talk


def test_tool_calls_are_shown(talk):
    shown, _ = talk("sum")
    assert "> sum\nHalf of 48 is 48/2=[48/2 = 24] 24 apples.\n#### 24\n" in shown


def test_turns_and_commands(talk):
    shown, prompts = talk("sum", "", "/help", "/nonsense", "hello", "/reset", "hello", "/quit", "never reached")
    wanted = [[user("sum")], [user("sum"), assistant(SUM), user("hello")], [user("hello")]]
    assert prompts == [template.render(messages, TOKENIZER, for_reply=True)[0] for messages in wanted]
    assert "forget the conversation" in shown and "no command /nonsense" in shown and "never" not in shown
    assert "2.6M parameters" in shown and shown.count("Hello, wörld! 🦊 bye") == 2


def test_long_conversations_and_questions(talk):
    shown, prompts = talk("y" * 100, "hello", "hello", "hello", "z" * 300, context=256)
    assert "the 2 oldest messages no longer fit" in shown and len(prompts) == 4
    assert "the last message is too long: a prompt holds at most 192 tokens" in shown


def test_a_model_cannot_steer_the_terminal(talk):
    shown, _ = talk("evil", answers={"evil": "a\x1b[2Jb\x07c\u202ed"})
    assert "a[2Jbcd\n" in shown


def test_missing_checkpoint(tmp_path):
    with pytest.raises(SystemExit) as exit:
        cli.main(["--checkpoint", str(tmp_path / "none")])
    assert "no checkpoint at" in str(exit.value) and "bash run.sh" in str(exit.value) and "\n" not in str(exit.value)


def test_a_real_checkpoint(tmp_path, capsys, monkeypatch):
    """Random weights say random things: the same ones for the same seed, others for another."""
    torch.manual_seed(0)
    model = Llama(Config(TOKENIZER.n_vocab, n_layer=1, n_head=2, n_kv_head=1, n_embd=32, n_hidden=32, context=64))
    checkpoint.save(tmp_path, 1, model, TOKENIZER)
    said = []
    for seed in ("1", "1", "2"):
        monkeypatch.setattr(sys, "stdin", io.StringIO("hi\nagain\n"))
        cli.main(["--checkpoint", str(tmp_path), "--seed", seed, "--temperature", "1"])
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2] and "> again" in said[0]


SLOW = """
import sys
from chat import cli
from tests.scripted import ABOUT, Scripted, working
with working(Scripted(delay=0.01), slots=1) as worker:
    cli.load = lambda *_: (worker, ABOUT)
    cli.main([])
"""


def test_ctrl_c_stops_the_answer_and_not_the_program():
    process = subprocess.Popen([sys.executable, "-c", SLOW], cwd=ROOT, text=True, bufsize=1,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        process.stdin.write("long\n")
        shown = ""
        while "word word" not in shown:
            shown += process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        shown, errors = process.communicate("hello\n/quit\n", timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0 and not errors
    assert "[stopped]" in shown and "Hello, wörld! 🦊 bye" in shown and shown.count("word") < 380
