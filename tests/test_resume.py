"""
A run that is killed at any instant continues to the same bits; one that is not wanted any more stops in one line.
"""

import json
import math
import subprocess
import sys
import time

import pytest

from tests.runs import ONE_THREAD, ROOT, command, losses, make_data, run, weights


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def test_killed_and_continued_to_the_same_bits(data, tmp_path):
    run(command(data, tmp_path / "whole"))
    killed = tmp_path / "killed"
    for _ in range(3):                                     # SIGKILL at whatever instant it is then
        seen = len((killed / "log.csv").read_text().splitlines()) if (killed / "log.csv").exists() else 0
        process = subprocess.Popen([sys.executable, *map(str, command(data, killed))], cwd=ROOT, env=ONE_THREAD,
                                   stdout=subprocess.DEVNULL)
        until = time.time() + 100
        while time.time() < until and process.poll() is None:
            rows = len((killed / "log.csv").read_text().splitlines()) if (killed / "log.csv").exists() else 0
            if rows > max(seen, 8) + 7:
                break
            time.sleep(0.005)
        process.kill()
        process.wait()
    out = run(command(data, killed))
    assert "continuing" in out
    assert losses(killed) == losses(tmp_path / "whole")
    assert weights(killed) == weights(tmp_path / "whole")
    run(command(data, tmp_path / "other", "--seed", 1))
    assert weights(tmp_path / "other") != weights(tmp_path / "whole")
    refused = subprocess.run([sys.executable, *map(str, command(data, killed, "--muon-lr", 0.01))], cwd=ROOT,
                             env=ONE_THREAD, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 1 and "was started with --muon-lr 0.02" in refused.stderr.splitlines()[-1]


def test_patience_keeps_the_best(data, tmp_path):
    """On 400 short documents a large rate soon overfits: the run stops early and ends on its best weights."""
    run(command(data, tmp_path, "--patience", 2, "--eval-every", 3, "--tokens", 2_000_000, "--cooldown", 0.1))
    metrics = json.loads((tmp_path / "metrics.json").read_text())["numbers"]
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    seen = [float(row[7]) for row in rows[1:] if row[7]]
    assert metrics["steps"] < metrics["steps_planned"]
    assert math.isclose(metrics["valid_loss_nats"], min(seen), abs_tol=1e-4)
    assert min(seen) < min(seen[-2:])
