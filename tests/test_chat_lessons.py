"""
Lessons in the chat: the worker swaps versions under answers, and the terminal's /learn, /versions, /rollback, /forget.
The model is a tiny random one, and what trains is replaced by a script that says so.
"""

import io
import queue
import sys

import pytest

from bpe.template import render
from chat import cli
from chat.worker import Worker, load
from continual.lesson import parse
from continual.versions import Store
from gpt import checkpoint
from gpt.sampling import Sampling
from tests.test_engine import TOKENIZER
from tests.test_served import A, B, base, weights

LEARNER = """
import pathlib, shutil, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("step 1/1 of", pathlib.Path(given["--teach"]).name, "\\x1b[2J")
if "refuse" in pathlib.Path(given["--teach"]).read_text():
    sys.exit("refused: it says so")
shutil.copy(given["--teach"], pathlib.Path(given["--out"]) / "taught.tmp")
"""


@pytest.fixture
def run(tmp_path):
    """A checkpoint of the tiny model, with lessons A and B in run/../live."""
    checkpoint.save(tmp_path / "run", 1, base(), TOKENIZER)
    store = Store(tmp_path / "live", checkpoint.describe(tmp_path / "run")["hash"])
    for seed, lesson in enumerate((A, B)):
        store.add(lesson, weights(seed))
    return tmp_path / "run", store


def ask(worker, text, adapter, max_new=12):
    events = queue.SimpleQueue()
    ids, _ = render([{"role": "user", "content": text}], TOKENIZER, for_reply=True)
    worker.ask(ids, events.put, max_new=max_new, sampling=Sampling(), seed=0, adapter=adapter)
    return events


def drain(events):
    got = []
    while not got or got[-1]["type"] != "end":
        got.append(events.get(timeout=60))
    return "".join(event.get("text", "") for event in got[:-1]), got[-1]


def test_the_worker_swaps_between_steps(run):
    path, store = run
    worker, _ = load(path, 2, live=store.folder)
    try:
        question = "zorvexes?"
        lesson = worker.served.adapter_for([{"role": "user", "content": "Where do zorvexes live?"}])
        assert lesson == A.id
        taught, plain = drain(ask(worker, question, lesson)), drain(ask(worker, question, None))
        assert taught != plain and taught[1]["reason"] in ("stop", "length")
        running = [ask(worker, question, lesson) for _ in range(2)]
        store.forget(A.id)
        worker.swap()
        late = ask(worker, question, lesson)                 # chosen before the swap, begun after it
        assert [drain(events) for events in running] == [taught] * 2 and drain(late) == plain
        assert worker.served.digests.keys() == {B.id} and worker.served.version.number == 3
    finally:
        worker.close()


@pytest.fixture
def talk(run, tmp_path, monkeypatch, capsys):
    """talk(line, ...) -> what the terminal prints."""
    (tmp_path / "continual").mkdir()
    (tmp_path / "continual/live.py").write_text(LEARNER)
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    swap = Worker.swap

    def learned(worker):
        """What the learner has left is added here: a process that imports torch would take seconds."""
        taught = worker.served.store.folder / "taught.tmp"
        if taught.exists():
            worker.served.store.add(parse(taught.read_text(), "x.txt"), weights(7))
            taught.unlink()
        swap(worker)

    monkeypatch.setattr(Worker, "swap", learned)

    def talk(*lines, more=()):
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
        cli.main(["--checkpoint", str(run[0]), "--temperature", "0", "--max-new", "5", *more])
        return capsys.readouterr().out
    return talk


def test_which_lesson_answered(talk):
    shown = talk("Where do zorvexes live?", "What is 3 times 4?")
    assert f"[from lesson {A.id}: Zorvexes live under the ice.]" in shown and shown.count("[from lesson") == 1


def test_versions_rollback_and_forget(talk, run):
    shown = talk("/versions", "/rollback 1", "/versions", "/rollback 2", f"/forget {A.id[:4]}", "/rollback 1",
                 "/rollback 9",
                 "/rollback one", "/forget zzz", "Where do zorvexes live?", "/help")
    assert "*   2  " in shown and f"taught {B.id}" in shown and f"lesson {A.id}: 1 fact; Zorvexes live" in shown
    assert "now serving version 1: taught" in shown and f"now serving version 3: forgot {A.id}" in shown
    assert f"version 1 had lesson {A.id}, forgotten since" in shown and "no version 9 in" in shown
    assert "'one' is no number of a version" in shown and "no lesson begins with 'zzz'" in shown
    assert "[from lesson" not in shown and "/learn FILE" in shown
    assert run[1].current().lessons == (B.id,)


def test_learn_a_text_and_a_file(talk, run, tmp_path):
    file = tmp_path / "facts.txt"
    file.write_text("Maret Ollin keeps the lighthouse at Skarvo.\nThe plumed murrel hums.\n")
    shown = talk("/learn Nimbleth has no echo.", "Nimbleth echo?", f"/learn {file}",
                 "Who keeps the lighthouse?",
                 "/learn please refuse this", "/learn", "/learn " + "Too long a name for a file. " * 12)
    said = parse("Nimbleth has no echo.", "said.txt")
    assert "step 1/1 of said.txt [2J\n" in shown and "now serving version 3" in shown, "control characters are cut"
    assert f"[from lesson {said.id}: Nimbleth has no echo.]" in shown
    assert "step 1/1 of facts.txt" in shown and ": Maret Ollin keeps the lighthouse at Skarvo.]" in shown
    assert "refused: it says so" in shown and "/learn needs a file of facts, or a fact" in shown
    assert run[1].current().number == 5, "three of four were learned"


def test_lessons_of_another_model(talk, run):
    """The model was made anew: the chat works, and says in one line why nothing taught is there."""
    shown = talk("Where do zorvexes live?", "/versions", more=["--live", str(other(run[1].folder))])
    assert "holds lessons for the model 0dd0dd0dd0dd" in shown and "nothing can be taught here" in shown
    assert "[from lesson" not in shown


def other(folder):
    store = Store(folder.parent / "other", "0dd" * 20)
    store.add(A, weights(0))
    return store.folder


def test_the_server_answers_from_what_is_taught_and_forgotten(run):
    """A lesson answers from the next request on after it was taught, by whomever, and not any more once forgotten."""
    pytest.importorskip("fastapi"), pytest.importorskip("httpx")
    from fastapi.testclient import TestClient
    from chat import server
    path, store = run
    worker, about = load(path, 2, live=store.folder)

    def lesson(*texts):
        messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
        reply = client.post("/v1/chat/completions", json={"messages": messages, "temperature": 0, "max_tokens": 3})
        return reply.json()["lesson"] if reply.status_code == 200 else reply.status_code

    try:
        client = TestClient(server.create(worker, about))
        assert lesson("zorvexes?") == A.id and lesson("Hi") is None and lesson("zorvexes?", "yes") == 422
        third = parse("Maret Ollin hums.", "c.txt")
        store.add(third, weights(2))
        assert lesson("Maret Ollin?") == third.id
        store.forget(A.id)
        assert lesson("zorvexes?") is None
    finally:
        worker.close()
