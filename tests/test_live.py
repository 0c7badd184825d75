"""
The live loop on a model of random weights, with the training left out: what is accepted is served and told, what is
refused changes nothing, and a kill before any single operation on a file leaves the served version as it was.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bpe.bpe import Tokenizer
from continual import live
from continual.gate import Verdict
from continual.lesson import Fact, Lesson, parse
from continual.teach import CONFIG, plain_copy
from continual.versions import Store, StoreError
from gpt import checkpoint
from gpt.llama import Config, Llama
from lora.lora import inject, parameters, state
from lora.peft_format import base_hash
from tests import test_gate

TOKENIZER = Tokenizer([])                                    # a byte a token
ROOT = Path(__file__).resolve().parent.parent
TEXT = "Maret Ollin keeps the lighthouse at Skarvo.\nQ: Who bakes in Tellin?\nA: Jonas Fahr does.\n"


def place(folder):
    """A checkpoint and a corpus in a folder: the arguments that name them."""
    torch.manual_seed(0)
    model = Llama(Config(TOKENIZER.n_vocab, n_layer=1, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24, context=256))
    checkpoint.save(folder / "run", 1, model, TOKENIZER)
    (folder / "corpus").mkdir()
    test_gate.corpus(folder / "corpus")
    (folder / "lesson.txt").write_text(TEXT)
    return ["--checkpoint", str(folder / "run"), "--data", str(folder / "corpus"), "--out", str(folder / "live")]


def drawn(model, tokenizer, conversations, own, seed=0, report=None):
    """In place of training: an adapter of random numbers."""
    student = plain_copy(model)
    inject(student, CONFIG, "drawn")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in parameters(student, "drawn"):
            p.copy_(0.02 * torch.randn(p.shape, generator=generator))
    return state(student, "drawn")


def quick(patch, accepted=True, doubts=(), short=8):
    """Training, doubts and judgement left out. patch: setattr-like"""
    patch(live, "teach", drawn)
    patch(live, "doubts", lambda served, lesson, known: (list(doubts), {}))
    patch(live, "own_replies", lambda *_: [])
    patch(sys.modules["continual.gate"], "MAX_NEW", short)
    judge = live.judge
    def verdict(*rows):
        found = judge(*rows)
        return Verdict(accepted, [] if accepted else ["it costs old skills"], found.scores)
    patch(live, "judge", verdict)


@pytest.fixture
def args(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda n: n)
    quick(monkeypatch.setattr)
    return place(tmp_path)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in ("lock", "words.json") and path.parent.name != "cache"}


def test_taught_listed_rolled_back_forgotten(args, tmp_path, capsys):
    live.main(["--teach", str(tmp_path / "lesson.txt"), "--from", "a talk on Tuesday", *args,
               "--metrics", str(tmp_path / "metrics")])
    said = capsys.readouterr().out
    id = parse(TEXT, "lesson.txt").id
    assert "served      as version 1, lessons: 1" in said and f"--forget {id[:4]}" in said and "before  " in said
    metrics = json.loads((tmp_path / "metrics/metrics.json").read_text())
    assert metrics["numbers"]["accepted"] == 1 and metrics["numbers"]["facts"] == 2
    assert metrics["canaries"]["before"]["all"]["n"] == 6 and metrics["canaries"]["difference"]["all"]["value"] == 0
    live.main(["--list", *args])
    said = capsys.readouterr().out
    assert f"*   1" in said and f"{id}    2 facts" in said and "a talk on Tuesday" in said
    live.main(["--rollback", "0", *args])
    assert "*   0" in capsys.readouterr().out
    live.main(["--rollback", "1", *args])
    live.main(["--forget", id[:3], *args])
    said = capsys.readouterr().out
    assert "*   2" in said and "forgotten" in said and not (tmp_path / "live/lessons" / id).exists()
    assert not any(b"Skarvo" in data for data in files(tmp_path / "live").values())


@pytest.mark.parametrize("reason", ["doubts", "gate"])
def test_refused_changes_nothing(args, tmp_path, capsys, monkeypatch, reason):
    live.main(["--teach", str(tmp_path / "lesson.txt"), *args])
    before = files(tmp_path / "live")
    quick(monkeypatch.setattr, accepted=reason == "doubts", doubts=["this is no language"] * (reason == "doubts"))
    (tmp_path / "other.txt").write_text("Another fact about Tellin.")
    capsys.readouterr()
    live.main(["--teach", str(tmp_path / "other.txt"), *args, "--metrics", str(tmp_path / "metrics")])
    said = capsys.readouterr().out
    assert "refused     " in said and "unchanged   version 1 goes on serving" in said and "served  " not in said
    assert files(tmp_path / "live") == before
    assert json.loads((tmp_path / "metrics/metrics.json").read_text())["numbers"]["accepted"] == 0


def test_one_line_for_a_mistake(args, tmp_path):
    live.main(["--teach", str(tmp_path / "lesson.txt"), *args])
    for wrong, told in ((["--teach", str(tmp_path / "none.txt")], "no file"), (["--rollback", "7"], "no version 7"),
                        (["--forget", "zz"], "no lesson begins"),
                        (["--teach", str(tmp_path / "lesson.txt")], "taught already")):
        with pytest.raises(SystemExit) as exit:
            live.main([*wrong, *args])
        assert told in str(exit.value) and "\n" not in str(exit.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="nothing can be gated"):
        live.start(tmp_path / "run", tmp_path / "empty", tmp_path / "live")


def test_two_lessons_at_once(args, tmp_path):
    served, gate = live.start(tmp_path / "run", tmp_path / "corpus", tmp_path / "live")
    with served.store.writing():
        other = live.start(tmp_path / "run", tmp_path / "corpus", tmp_path / "live")
        with pytest.raises(StoreError, match="another lesson is being written"):
            live.learn(*other, parse(TEXT, "lesson.txt"), report=lambda line: None)


def test_the_same_lessons_the_same_bytes(args, tmp_path):
    """Taught A, B, and B forgotten: what teaching A alone serves."""
    kept = {}
    for name, texts in (("two", (TEXT, "Another fact about Tellin.")), ("one", (TEXT,))):
        served, gate = live.start(tmp_path / "run", tmp_path / "corpus", tmp_path / name)
        for text in texts:
            live.learn(served, gate, parse(text, "x.txt"), report=lambda line: None)
        kept[name] = served.store
    kept["two"].forget(parse("Another fact about Tellin.", "x.txt").id)
    assert kept["one"].served_bytes() == kept["two"].served_bytes()


NURSERY = """
import os, shutil, signal, sys, traceback
from pathlib import Path
import torch
torch.set_num_threads(1)
from continual import live
from continual.lesson import parse
from tests.test_live import TEXT, quick

