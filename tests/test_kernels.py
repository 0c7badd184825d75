"""The kernels, interpreted on the CPU, and what is said where they cannot run."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_interpreted_kernels():
    """tests/interpreted_kernels.py, in a process whose Triton interprets, whatever this one has imported."""
    one = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/interpreted_kernels.py"], cwd=ROOT, env=one,
                          capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
