"""
What an evaluation reads, jsonl records and a checkpoint fit to be measured, and the answers it leaves.

Reading ends in one clear line, before any slow work, where something is wrong.
"""

import hashlib
import json
import sys

import torch

from gpt import checkpoint
from train.device import device


def in_corpus(data, name):
    """The file of that name where `data` is a corpus folder, else `data` itself."""
    return data / name if data.is_dir() else data


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


def write_answers(folder, rows):
    """answers.jsonl: a row {task, question, reply, ended, passed, ...} for each; the report shows some of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "answers.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


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
