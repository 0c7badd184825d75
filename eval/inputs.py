"""
What an evaluation reads, jsonl records and a checkpoint fit to be measured, and the answers it leaves.

Reading ends in one clear line, before any slow work, where something is wrong. What is slow goes through
resume(), which keeps every finished example, so that a kill costs the batch at hand and no more.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import torch

from bpe.datasets import fetch
from gpt import checkpoint
from train.device import device


class NotFinite(ValueError):
    """A model's logits hold NaN or infinity: no score of it means anything."""


def in_corpus(data, name):
    """The file of that name where `data` is a corpus folder, else `data` itself."""
    return data / name if data.is_dir() else data


def locate(data, known):
    """`data` if it is there, else the file that it names; known: {name: (data set, file)}, see bpe/datasets.py"""
    if str(data) in known and not data.exists():
        name, file = known[str(data)]
        return fetch(name)[file]
    if len(data.parts) == 1 and not data.suffix and not data.exists():
        sys.exit(f"no task {str(data)!r}: there are {', '.join(known)}. Or give a file")
    return data


def read_jsonl(path, *needs):
    """The file's records, each a dict that has the keys `needs`; exits naming file and line otherwise."""
    if not path.is_file():
        sys.exit(f"no {path}. A corpus is made by: bash run.sh")
    records = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
                missing = [key for key in needs if key not in record]
            except (ValueError, TypeError) as error:
                sys.exit(f"{path}, line {number} is no JSON record: {error}. Mend or remove that line")
            if missing:
                sys.exit(f"{path}, line {number} has no {missing[0]!r}. It needs {', '.join(needs)}")
            records.append(record)
    if not records:
        sys.exit(f"{path} is empty. Make it again, or give another file")
    return records


def write_jsonl(path, rows):
    """A line for each row, the file replaced at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    os.replace(part, path)


def write_answers(folder, rows):
    """answers.jsonl: a row {task, question, reply, ended, passed, ...} for each; the report shows some of them."""
    write_jsonl(folder / "answers.jsonl", rows)


def sha256(*paths):
    """Of the files' bytes, in the order given."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()


def load_model(path):
    """
    (model in evaluation mode, tokenizer, info) of a checkpoint. Exits where there is none, where it
    is damaged or has another tokenizer than it was trained with, or where its logits are not finite.
    """
    try:
        model, tokenizer, info = checkpoint.load(path, device())
    except checkpoint.CheckpointError as error:
        sys.exit(str(error))
    with torch.no_grad():
        logits, _ = model(torch.arange(min(64, tokenizer.n_vocab), device=device())[None])  # (1, T, V)
    if not logits.isfinite().all():
        sys.exit(f"{path} gives logits that are not finite: its training diverged. Take an earlier step of the run")
    return model, tokenizer, info


# ----------------------------------------------------------------------------
# going on after a kill

def settings(args, info, *paths):
    """What the finished examples of a run hang on: its arguments, its checkpoint, its data."""
    return {"checkpoint_hash": info["hash"], "data_sha": sha256(*paths),
            **{key: str(value) for key, value in sorted(vars(args).items()) if key != "out"}}


def resume(path, about, items, work, batch=256):
    """
    work(items, first) for one batch of items after another, where items[0] is number `first` of all: a JSON row for
    each. Every batch is on the disk before the next begins, and a second call about the same goes on after it.

    about: what the rows hang on, see settings(); rows about anything else are dropped;  returns: the row of every item
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]            # a kill may have torn the last
    rows = rows[1:] if rows and rows[0] == about else []
    if rows:
        print(f"{len(rows):,} of {len(items):,} examples are in {path}; going on from there")
    write_jsonl(path, [about, *rows])
    with open(path, "a", encoding="utf-8") as file:
        while (first := len(rows)) < len(items):
            try:
                new = work(items[first:first + batch], first)
            except NotFinite as error:
                sys.exit(f"{error}, from example {first + 1} on; the {first:,} before it are kept in {path}. "
                         "Take an earlier step of the run")
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in new)
            file.flush()
            rows += new
    return rows


def unfinished(folder, name):
    """Where resume() keeps what is finished of a score; main() removes it when the score is written."""
    return Path(folder) / f"unfinished_{name}.jsonl"
