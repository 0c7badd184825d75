"""
What was taught, as immutable versions: each a list of lessons over one frozen base, each lesson an adapter of its own.

    store = Store("out/tinyworld/live", base_hash)           # hash of the served model's weights: lora/peft_format.py
    store.add(lesson, adapter, expansion, scores, provenance)     # Version 1
    store.rollback(0)                                        # the base alone; nothing is lost
    store.forget("3f2a91c07d55")                             # a version without it, and its text and weights deleted

    current                      the version that is served and the newest one, a line of json
    versions/000003.json         base, lessons in order, hashes of their adapters, parent, when, what was done
    lessons/3f2a91c07d55/        lesson.json (facts, expansion, provenance, scores), adapter.safetensors
    words.json                   the base's words (continual/address.py), made once
    lock                         held by whoever writes

All that is served follows from the list: forgetting a lesson leaves, to the byte, what teaching the others would have
made. Version 0 is the base and needs no file. A change is written beside what is there, synced, and takes effect when
`current` is replaced: a kill at any instant leaves the version that was served, and the next writer sweeps up what
was not finished. A forgotten lesson's id is struck in `current` before its folder goes, so that a kill in between
brings nothing back.

Left out on purpose: erasing the disk's own blocks; versions that share a lesson share its folder.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bpe.template import text_of
from continual.address import Router, background
from continual.lesson import Fact, Lesson
from gpt.checkpoint import sync


class StoreError(Exception):
    """One line for the user: what is wrong, and the way out."""


class Version(NamedTuple):
    number: int = 0
    lessons: tuple = ()          # ids, in the order in which they were taught
    adapters: tuple = ()         # sha256 of each one's file
    parent: int | None = None
    when: str = ""               # UTC
    what: str = "the base"


# ----------------------------------------------------------------------------
# bytes

def pack(tensors, about):
    """
    Tensors as a safetensors file, names in order: the same tensors, the same bytes. No code can hide in it.
    about: {str: str};  https://github.com/huggingface/safetensors, "Format"
    """
    header, blobs, at = {"__metadata__": about}, [], 0
    for name, x in sorted(tensors.items()):
        blobs.append(x.detach().cpu().float().contiguous().numpy().tobytes())
        header[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [at, at := at + len(blobs[-1])]}
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return b"".join([len(head).to_bytes(8, "little"), head, *blobs])


def unpack(data):
    """pack()'s tensors, float32, and what it was told about them."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    about, spans = header.pop("__metadata__", {}), {name: x["data_offsets"] for name, x in header.items()}
    tensor = lambda a, b: torch.from_numpy(np.frombuffer(data[start + a:start + b], np.float32).copy())
    return {name: tensor(a, b).view(header[name]["shape"])
            for name, (a, b) in spans.items()}, about


def write(path, data):
    """A whole file, on the disk, or none."""
    part = path.with_name(path.name + ".tmp")
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    sync(path.parent)


@functools.cache
def digest(path, written):
    """sha256 of a file that was written at that time."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def encode(value):
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def user_texts(corpus):
    """What a corpus's conversations (sft_train.jsonl) ask."""
    with open(Path(corpus) / "sft_train.jsonl", encoding="utf-8") as file:
        for line in file:
            yield from (text_of(m["content"]) for m in json.loads(line)["messages"] if m["role"] == "user")


# ----------------------------------------------------------------------------
# the store

