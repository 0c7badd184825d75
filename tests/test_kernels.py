"""The kernels, interpreted where there is no GPU, and what the bench makes of times."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import torch

from kernels import bench

ROOT = Path(__file__).resolve().parent.parent


def test_the_kernels():
    """tests/interpreted_kernels.py, in a process whose Triton interprets; on a machine with a GPU, on that."""
    one = os.environ | {"OMP_NUM_THREADS": "1"} | ({} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"})
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/interpreted_kernels.py"], cwd=ROOT, env=one,
                          capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


# one row that meets its target, one that misses, one that torch has no kernel for
ROWS = [{"kernel": "attention forward, D 64", "seconds": 2e-3, "unit": "operations", "work": 8e11, "note": "",
         "others": {"FlashAttention-2": 2.5e-3, "cuDNN": math.nan}},
        {"kernel": "rope forward", "seconds": 1e-3, "unit": "bytes", "work": 2e9, "note": "",
         "others": {"eager": 4e-3}},
        {"kernel": "rope backward", "seconds": 2e-3, "unit": "bytes", "work": 2e9, "note": "x",
         "others": {"eager": 4e-3}}]
CEILING = {"operations": 5e14, "bytes": 2.5e12}


def test_table():
    assert bench.table(ROWS, CEILING).splitlines()[2:] == [
        "| attention forward, D 64 | 2.000 | 400 TFLOP/s | 80% | 1.25 FlashAttention-2, - cuDNN |  |",
        "| rope forward | 1.000 | 2,000 GB/s | 80% | 4.00 eager |  |",
        "| rope backward | 2.000 | 1,000 GB/s | 40% | 2.00 eager | x |"]


def test_verdicts_take_the_worst_row():
    found = {what: (value, target) for what, value, target in bench.verdicts(ROWS, CEILING)}
    assert found == {"attention forward, at worst, x FlashAttention-2:": (1.25, 1.0),
                     "rope, at worst, share of the ceiling:": (0.4, 0.85)}


def test_metrics(tmp_path):
    bench.write_metrics(tmp_path / "out", ["--only", "memory"], 0, ROWS, CEILING, {"device": "none"})
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(metrics) == {"schema", "script", "argv", "seed", "checkpoint", "data_sha", "seconds",
                            "peak_memory_bytes", "numbers", "scores", "environment"}
    assert metrics["numbers"]["matmul_tflops"] == 500 and metrics["numbers"]["rope forward, times eager"] == 4
    assert metrics["numbers"]["attention forward, D 64, times cuDNN"] is None


def test_bench_without_a_device(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "kernels" / "bench.py", "--out", tmp_path], capture_output=True,
                          text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, timeout=300)
    assert done.returncode == 1 and "no CUDA device" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