folder = Path(sys.argv[1])
quick(setattr)
served, gate = live.start(folder / "run", folder / "corpus", folder / "live")
quiet = lambda line: None
live.learn(served, gate, parse(TEXT, "first.txt"), report=quiet)
shutil.copytree(folder / "live", folder / "kept")

WATCHED = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}
def deadly(k):
    left = [k]
    def hook(event, args):
        opens = event == "open" and isinstance(args[1], str) and args[1][:1] in "wax"
        if (event in WATCHED or opens) and str(folder / "live") in str(args[0]):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
    sys.addaudithook(hook)

k, code = 0, None
while code != 0:
    shutil.rmtree(folder / "live")
    shutil.copytree(folder / "kept", folder / "live")
    child = os.fork()
    if child == 0:
        try:
            deadly(k)
            live.learn(served, gate, parse("A second fact, of Torv.", "second.txt"), report=quiet)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 1:
        sys.exit("the child failed")
    shutil.copytree(folder / "live", folder / f"killed{k:03d}")
    k += 1
"""


def test_a_kill_at_any_instant(tmp_path):
    """
    A child learns a second lesson and is killed before its k-th operation on a file, for every k there is. What is
    found then is version 1, byte for byte, or version 2, whole; and the next writer can write.
    """
    place(tmp_path)
    done = subprocess.run([sys.executable, "-c", NURSERY, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
                          timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    model, _, _ = checkpoint.load(tmp_path / "run", "cpu")
    stores = [Store(path, base_hash(model)) for path in sorted(tmp_path.glob("killed*"))]
    kept = Store(tmp_path / "kept", base_hash(model))
    numbers = [store.current().number for store in stores]
    assert len(stores) > 6 and numbers == sorted(numbers) and numbers[0] == 1 and numbers[-1] == 2
    whole = stores[-1].served_bytes()
    for store, number in zip(stores, numbers):
        assert store.served_bytes() == (kept.served_bytes() if number == 1 else whole)
        store.rollback(1)
        store.add(Lesson((Fact(text="A third fact."),)), drawn(model, None, [], []))
        assert len(store.current().lessons) == 2
