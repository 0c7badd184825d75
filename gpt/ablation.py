"""
What each change from GPT-2 buys: gpt/train.py with one of them taken back at a time, three seeds each.

    python gpt/ablation.py                       # about six minutes on two cores; continues where it was stopped
    python gpt/ablation.py --seeds 1 --steps 50  # to see that it runs

Every row trains on the same number of characters. The table prints the validation loss, its standard
deviation over the seeds, what the change back costs, and the time of a step. The three activations have
hidden layers of equal parameters (Shazeer 2020, https://arxiv.org/abs/2002.05202, section 3).
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np

from bpe.record import write_metrics

ROWS = {  # what is taken back -> flags of gpt/train.py
    "nothing": [],
    "earlier characters in the embedding": ["--taps", 0],
    "Muon (AdamW, its best rate)": ["--optimizer", "adamw", "--lr", 0.008],
    "rotary positions (learned)": ["--position", "learned"],
    "normalized queries and keys": ["--no-qk-norm"],
    "RMSNorm (LayerNorm)": ["--norm", "layer"],
    "relu2 (GELU)": ["--activation", "gelu"],
    "relu2 (SwiGLU)": ["--activation", "swiglu"],
    "blocks that start as nothing": ["--no-zero-init"],
    "a head of its own (tied)": ["--tie"],
    "linear decay (warm-up, cosine)": ["--schedule", "cosine"],
    "each window once (anywhere)": ["--order", "random"],
    "all of them (GPT-2, its best rate)": ["--plain", "--lr", 0.008, "--layers", 2, "--heads", 2, "--batch", 16],
}


def run(out, *flags):
    """(validation loss in nats, seconds of training) of a run, or of an equal one that is already there."""
    flags = [*map(str, flags), "--sample", "0", "--eval-every", "1000000"]
    folder = out / "".join(flags).replace("--", "_")
    if not (folder / "metrics.json").exists():
        command = [sys.executable, Path(__file__).with_name("train.py"), *flags, "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"gpt/train.py {' '.join(flags)} failed:\n{done.stderr[-600:]}")
    numbers = json.loads((folder / "metrics.json").read_text())["numbers"]
    return numbers["valid_loss_nats"], numbers["train_seconds"]


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=200, help="optimizer steps of a run [%(default)s]")
    p.add_argument("--seeds", type=int, default=3, help="runs of each row [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/gpt/ablation"), help="where to write [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args, began, numbers, whole = parse(argv), time.time(), {}, None
    if min(args.steps, args.seeds) < 1:
        sys.exit("nothing to compare. Use --steps 1 and --seeds 1 or more")
    print(f"{'taken back':38s} {'nats':>7s} {'sd':>7s} {'costs':>8s} {'a step':>9s}")
    for name, flags in ROWS.items():
        runs = [run(args.out, *flags, "--steps", args.steps, "--seed", seed) for seed in range(args.seeds)]
        loss, seconds = map(np.array, zip(*runs))
        whole = loss.mean() if whole is None else whole
        spread = loss.std(ddof=1) if args.seeds > 1 else float("nan")
        numbers[name] = {"valid_loss_nats": loss.tolist(), "step_ms": 1e3 * seconds.mean() / args.steps}
        print(f"{name:38s} {loss.mean():7.4f} {spread:7.4f} {loss.mean() - whole:+8.4f} "
              f"{numbers[name]['step_ms']:6.1f} ms", flush=True)
    write_metrics(args.out, "gpt/ablation.py", argv, seconds=time.time() - began, numbers=numbers)
    print(f"wrote {args.out}; next: python gpt/train.py --long, the same in larger")


if __name__ == "__main__":
    main()
