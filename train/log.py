"""
What a run leaves for people and for later programs: log.csv from the first step, and metrics.json at
the end. Dashboards, the report and `run.sh progress` read these two files and nothing else.

    log = Log(out, ("gradient_norm",), bytes_per_token=3.2, flops_per_token=describe.flops(model), peak=peak_flops(...))
    log.log(step, loss_nats=..., tokens_per_second=..., gradient_norm=...)     # perplexity, bits per byte, MFU follow

`to` sends the same numbers to TensorBoard (`tensorboard --logdir out`) and to Weights & Biases, which stays offline,
in files under `out`, unless WANDB_MODE=online says otherwise. Left out on purpose: histograms and pictures.
"""

import csv
import math
import os
import sys
from pathlib import Path

import torch

from bpe import record
from bpe.record import peak_memory_bytes
from train.device import environment

COLUMNS = "step", "seconds", "tokens", "loss_nats", "perplexity", "tokens_per_second", "peak_memory_bytes"
SINKS = "tensorboard", "wandb"


class Log:
    """
    log.csv with COLUMNS and then `extra` ones; a number not given stays blank. A run that resumes
    after step `resume` drops the rows that the killed attempt wrote beyond it.

    bytes_per_token: of the text that the loss is on: adds bits_per_byte
    flops_per_token, peak: of the model, and of all devices together, a second: adds mfu
    to: names in SINKS
    """

    def __init__(self, folder, extra=(), resume=0, *, bytes_per_token=None, flops_per_token=None, peak=None, to=()):
        self.bytes_per_token, self.flops_share = bytes_per_token, flops_per_token / peak if peak else None
        derived = ("bits_per_byte",) * bool(bytes_per_token) + ("mfu",) * bool(peak)
        self.path, self.columns = Path(folder) / "log.csv", (*COLUMNS, *derived, *extra)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.sinks = [sink(name, Path(folder), resume) for name in to]
        kept = []
        if resume and self.path.exists():
            with open(self.path, newline="") as f:
                rows = [row for row in csv.DictReader(f) if None not in row.values()]
            kept = [row for row in rows if int(row["step"]) <= resume]
        part = self.path.with_suffix(".part")                # a kill here loses none of the rows that there are
        with open(part, "w", newline="") as f:
            writer = csv.DictWriter(f, self.columns)
            writer.writeheader()
            writer.writerows({key: row.get(key) for key in self.columns} for row in kept)
        part.replace(self.path)
        self.file = open(self.path, "a", newline="")
        self.writer = csv.DictWriter(self.file, self.columns)

    def log(self, step, **numbers):
        """One row, and what follows from its numbers; whole lines only, so a kill tears none."""
        if "loss_nats" in numbers:
            numbers["perplexity"] = math.exp(min(numbers["loss_nats"], 700))
            if self.bytes_per_token:
                numbers["bits_per_byte"] = numbers["loss_nats"] / math.log(2) / self.bytes_per_token
        if self.flops_share and "tokens_per_second" in numbers:
            numbers["mfu"] = numbers["tokens_per_second"] * self.flops_share
        numbers["peak_memory_bytes"] = peak_memory()
        self.writer.writerow({"step": step, **{k: f"{v:.6g}" if isinstance(v, float) else v
                                               for k, v in numbers.items()}})
        self.file.flush()
        for send in self.sinks:
            send(step, numbers)


def peak_memory():
    """Bytes at most so far: of the GPU where there is one, else of this process."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory_bytes()


def sink(name, folder, resume):
    """send(step, numbers) of another program's log; exits if that is not installed."""
    if name not in SINKS:
        raise ValueError(f"no sink {name!r}; there are {SINKS}")
    try:
        if name == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter
            writer = SummaryWriter(folder / "tensorboard", purge_step=resume + 1 if resume else None)

            def send(step, numbers):
                for key, value in numbers.items():
                    writer.add_scalar(key, value, step)
                writer.flush()
            return send
        import wandb
    except ImportError:
        sys.exit(f"{name} is not installed. Get it with\n    pip install {name}")
    run = wandb.init(project="train", name=str(folder), dir=folder, mode=os.environ.get("WANDB_MODE", "offline"))
    return lambda step, numbers: run.log(numbers, step=step)


def weights_of(model):
    """Copies of the weights before an update, for update_to_data()."""
    return [p.detach().clone() for p in model.parameters()]


def update_to_data(model, before):
    """
    RMS of the last update over RMS of the weights it changed, over all matrices; about 1e-3 is healthy.
    It costs a copy of the weights: take it now and then.
    """
    pairs = [(p.detach() - old, old) for p, old in zip(model.parameters(), before, strict=True) if p.dim() > 1]
    change, size = (sum(pair[n].double().square().sum() for pair in pairs) for n in (0, 1))
    return float((change / size).sqrt())


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
