"""
Speed beside nanoGPT: tokens a second of a training step at its own shapes, ours and its, taking turns in one process.

    git clone https://github.com/karpathy/nanoGPT
    python train/race.py --nanogpt nanoGPT                    # two shapes, about two minutes on two cores
    python train/race.py --nanogpt nanoGPT --steps 2          # seconds, to see that it runs

A step is what either script does between two lines of its log: a batch, forward, backward, clipping, AdamW, all in
float32 without compiling. nanoGPT's is its model.py and its optimizer with the lines of its train.py around them.
Ours is train/step.py with train/adamw.py: gpt/model.py with nanoGPT's GELU, so that it is the same function, and a
Llama of the same layers and width, both on random windows as nanoGPT's (train/windows.py); and the Llama on packed
documents that do not see each other, as train/train.py has them. (gpt/race.py races whole runs to a loss.)
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import contextlib
import importlib.util
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from gpt.llama import Config, Llama
from gpt.model import GPT, GPTConfig
from train.adamw import AdamW
from train.amp import Mixed
from train.device import device, prepare
from train.loader import Loader, Shards
from train.log import write_metrics
from train.step import optimize
from train.windows import RandomWindows

SHAPES = {"4 x 128, context 64": (4, 4, 128, 64, 12), "6 x 384, context 256": (6, 6, 384, 256, 8)}
VOCAB = 65                                                   # Shakespeare's characters, as in nanoGPT's README


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--nanogpt", type=Path, required=True, help="a clone of it")
    add("--steps", type=int, default=20, help="timed steps of each, after three more [%(default)s]")
    add("--out", type=Path, default=Path("out/train/race"), help="where to write [%(default)s]")
    return p.parse_args(argv)


def theirs(folder, layers, heads, width, context, rows, ids):
    """A function that takes one step as nanoGPT does."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with contextlib.redirect_stdout(None):
        model = module.GPT(module.GPTConfig(block_size=context, vocab_size=VOCAB, n_layer=layers, n_head=heads,
                                            n_embd=width, dropout=0.0, bias=False))
        optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")

    def step():
        at = torch.randint(len(ids) - context, (rows,))
        x = torch.stack([torch.from_numpy(ids[i:i + context].astype(np.int64)) for i in at])
        y = torch.stack([torch.from_numpy(ids[i + 1:i + 1 + context].astype(np.int64)) for i in at])
        loss = model(x, y)[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()
    return step


def ours(kind, packed, layers, heads, width, context, rows, ids, where):
    """A function that takes one step as we do, for one of the two models."""
    model = prepare(GPT(GPTConfig(context, VOCAB, layers, heads, width, bias=False)) if kind == "gpt2" else
                    Llama(Config(VOCAB, layers, heads, heads, width, 8 * width // 3, context, qk_norm=True)), where)
    for module in model.modules():                           # GPT-2's GELU is the one with tanh, which is slower;
        if hasattr(module, "gelu"):                          # nanoGPT's is the exact one
            module.gelu = torch.nn.GELU()
    optimizer, mixed = AdamW(model.parameters(), weight_decay=0.1), Mixed(where, torch.float32)
    loader = Loader(Shards([ids], 0), 0, rows, context) if packed else RandomWindows([ids], rows, context)

    def step():
        return optimize(model, [(optimizer, 1e-3)], loader.next(), 1.0, 1.0, where, mixed=mixed)[0].item()
    return step


def race(steps, runners):
    """Median seconds of a step of each, the runners taking turns, so that a busy machine slows all alike."""
    seconds = {name: [] for name in runners}
    for n in range(steps + 3):
        for name, step in runners.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken[3:]) for name, taken in seconds.items()}


def main(argv=None):
    args, where, numbers, start = parse(argv), device(), {}, time.time()
    if not (args.nanogpt / "model.py").exists():
        sys.exit(f"no {args.nanogpt / 'model.py'}. git clone https://github.com/karpathy/nanoGPT, and name that folder")
    ids = np.random.default_rng(0).integers(1, VOCAB, 1_000_000).astype(np.uint16)
    ids[::500] = 0                                           # documents of 500 ids
    print(f"float32 on {where}, {torch.get_num_threads()} threads; thousand tokens a second, and the ratio to nanoGPT")
    for name, (layers, heads, width, context, rows) in SHAPES.items():
        shape = layers, heads, width, context, rows, ids
        taken = race(args.steps, {"nanoGPT": theirs(args.nanogpt, *shape), "gpt2": ours("gpt2", False, *shape, where),
                                  "llama": ours("llama", False, *shape, where),
                                  "llama, packed": ours("llama", True, *shape, where)})
        for runner, seconds in taken.items():
            rate = rows * context / seconds
            numbers[f"{runner.replace(', ', '_')}_{width}_tokens_per_second"] = rate
            print(f"{name:22s} {runner:14s} {rate / 1e3:8.1f} {taken['nanoGPT'] / seconds:6.2f}x", flush=True)
    write_metrics(args.out, seconds=time.time() - start, numbers=numbers)
    print(f"wrote {args.out}/metrics.json")


if __name__ == "__main__":
    main()
