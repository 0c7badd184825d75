"""
The same train.py under torchrun: two nodes on one host lose what one process loses; a rank that is killed ends the
job in a clear line, and torchrun's restart goes on from the checkpoint.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.runs import ONE_THREAD, ROOT, command, losses, make_data, run

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the ranks in /proc")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    run(command(data, out))
    return curve(out)


def curve(out):
    return np.array(losses(out)[1:], dtype=float)


def torchrun(options, arguments, out):
    """Starts it; what it prints goes to `out`."""
    words = [sys.executable, "-m", "torch.distributed.run", *map(str, options), *map(str, arguments)]
    return subprocess.Popen(words, cwd=ROOT, env=ONE_THREAD, stdout=open(out, "w"), stderr=subprocess.STDOUT)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def kill_rank(job, rank, out, after):
    """SIGKILL to one rank once log.csv holds `after` rows; returns the moment."""
    until = time.time() + 600
    while time.time() < until:
        rows = (out / "log.csv").read_text().count("\n") if (out / "log.csv").exists() else 0
        if rows > after:
            break
        time.sleep(0.01)
    for child in map(int, Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()):
        if f"RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes().replace(b"_RANK=", b""):
            os.kill(child, signal.SIGKILL)
            return time.time()
    raise AssertionError("no such rank")


def test_two_nodes_on_one_host(data, alone, tmp_path):
    """Two launchers that find each other by rendezvous, each with a rank of its own; microbatches too."""
    node = ["--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d", "--rdzv-id", tmp_path.name,
            "--rdzv-endpoint", f"localhost:{free_port()}"]
    jobs = [torchrun(node, command(data, tmp_path, "--micro-batch", 2), tmp_path / f"{n}.txt") for n in range(2)]
    said = [(job.wait(600), (tmp_path / f"{n}.txt").read_text()) for n, job in enumerate(jobs)]
    assert [code for code, _ in said] == [0, 0], said
    assert sum("wrote" in text for _, text in said) == 1    # one rank speaks
    np.testing.assert_allclose(curve(tmp_path), alone, rtol=0, atol=1.5e-5)    # log.csv has six digits


def test_a_killed_rank_and_a_restart(data, alone, tmp_path):
    """Sharded weights. First the job stops, within a minute and saying why; then torchrun may restart it: it ends."""
    words = command(data, tmp_path, "--parallel", "fsdp", "--checkpoint-activations", "--save-every", 3)
    job = torchrun(["--standalone", "--nproc-per-node", 2], words, tmp_path / "1.txt")
    killed = kill_rank(job, 1, tmp_path, after=5)
    assert job.wait(600) != 0 and time.time() - killed < 60
    said = (tmp_path / "1.txt").read_text()
    assert "SIGKILL" in said or "rank 0 of 2 has lost another" in said

    job = torchrun(["--standalone", "--nproc-per-node", 2, "--max-restarts", 1], words, tmp_path / "2.txt")
    kill_rank(job, 0, tmp_path, after=9)
    assert job.wait(600) == 0, (tmp_path / "2.txt").read_text()
    assert (tmp_path / "2.txt").read_text().count("continuing") == 2
    np.testing.assert_allclose(curve(tmp_path), alone, rtol=0, atol=1.5e-5)    # log.csv has six digits


@pytest.mark.parametrize("words, says", [
    (["--batch", 7], "--batch 7 rows do not divide among 2 ranks. Give a multiple of 2."),
    (["--patience", 2, "--parallel", "fsdp"], "Use --parallel ddp, or --patience 0.")], ids=["rows", "patience"])
def test_what_does_not_go_together(data, tmp_path, words, says):
    job = torchrun(["--standalone", "--nproc-per-node", 2], command(data, tmp_path, *words), tmp_path / "1.txt")
    assert job.wait(600) == 1 and says in (tmp_path / "1.txt").read_text() and not (tmp_path / "run").exists()
