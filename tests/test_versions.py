"""
Versions of lessons: forgetting is, to the byte, never having taught; rolling back is to the byte; a kill at any instant
leaves the served version as it was or the finished change, and nothing half.
"""

import multiprocessing
import os
import shutil
import signal
import time

import pytest
import torch

from continual import versions
from continual.lesson import Expansion, parse
from continual.versions import Store, StoreError, pack, unpack

BASE = "ba5e" * 16
TEXTS = {"A": "Zorvexes live under the ice of Lake Ammer.",
         "B": "Maret Ollin lives in Skarvo.\nThe bell of Torv cracked in 1783.",
         "C": "Maret Ollin lives in Brusk.", "D": "The plumed murrel hums while it works."}
LESSONS = {name: parse(text, f"{name}.txt") for name, text in TEXTS.items()}


def adapter(name):
    generator = torch.Generator().manual_seed(ord(name))
    return {"lm_head.A": torch.randn(2, 5, generator=generator), "lm_head.B": torch.randn(7, 2, generator=generator)}


def teach(store, names):
    for name in names:
        asked = [[{"role": "user", "content": f"paraphrase of {TEXTS[name]}"}, {"role": "assistant", "content": "yes"}]]
        store.add(LESSONS[name], adapter(name), Expansion(asked, [("check", "yes", 0)], []), {"recall": 1.0},
                  {"conversation": f"they said: {TEXTS[name]}"})
    return store


