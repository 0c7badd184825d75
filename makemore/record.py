"""
What a script of this folder leaves behind for later programs: metrics.json.

Units stand in the keys of `numbers` (dev_loss_nats, seconds_per_epoch). `bash run.sh progress` reads these files.
"""

import json
import os
import platform
import resource
import sys
from pathlib import Path

import numpy as np


def write_metrics(folder, script, argv, *, seed=None, seconds=None, data_sha=None, numbers=None):
    """metrics.json in `folder`, replaced at once; argv: what main() was called with, None for the command line."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    environment = {"python": platform.python_version(), "numpy": np.__version__}
    if "torch" in sys.modules:
        environment["torch"] = str(sys.modules["torch"].__version__)
    metrics = {
        "schema": 1, "script": script, "argv": sys.argv[1:] if argv is None else argv, "seed": seed, "checkpoint": None,
        "data_sha": data_sha, "seconds": seconds,
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,  # macOS counts bytes, Linux kilobytes
        "numbers": numbers or {}, "scores": {}, "environment": environment}
    part = folder / "metrics.json.part"
    part.write_text(json.dumps(metrics, indent=1) + "\n")
    os.replace(part, folder / "metrics.json")
