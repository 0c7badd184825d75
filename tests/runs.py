"""
Whole runs for tests/test_resume.py and tests/test_distributed.py: a miniature data set, and train/train.py on it as
a process of one thread.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from bpe.bpe import QWEN, Tokenizer
from gpt import checkpoint

ROOT = Path(__file__).resolve().parent.parent
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def run(command, **more):
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, env=ONE_THREAD, capture_output=True,
                          text=True, timeout=300, **more)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def command(data, out, *more):
    return ["train/train.py", "--data", data / "shards", "--tokenizer", data, "--out", out, "--tokens", 30720,
            "--layers", 2, "--width", 32, "--heads", 2, "--kv-heads", 1, "--hidden", 48, "--batch", 8, "--context", 64,
            "--save-every", 7, "--eval-every", 20, "--log-every", 10, *more]


def weights(out):
    return checkpoint.load(out / "run", "cpu")[2]["hash"]


def losses(out):
    return [line.split(",")[3] for line in (out / "log.csv").read_text().splitlines()]


def make_data(folder):
    """A tokenizer and shards of a few hundred made-up sentences."""
    rng = np.random.default_rng(0)
    words = ["ant", "bee", "cat", "dog", "eats", "sees", "likes", "a", "the", "big"]
    lines = [json.dumps({"text": " ".join(rng.choice(words, rng.integers(5, 30)))}) for _ in range(400)]
    (folder / "train.jsonl").write_text("\n".join(lines[:350]))
    (folder / "valid.jsonl").write_text("\n".join(lines[350:]))
    Tokenizer.train("\n".join(lines), 300, pattern=QWEN).save(folder)
    run(["bpe/shards.py", "--train", folder / "train.jsonl", "--valid", folder / "valid.jsonl",
         "--tokenizer", folder, "--out", folder / "shards"])
    return folder