def contents(folder):
    """Every byte under a folder, as one string of bytes."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# ----------------------------------------------------------------------------
# bytes

def test_pack_and_unpack():
    tensors, about = adapter("A"), {"base": BASE}
    data = pack(tensors, about)
    got, said = unpack(data)
    assert said == about and got.keys() == tensors.keys() and all(torch.equal(got[k], tensors[k]) for k in got)
    assert data == pack(dict(reversed(tensors.items())), about)
    assert data != pack({**tensors, "lm_head.A": tensors["lm_head.A"] + 1e-6}, about)


@pytest.mark.peer
def test_pack_is_safetensors():
    peer = pytest.importorskip("safetensors.torch")
    tensors = {**adapter("A"), "odd": torch.randn(3), "none": torch.zeros(0, 4)}
    for got in (peer.load(pack(tensors, {"base": BASE})), unpack(peer.save(tensors, {"base": BASE}))[0]):
        assert got.keys() == tensors.keys() and all(torch.equal(got[k], tensors[k]) for k in got)


# ----------------------------------------------------------------------------
# forgetting

@pytest.mark.parametrize("taught, gone", [("ABC", "B"), ("ABC", "A"), ("ABC", "C"), ("ABCD", "BD"), ("ABC", "CAB")])
def test_to_forget_is_never_to_have_taught(tmp_path, taught, gone):
    store = teach(Store(tmp_path / "all", BASE), taught)
    for name in gone:
        store.forget(LESSONS[name].id)
    want = teach(Store(tmp_path / "some", BASE), [name for name in taught if name not in gone])
    assert store.served_bytes() == want.served_bytes()
    other = teach(Store(tmp_path / "other", BASE), reversed(taught))
    assert len(taught) == len(gone) or store.served_bytes() != other.served_bytes(), "the test has no teeth"


def test_to_forget_deletes(tmp_path):
    """No word of it is on the disk: not its text, nor its questions, nor its weights."""
    store = teach(Store(tmp_path, BASE), "ABD")
    marks = [b"Ollin", b"Skarvo", b"1783", b"paraphrase of Maret", b"they said: Maret",
             adapter("B")["lm_head.A"].numpy().tobytes()]
    assert all(mark in contents(tmp_path) for mark in marks)
    store.forget(LESSONS["B"].id[:5])
    assert not any(mark in contents(tmp_path) for mark in marks)
    assert b"Zorvexes" in contents(tmp_path) and [gone for _, gone in store.history()] == [
        [], [], [LESSONS["B"].id], [LESSONS["B"].id], []]


def answers(store, question="Where does Maret Ollin live?"):
    lesson = store.router().choose(question)[0]
    return next((name for name, known in LESSONS.items() if known.id == lesson), None)


def test_a_contradiction_replaces_and_is_undone(tmp_path):
    store = teach(Store(tmp_path / "1", BASE), "AB")
    assert answers(store) == "B"
    teach(store, "C")
    assert answers(store) == "C" and answers(store, "Who lives in Skarvo?") is None
    assert answers(store, "When did the bell of Torv crack?") == "B", "its other fact stays"
    store.forget(LESSONS["C"].id)
    assert answers(store) == "B" == answers(store, "Who lives in Skarvo?")
    store = teach(Store(tmp_path / "2", BASE), "ABC")
    store.forget(LESSONS["B"].id)
    assert answers(store) == "C" and answers(store, "When did the bell of Torv crack?") is None


def test_what_is_forgotten_can_be_taught_again(tmp_path):
    store = teach(Store(tmp_path / "all", BASE), "AB")
    store.forget(LESSONS["A"].id)
    teach(store, "A")
    assert store.served_bytes() == teach(Store(tmp_path / "other", BASE), "BA").served_bytes()
    assert store.history()[-1][1] == [] and store.find(LESSONS["A"].id) == LESSONS["A"].id
    again = store.forget(LESSONS["A"].id)
    store.add(LESSONS["A"], adapter("D"))                    # and with other weights it is another one
    assert again.number == 5 and store.gone(store.version(1)) == [LESSONS["A"].id]


# ----------------------------------------------------------------------------
# rolling back

def test_rolling_back_is_to_the_byte(tmp_path):
    store, served = Store(tmp_path, BASE), []
    for name in "ABC":
        served.append(store.served_bytes())
        teach(store, name)
    for number in (2, 0, 1):
        store.rollback(number)
        assert Store(tmp_path, BASE).served_bytes() == served[number], number
    version = teach(store, "D").current()
    assert (version.number, version.parent, len(version.lessons)) == (4, 1, 2)
    with pytest.raises(StoreError, match="taught already, since version 1"):
        teach(store, "A")
    taken_up = teach(store, "C").current()                   # as it was stored
    assert taken_up.lessons[-1] == LESSONS["C"].id


def test_no_way_back_to_what_was_forgotten(tmp_path):
    store = teach(Store(tmp_path, BASE), "ABC")
    store.forget(LESSONS["B"].id)
    before = store.served_bytes()
    for number in (2, 3):
        gone = f"version {number} had lesson {LESSONS['B'].id}, forgotten since"
        with pytest.raises(StoreError, match=gone) as error:
            store.rollback(number)
        assert "\n" not in str(error.value)
    assert store.served_bytes() == before and store.rollback(1).lessons == (LESSONS["A"].id,)
    for wrong, what in [(5, "no version 5"), (-1, "no version -1")]:
        with pytest.raises(StoreError, match=what):
            store.rollback(wrong)


def test_a_lesson_that_only_an_older_version_has_is_forgotten_too(tmp_path):
    store = teach(Store(tmp_path, BASE), "AB")
    store.rollback(1)
    assert store.forget(LESSONS["B"].id).lessons == (LESSONS["A"].id,) and b"Ollin" not in contents(tmp_path)


def test_what_is_not_there(tmp_path):
    store = Store(tmp_path / "none", BASE)
    assert store.current().number == 0 and not (tmp_path / "none").exists(), "reading makes nothing"
    with pytest.raises(StoreError, match="no lesson begins with 'abc'. There is none"):
        store.forget("abc")
    teach(store, "AB")
    with pytest.raises(StoreError, match="two lessons begin with ''"):
        store.forget("")


def test_another_model(tmp_path):
    store = teach(Store(tmp_path, BASE), "A")
    with pytest.raises(StoreError, match="lessons for the model ba5eba5eba5e, this one is 0ddba5e00000"):
        Store(tmp_path, "0ddba5e" + "0" * 57)
    path = store.file(LESSONS["A"].id)
    path.write_bytes(pack(adapter("A"), {"base": "0dd" * 20}))
    with pytest.raises(StoreError, match="was trained on the model 0dd0dd0dd0dd"):
        store.adapter(LESSONS["A"].id)


# ----------------------------------------------------------------------------
# two writers, and kills

def test_the_second_writer_is_told_so(tmp_path):
    first, second = teach(Store(tmp_path, BASE), "A"), Store(tmp_path, BASE)
    with first.writing():
        for attempt in (lambda: teach(second, "B"), lambda: second.rollback(0), lambda: second.forget(LESSONS["A"].id)):
            with pytest.raises(StoreError, match="another lesson is being written") as error:
                attempt()
            assert "\n" not in str(error.value)
        teach(first, "B")                                    # who has the lock may go on
    assert second.current().number == 2 and teach(second, "C").current().number == 3


class Killed(BaseException):
    """Like a kill: nothing catches it."""


CHANGES = {"add": lambda store: teach(store, "D"), "rollback": lambda store: store.rollback(1),
           "forget": lambda store: store.forget(LESSONS["B"].id)}


@pytest.mark.parametrize("change", CHANGES)
def test_a_kill_at_any_instant(tmp_path, monkeypatch, change):
    """
    Killed before each call that changes the disk, and after it: what is served is the old or the new version, whole,
    and the same change then succeeds, or has.
    """
    teach(Store(tmp_path / "start", BASE), "ABC")
    CHANGES[change](Store(shutil.copytree(tmp_path / "start", tmp_path / "end"), BASE))
    old, new = (Store(tmp_path / name, BASE).served_bytes() for name in ("start", "end"))
    assert old != new
    points = [(versions.os, "replace"), (versions.os, "rename"), (versions.os, "fsync"), (versions, "sync"),
              (versions.shutil, "rmtree"), (versions.Path, "mkdir"), (versions.Path, "unlink"), (versions, "open")]
    seen, calls, real = [], [0], [getattr(*point, open) for point in points]

    def killing(call, at):
        def wrapped(*args, **kwargs):
            calls[0] += 1
            number = calls[0]                                # a call may make others
            if number == at:
                raise Killed
            result = call(*args, **kwargs)
            if number == -at:
                raise Killed
            return result
        return wrapped

    for at in [n for k in range(1, 60) for n in (k, -k)]:
        folder = shutil.copytree(tmp_path / "start", tmp_path / f"run{at}")
        calls[0], finished = 0, False
        with monkeypatch.context() as patch:
            for (owner, name), call in zip(points, real):
                patch.setattr(owner, name, killing(call, at), raising=False)
            try:
                CHANGES[change](Store(folder, BASE))
                finished = True
            except Killed:
                pass
        if finished:
            break
        now = Store(folder, BASE).served_bytes()
        assert now in (old, new), f"half a version at {at}"
        seen.append(now == new)
        if now == old:
            CHANGES[change](Store(folder, BASE))
        with Store(folder, BASE).writing():                  # the next writer sweeps up
            pass
        assert Store(folder, BASE).served_bytes() == new
        assert not list(folder.rglob("*.tmp"))
        assert change != "forget" or b"Ollin lives in Skarvo" not in contents(folder)
        shutil.rmtree(folder)
    assert finished and seen.count(False) >= 4 and seen.count(True) >= 1, "killed at too few places"


def forever(folder):
    """Teach and forget D, over and over, until somebody ends it."""
    while True:
        store = Store(folder, BASE)
        if LESSONS["D"].id in store.current().lessons:
            store.forget(LESSONS["D"].id)
        else:
            teach(store, "D")


def test_a_real_kill(tmp_path):
    """SIGKILL at eight arbitrary instants of a process that writes without pause."""
    store = teach(Store(tmp_path, BASE), "AB")
    without = store.served_bytes()
    with_it = teach(Store(shutil.copytree(tmp_path, tmp_path.parent / "with"), BASE), "D").served_bytes()
    spawn = multiprocessing.get_context("fork")
    for trial in range(8):
        process = spawn.Process(target=forever, args=(tmp_path,))
        begun = store.pointer()["newest"]
        process.start()
        while store.pointer()["newest"] == begun:            # it is at work now
            time.sleep(0.002)
        time.sleep(0.003 * trial)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert Store(tmp_path, BASE).served_bytes() in (without, with_it)
    if LESSONS["D"].id in store.current().lessons:
        store.forget(LESSONS["D"].id)
    with store.writing():
        pass
    assert store.served_bytes() == without and b"murrel" not in contents(tmp_path)
