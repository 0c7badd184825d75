"""
What a run leaves for people and for later programs: log.csv from the first step, and metrics.json at
the end. Dashboards, the report and `run.sh progress` read these two files and nothing else.
"""

import csv
import json
import math
import os
import resource
import sys
from pathlib import Path

from train.device import environment

COLUMNS = "step", "seconds", "tokens", "loss_nats", "perplexity", "tokens_per_second", "peak_memory_bytes"


def peak_memory_bytes():
    """The largest resident size this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024     # macOS counts bytes, Linux kilobytes


class Log:
    """
    log.csv with COLUMNS and then `extra` ones; a number not given stays blank. A run that resumes
    after step `resume` drops the rows that the killed attempt wrote beyond it.
    """

    def __init__(self, folder, extra=(), resume=0):
        self.path, self.columns = Path(folder) / "log.csv", (*COLUMNS, *extra)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        if resume and self.path.exists():
            with open(self.path, newline="") as f:
                rows = [row for row in csv.DictReader(f) if None not in row.values()]
            kept = [row for row in rows if int(row["step"]) <= resume]
        self.file = open(self.path, "w", newline="")
        self.writer = csv.DictWriter(self.file, self.columns)
        self.writer.writeheader()
        self.writer.writerows({key: row.get(key) for key in self.columns} for row in kept)

    def log(self, step, **numbers):
        """One row. loss_nats gives perplexity; memory is measured here; whole lines only, so a kill tears none."""
        if "loss_nats" in numbers:
            numbers["perplexity"] = math.exp(min(numbers["loss_nats"], 700))
        numbers["peak_memory_bytes"] = peak_memory_bytes()
        self.writer.writerow({"step": step, **{k: f"{v:.6g}" if isinstance(v, float) else v
                                               for k, v in numbers.items()}})
        self.file.flush()


def progress(step, steps, loss, clock, numbers):
    """The one line that a training script prints now and then; numbers: further named ones, if there are."""
    more = "".join(f" | {name.removesuffix('_nats').replace('_', ' ')} {x:.4f}" for name, x in numbers.items())
    left = clock.seconds / step * (steps - step)
    return f"step {step:5d}/{steps} | loss {loss:.4f} | {clock.rate:8,.0f} tok/s | {left:4.0f} s left{more}"


def score(correct, n, chance=None):
    """A fraction with what is needed to judge it: items, binomial standard error, chance level."""
    if n == 0:
        return None
    value = correct / n
    return {"value": value, "n": n, "stderr": math.sqrt(value * (1 - value) / n), "chance": chance}


def write_metrics(folder, *, seed=None, checkpoint=None, data_sha=None, seconds=None, numbers=None, scores=None,
                  **extra):
    """metrics.json, replaced at once. Units stand in the keys of `numbers`; `scores` hold what score() returns."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {"schema": 1, "script": script(), "argv": sys.argv[1:], "seed": seed, "checkpoint": checkpoint,
               "data_sha": data_sha, "seconds": seconds, "peak_memory_bytes": peak_memory_bytes(),
               "numbers": numbers or {}, "scores": scores or {}, **extra, "environment": environment()}
    part = folder / "metrics.json.part"
    part.write_text(json.dumps(metrics, indent=1, default=str) + "\n")
    os.replace(part, folder / "metrics.json")


def script():
    """The running script as `folder/file.py`."""
    path = Path(sys.argv[0]).resolve()
    return f"{path.parent.name}/{path.name}"
