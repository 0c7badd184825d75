"""
What a script leaves for later programs: metrics.json. (train/log.py adds the machine to it, and log.csv.)

Units stand in the keys of `numbers` (train_seconds, bytes_per_token); `scores` hold what score() returns.
`bash run.sh progress`, the report and the dashboards read these files and nothing else.
"""

import json
import math
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


def score(correct, n, chance=None):
    """A fraction with what is needed to judge it: items, binomial standard error, chance level."""
    if n == 0:
        return None
    value = correct / n
    return {"value": value, "n": n, "stderr": math.sqrt(value * (1 - value) / n), "chance": chance}


def write_metrics(folder, script, argv, *, seed=None, checkpoint=None, data_sha=None, seconds=None, numbers=None,
                  scores=None, environment=None, **extra):
    """
    metrics.json in `folder`, replaced at once. argv: what main() was called with, None for the command line;
    environment: what the figures depend on [python's and numpy's versions, torch's where it was used]
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if environment is None:
        environment = {"python": platform.python_version(), "numpy": np.__version__}
        if "torch" in sys.modules:
            environment["torch"] = str(sys.modules["torch"].__version__)
    metrics = {"schema": 1, "script": script, "argv": sys.argv[1:] if argv is None else argv, "seed": seed,
               "checkpoint": checkpoint, "data_sha": data_sha, "seconds": seconds,
               "peak_memory_bytes": peak_memory_bytes(), "numbers": numbers or {}, "scores": scores or {}, **extra,
               "environment": environment}
    part = folder / "metrics.json.part"
    part.write_text(json.dumps(metrics, indent=1, default=str) + "\n")
    os.replace(part, folder / "metrics.json")
