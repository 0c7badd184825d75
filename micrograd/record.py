"""
What a script of this folder leaves behind for later programs: metrics.json.

Units stand in the keys of `numbers` (seconds_per_step). `bash run.sh progress` reads these files.
"""

import json
import os
import platform
import resource
import sys
from pathlib import Path


def write_metrics(folder, script, argv, *, seed, seconds, numbers, scores=None):
    """metrics.json in `folder`, replaced at once; argv: what main() was called with, None for the command line."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    metrics = {
        "schema": 1, "script": script, "argv": sys.argv[1:] if argv is None else argv, "seed": seed, "checkpoint": None,
        "data_sha": None, "seconds": round(seconds, 2),
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,  # macOS counts bytes, Linux kilobytes
        "numbers": numbers, "scores": scores or {}, "environment": {"python": platform.python_version()}}
    part = folder / "metrics.json.part"
    part.write_text(json.dumps(metrics, indent=1) + "\n")
    os.replace(part, folder / "metrics.json")
