"""
What a script of this folder leaves for later programs: metrics.json.

Units stand in the keys of `numbers` (train_seconds, bytes_per_token). `bash run.sh progress` reads these files.
"""

import json
import os
import platform
import resource
import sys
from pathlib import Path

import numpy as np


def peak_memory_bytes():
    """The largest resident size this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024     # macOS counts bytes, Linux kilobytes


def write_metrics(folder, script, argv, *, seed=None, seconds=None, numbers):
    """metrics.json in `folder`, replaced at once; argv: what main() was called with, None for the command line."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {"schema": 1, "script": script, "argv": sys.argv[1:] if argv is None else argv, "seed": seed,
               "checkpoint": None, "data_sha": None, "seconds": seconds, "peak_memory_bytes": peak_memory_bytes(),
               "numbers": numbers, "scores": {},
               "environment": {"python": platform.python_version(), "numpy": np.__version__}}
    part = folder / "metrics.json.part"
    part.write_text(json.dumps(metrics, indent=1) + "\n")
    os.replace(part, folder / "metrics.json")
