"""
A run that is killed at any instant continues to the same bits; one that is not wanted any more stops in one line.
"""

import csv
import errno
import json
import math
import os
import subprocess
import sys
import time

import pytest

from bpe.bpe import Tokenizer
from gpt import checkpoint
from gpt.llama import Config, Llama
from tests.runs import ONE_THREAD, ROOT, command, losses, make_data, run, weights


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def drop(data, out, *more):
    """A run that draws at random in every step, too."""
    return command(data, out, "--dropout", 0.1, *more)


def test_killed_and_continued_to_the_same_bits(data, tmp_path):
    run(drop(data, tmp_path / "whole"))
    killed = tmp_path / "killed"
    for _ in range(3):                                     # SIGKILL at whatever instant it is then
        seen = len((killed / "log.csv").read_text().splitlines()) if (killed / "log.csv").exists() else 0
        process = subprocess.Popen([sys.executable, *map(str, drop(data, killed))], cwd=ROOT, env=ONE_THREAD,
                                   stdout=subprocess.DEVNULL)
        until = time.time() + 100
        while time.time() < until and process.poll() is None:
            rows = len((killed / "log.csv").read_text().splitlines()) if (killed / "log.csv").exists() else 0
            if rows > max(seen, 8) + 7:
                break
            time.sleep(0.005)
        process.kill()
        process.wait()
    out = run(drop(data, killed))
    assert "continuing" in out
    assert losses(killed) == losses(tmp_path / "whole")
    assert weights(killed) == weights(tmp_path / "whole")
    run(drop(data, tmp_path / "other", "--seed", 1))
    assert weights(tmp_path / "other") != weights(tmp_path / "whole")
    refused = subprocess.run([sys.executable, *map(str, drop(data, killed, "--muon-lr", 0.01))], cwd=ROOT,
                             env=ONE_THREAD, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 1 and "was started with --muon-lr 0.02" in refused.stderr.splitlines()[-1]


def test_patience_keeps_the_best(data, tmp_path):
    """On 400 short documents a large rate soon overfits: the run stops early and ends on its best weights."""
    run(command(data, tmp_path, "--patience", 2, "--eval-every", 3, "--tokens", 2_000_000, "--cooldown", 0.1))
    metrics = json.loads((tmp_path / "metrics.json").read_text())["numbers"]
    rows = csv.DictReader((tmp_path / "log.csv").read_text().splitlines())
    seen = [float(row["valid_loss_nats"]) for row in rows if row["valid_loss_nats"]]
    assert metrics["steps"] < metrics["steps_planned"]
    assert math.isclose(metrics["valid_loss_nats"], min(seen), abs_tol=1e-4)
    assert min(seen) < min(seen[-2:])


def test_a_full_disk(data, tmp_path):
    """No file may grow beyond 50 kB: one line, the older checkpoint stands, and with room the run ends on its bits."""
    run(command(data, tmp_path / "whole"))
    started = subprocess.Popen([sys.executable, *map(str, command(data, tmp_path / "full"))], cwd=ROOT, env=ONE_THREAD,
                               stdout=subprocess.DEVNULL)
    while not (tmp_path / "full" / "run" / "latest").exists() and started.poll() is None:
        time.sleep(0.002)
    started.kill()
    started.wait()
    before = checkpoint.describe(tmp_path / "full" / "run")
    limit = ("import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); "
             "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')")
    words = [sys.executable, "-c", limit, *map(str, command(data, tmp_path / "full"))]
    failed = subprocess.run(words, cwd=ROOT, env=ONE_THREAD, capture_output=True, text=True, timeout=300)
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1, failed.stderr
    assert failed.stderr.startswith(f"cannot write a checkpoint to {tmp_path / 'full' / 'run'} (File too large).")
    assert checkpoint.describe(tmp_path / "full" / "run") == before
    assert not list((tmp_path / "full" / "run").glob("*.tmp"))
    run(command(data, tmp_path / "full"))
    assert weights(tmp_path / "full") == weights(tmp_path / "whole")


@pytest.mark.parametrize("call, code", [("mkdir", errno.EROFS), ("fsync", errno.ENOSPC), ("rename", errno.EACCES)])
def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch, call, code):
    """Whatever fails, and wherever: one line with the system's reason, and the older checkpoint is there."""
    tokenizer = Tokenizer([])
    model = Llama(Config(tokenizer.n_vocab, n_layer=1, n_head=2, n_kv_head=1, n_embd=8, n_hidden=8))
    checkpoint.save(tmp_path, 1, model, tokenizer, {"step": 1}, keep=1)

    def refuse(*args, **more):
        raise OSError(code, os.strerror(code))
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(checkpoint.CheckpointError) as error:
            checkpoint.save(tmp_path, 2, model, tokenizer, {"step": 2}, keep=1)
    assert str(error.value) == (f"cannot write a checkpoint to {tmp_path} ({os.strerror(code)}). What it holds stands: "
                                "make room for another there, then run the same command again")
    assert checkpoint.load_state(tmp_path)["step"] == 1
    checkpoint.save(tmp_path, 2, model, tokenizer, {"step": 2}, keep=1)
    assert checkpoint.load_state(tmp_path)["step"] == 2