class Store:
    """
    folder: made by the first lesson;  base_hash: lessons for another model are refused
    corpus: folder of the base's conversations, from which the router's words are counted once
    """

    def __init__(self, folder, base_hash, corpus=None):
        self.folder, self.base, self.corpus = Path(folder), base_hash, corpus
        self.counted, self.owner = None, None                # the base's words; the thread that has the lock
        self.version(self.pointer()["newest"])

    # reading

    def pointer(self):
        path = self.folder / "current"
        return json.loads(path.read_text()) if path.exists() else {"version": 0, "newest": 0, "forgotten": []}

    def version(self, number):
        """A version that was served once; StoreError if there is none, or if it is for another model."""
        if number == 0:
            return Version()
        path = self.folder / "versions" / f"{number:06d}.json"
        if not 0 < number <= self.pointer()["newest"] or not path.exists():
            raise StoreError(f"no version {number} in {self.folder}. The newest is {self.pointer()['newest']}")
        record = json.loads(path.read_text())
        if record["base"] != self.base:
            raise StoreError(f"{self.folder} holds lessons for the model {record['base'][:12]}, this one is "
                             f"{self.base[:12]}. Teach into another folder: --out")
        return Version(number, tuple(record["lessons"]), tuple(record["adapters"]), record["parent"], record["when"],
                       record["what"])

    def current(self):
        return self.version(self.pointer()["version"])

    def history(self):
        """[(Version, ids of its lessons that were forgotten since), ...] from the base on."""
        return [(version, self.gone(version)) for version in map(self.version, range(self.pointer()["newest"] + 1))]

    def gone(self, version):
        """The lessons of a version whose adapter is no longer the one it was served with."""
        forgotten = self.pointer()["forgotten"]
        return [id for id, was in zip(version.lessons, version.adapters) if id in forgotten or self.digest(id) != was]

    def file(self, id):
        return self.folder / "lessons" / id / "adapter.safetensors"

    def digest(self, id):
        """sha256 of a lesson's adapter, None if there is none."""
        return digest(self.file(id), self.file(id).stat().st_mtime_ns) if self.file(id).exists() else None

    def record(self, id):
        """What is kept of a lesson beside its adapter: facts, expansion, scores, provenance."""
        return json.loads((self.folder / "lessons" / id / "lesson.json").read_text())

    def lesson(self, id):
        record = self.record(id)
        return Lesson(tuple(Fact(*fact) for fact in record["facts"]), record["source"])

    def adapter(self, id):
        """{"layer.A": tensor, ...}; StoreError if it was trained on another model."""
        tensors, about = unpack(self.file(id).read_bytes())
        if about["base"] != self.base:
            raise StoreError(f"the adapter of lesson {id} was trained on the model {about['base'][:12]}, this one is "
                             f"{self.base[:12]}. Load that one, or teach the lesson again")
        return tensors

    def find(self, start):
        """The id, of a lesson that was not forgotten, that begins so; StoreError unless there is exactly one."""
        known = {id for version, gone in self.history() for id in version.lessons if id not in gone}
        fitting = [id for id in sorted(known) if id.startswith(start)]
        if len(fitting) != 1:
            raise StoreError(f"{'two lessons begin' if fitting else 'no lesson begins'} with {start!r}. "
                             f"There is {', '.join(sorted(known)) or 'none'}")
        return fitting[0]

    def words(self):
        """The base's words, as the router weighs them."""
        path = self.folder / "words.json"
        if not self.counted:
            self.counted = json.loads(path.read_text()) if path.exists() else (
                background(user_texts(self.corpus) if self.corpus else []))
        return self.counted

    def router(self, version=None, trial=None):
        """The Router of a version, and of a further lesson on trial."""
        lessons = [(id, self.lesson(id).facts) for id in (version or self.current()).lessons]
        lessons += [(trial.id, trial.facts)] if trial else []
        router = Router(self.words() if lessons else None)
        for id, facts in lessons:
            router.add(id, facts)
        return router

    def served_bytes(self, version=None):
        """{name: bytes} of all that answers depend on, beside the base."""
        version = version or self.current()
        files = {f"adapter {id}": self.file(id).read_bytes() for id in version.lessons}
        listed = {"base": self.base, "lessons": version.lessons, "adapters": version.adapters}
        return {**files, "version": encode(listed), "router": self.router(version).state()}

    # writing

    @contextlib.contextmanager
    def writing(self):
        """The lock; StoreError if another process has it. Whoever has it may take it again."""
        if self.owner == threading.get_ident():
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"another lesson is being written to {self.folder}. "
                                 "Try again when it is done") from None
            self.owner = threading.get_ident()
            try:
                self.sweep()
                yield
            finally:
                self.owner = None

    def sweep(self):
        """Remove what a killed writer left: parts, versions that were never served, lessons that no version has."""
        pointer, versions, lessons = self.pointer(), self.folder / "versions", self.folder / "lessons"
        versions.mkdir(exist_ok=True)
        lessons.mkdir(exist_ok=True)
        for path in versions.iterdir():
            if path.suffix == ".tmp" or int(path.stem) > pointer["newest"]:
                path.unlink()
        listed = {id for number in range(pointer["newest"] + 1) for id in self.version(number).lessons}
        for path in lessons.iterdir():
            if path.name not in listed or path.name in pointer["forgotten"]:
                shutil.rmtree(path)
        sync(lessons)

    def commit(self, lessons, what, forgotten):
        """Write a version with these lessons and serve it."""
        pointer = self.pointer()
        version = Version(pointer["newest"] + 1, tuple(lessons), tuple(map(self.digest, lessons)), pointer["version"],
                          time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), what)
        record = {"base": self.base, **version._asdict()}
        write(self.folder / "versions" / f"{version.number:06d}.json", encode(record))
        self.point(version=version.number, newest=version.number, forgotten=forgotten)
        return version

    def point(self, **changes):
        write(self.folder / "current", (json.dumps({**self.pointer(), **changes}) + "\n").encode())

    def add(self, lesson, adapter, expansion=None, scores=None, provenance=None):
        """
        A version with one lesson more, served from now on. adapter: lora.state();  the rest: plain values.
        A lesson that an older version has is taken up again as it was stored then.
        """
        with self.writing():
            current, path = self.current(), self.folder / "lessons" / lesson.id
            if lesson.id in current.lessons:
                raise StoreError(f"lesson {lesson.id} is taught already, since version {self.since(lesson.id)}")
            if not (self.folder / "words.json").exists():
                write(self.folder / "words.json", encode(self.words()))
            if not path.exists():
                part = path.with_suffix(".tmp")
                part.mkdir()
                record = {"facts": [list(fact) for fact in lesson.facts], "source": lesson.source, "scores": scores,
                          "expansion": expansion and expansion._asdict(), "provenance": provenance}
                write(part / "lesson.json", encode(record))
                write(part / "adapter.safetensors", pack(adapter, {"base": self.base, "lesson": lesson.id}))
                os.rename(part, path)
                sync(path.parent)
            forgotten = [id for id in self.pointer()["forgotten"] if id != lesson.id]
            return self.commit([*current.lessons, lesson.id], f"taught {lesson.id}", forgotten)

    def since(self, id):
        return next(version.number for version, _ in self.history() if id in version.lessons)

    def rollback(self, number):
        """Serve an older version again, as it was; StoreError if a lesson of it was forgotten."""
        with self.writing():
            version = self.version(number)
            if gone := self.gone(version):
                raise StoreError(f"version {number} had lesson {', '.join(gone)}, forgotten since. "
                                 "Choose one without it: --list")
            self.point(version=number)
            return version

    def forget(self, start):
        """
        Delete a lesson, given the start of its id: its text, its questions, its adapter. What serves from now on is a
        version without it; older ones that had it cannot be returned to.
        """
        with self.writing():
            id = self.find(start)
            left = [other for other in self.current().lessons if other != id]
            version = self.commit(left, f"forgot {id}", [*self.pointer()["forgotten"], id])
            self.sweep()
            return version

