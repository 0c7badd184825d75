"""
What a run leaves for people and for later programs: log.csv from the first step, and metrics.json at
the end. Dashboards, the report and `run.sh progress` read these two files and nothing else.
"""

import csv
import math
import sys
from pathlib import Path

from bpe import record
from bpe.record import peak_memory_bytes
from train.device import environment

COLUMNS = "step", "seconds", "tokens", "loss_nats", "perplexity", "tokens_per_second", "peak_memory_bytes"


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


def write_metrics(folder, **content):
    """metrics.json of the running script, with the machine it ran on; content: see bpe/record.py"""
    record.write_metrics(folder, script(), None, environment=environment(), **content)


def script():
    """The running script as `folder/file.py`."""
    path = Path(sys.argv[0]).resolve()
    return f"{path.parent.name}/{path.name}"
