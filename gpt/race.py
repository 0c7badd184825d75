"""
The race: nanoGPT's CPU setting, gpt/train.py --plain, which is the same, and gpt/train.py as it is. Each is a
process of its own, one after the other on the same machine, timed from start to end.

    git clone https://github.com/karpathy/nanoGPT
    python gpt/race.py --nanogpt nanoGPT                # three seeds, about seven minutes on two cores
    python gpt/race.py --nanogpt nanoGPT --seeds 1

nanoGPT runs from a copy with our seed in it, by the command of its README. What it leaves behind is scored as
ours is, over the whole validation text: its weights fit our --plain model by name. Ours then trains until it
has that loss or 1.8857, whichever is lower. A round is under three minutes; a finished one is not run again.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import pickle
import re
import shutil
import statistics
import subprocess
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from bpe.record import write_metrics
from gpt.train import GPT, SETTINGS, Config, evaluate, load

TARGET = 1.8857
SCRIPT = Path(__file__).with_name("train.py")
NANOGPT = ("--device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=64 --batch_size=12 --n_layer=4 "
           "--n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0").split()


def run(command, folder, log):
    """Seconds of the whole process; what it printed goes to the file log."""
    began = time.perf_counter()
    with open(log, "w") as file:
        code = subprocess.run([sys.executable, *map(str, command)], cwd=folder, stdout=file, stderr=file).returncode
    if code:
        sys.exit(f"{command[0]} failed:\n{log.read_text()[-600:]}")
    return time.perf_counter() - began


def prepare(source, folder, seed):
    """A copy of nanoGPT in folder, with its data and our seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train.py", "model.py", "configurator.py", "config/train_shakespeare_char.py"):
        if not (source / name).exists():
            sys.exit(f"no {source / name}. git clone https://github.com/karpathy/nanoGPT, and name that folder")
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(source / name, folder / name)
    script = (folder / "train.py").read_text()
    if script.count("manual_seed(1337") != 1:
        sys.exit(f"{source / 'train.py'} does not set its seed where it did. Check out commit 3adf61e")
    (folder / "train.py").write_text(script.replace("manual_seed(1337", f"manual_seed({1337 + seed}"))
    data = folder / "data/shakespeare_char"
    data.mkdir(parents=True, exist_ok=True)
    letters, train, held_out = load()
    for name, ids in (("train", train), ("val", held_out)):
        ids.numpy().astype(np.uint16).tofile(data / f"{name}.bin")
    with open(data / "meta.pkl", "wb") as file:
        pickle.dump({"vocab_size": len(letters)}, file)


def score(file):
    """Nats per character of nanoGPT's checkpoint, over the whole validation text."""
    plain = SETTINGS["plain"]
    model = GPT(Config(**{f.name: plain[f.name] for f in fields(Config)[1:]}))
    weights = torch.load(file, map_location="cpu", weights_only=True)["model"]
    model.load_state_dict({name.removeprefix("transformer."): w for name, w in weights.items()})
    return evaluate(model, load()[2], "cpu")


def theirs(source, folder, seed):
    prepare(source, folder, seed)
    log = folder / "log.txt"
    seconds = run(["train.py", "config/train_shakespeare_char.py", *NANOGPT, "--out_dir=out"], folder, log)
    steps = re.findall(r"iter \d+: loss [\d.]+, time ([\d.]+)ms", log.read_text())
    return {"seconds": seconds, "loss": score(folder / "out/ckpt.pt"), "step_ms": statistics.median(map(float, steps))}


def ours(folder, seed, *flags):
    folder.mkdir(parents=True, exist_ok=True)
    seconds = run([SCRIPT, *flags, "--seed", seed, "--sample", 0, "--out", folder], None, folder / "log.txt")
    numbers = json.loads((folder / "metrics.json").read_text())["numbers"]
    return {"seconds": seconds, "loss": numbers["valid_loss_nats"], "parameters": numbers["parameters"],
            "step_ms": 1e3 * numbers["train_seconds"] / numbers["steps"], "train_seconds": numbers["train_seconds"]}


def race(args, seed):
    """One round, or the figures of a finished one."""
    done = args.out / f"seed{seed}.json"
    if not done.exists():
        result = {"nanoGPT": theirs(args.nanogpt.resolve(), args.out / f"nanogpt{seed}", seed)}
        result["--plain"] = ours(args.out / f"plain{seed}", seed, "--plain", "--eval-every", 250)
        target = min(TARGET, result["nanoGPT"]["loss"])
        result["ours"] = ours(args.out / f"ours{seed}", seed, "--target", target)
        done.write_text(json.dumps(result, indent=1))
    return json.loads(done.read_text())


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nanogpt", type=Path, required=True, help="folder of a clone of nanoGPT")
    p.add_argument("--seeds", type=int, default=3, help="rounds [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/gpt/race"), help="where to write [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    args.out = args.out.resolve()
    rounds = []
    print(f"{'seed':>4s}  {'':8s} {'whole process':>13s} {'a step':>9s} {'nats':>8s}")
    for seed in range(args.seeds):
        rounds.append(race(args, seed))
        for name, r in rounds[-1].items():
            print(f"{seed:4d}  {name:8s} {r['seconds']:11.1f} s {r['step_ms']:6.1f} ms {r['loss']:8.4f}", flush=True)
    faster = [r["nanoGPT"]["seconds"] / r["ours"]["seconds"] for r in rounds]
    plain = [r["nanoGPT"]["step_ms"] / r["--plain"]["step_ms"] for r in rounds]
    print(f"ours is {statistics.mean(faster):.1f} times as fast (by seed " + ", ".join(f"{x:.1f}" for x in faster)
          + f"), a step of --plain {statistics.mean(plain):.2f} times")
    numbers = {"times_faster": statistics.mean(faster), "plain_step_times_faster": statistics.mean(plain),
               "rounds": rounds}
    write_metrics(args.out, "gpt/race.py", argv, seconds=sum(x["seconds"] for r in rounds for x in r.values()),
                  numbers=numbers)
    print(f"wrote {args.out}; next: python gpt/ablation.py")


if __name__ == "__main__":
    main()
