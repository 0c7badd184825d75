"""
What an optimizer costs: time and memory of ours beside torch's AdamW, on the weights of a model.

    python train/bench.py                                    # 8 blocks of width 512, 27 million parameters
    python train/bench.py --width 128 --layers 2             # seconds, to see that it runs

State is what stays between two steps, working memory what a step takes on top and gives back. A step of AdamW reads
weights, gradients and both moments and writes three of them: 28 bytes a parameter, and on a CPU nothing else counts,
so `of the memory's speed` says how near each comes to `x += 1`, which reads and writes as fast as can be.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import gc
import time
from pathlib import Path

import torch

from gpt.llama import Config, Llama
from train.adamw import AdamW
from train.device import device
from train.hardware import best
from train.muon import Muon, split


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--layers", type=int, default=8, help="[%(default)s]")
    p.add_argument("--width", type=int, default=512, help="channels, a multiple of 64 [%(default)s]")
    p.add_argument("--seconds", type=float, default=2, help="to measure each for [%(default)s]")
    return p.parse_args(argv)


def torch_adamw(**how):
    return lambda model: [torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, **how)]


def ours(model):
    return [AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)]


def ours_with_muon(model):
    matrices, rest = split(model)
    return [Muon(matrices), AdamW(rest, lr=1e-3)]


OPTIMIZERS = {"torch, a loop": torch_adamw(foreach=False), "torch, foreach": torch_adamw(foreach=True),
              "torch, fused": torch_adamw(fused=True), "ours": ours, "ours with Muon": ours_with_muon}


def resident():
    """Bytes that this process, or the GPU, holds now, and the most since reset()."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    text = Path("/proc/self/status").read_text()
    return tuple(int(text.split(name + ":")[1].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))


def reset():
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")        # VmHWM starts anew: proc(5)


def state_bytes(optimizers):
    """Of all tensors in the state that live as long as the optimizer."""
    found = {}
    waiting = [optimizer.state_dict() for optimizer in optimizers]
    while waiting:
        item = waiting.pop()
        if isinstance(item, torch.Tensor):
            found[item.data_ptr()] = item.numel() * item.element_size()
        elif isinstance(item, (dict, list)):
            waiting += item.values() if isinstance(item, dict) else item
    return sum(found.values())


def measure(make, model, seconds):
    """(seconds of a step, bytes of state, bytes that a step takes on top)"""
    optimizers = make(model)

    def step():
        for optimizer in optimizers:
            optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    step()                                                   # torch's make their state here
    gc.collect()
    reset()
    before = resident()[0]
    step()
    working = max(0, resident()[1] - before)
    return best(step, seconds), state_bytes(optimizers), working


def main(argv=None):
    args, where = parse(argv), device()
    if args.width % 64:
        sys.exit(f"--width {args.width} is no multiple of 64. Give one that is: --width 512")
    if where.type == "mps" or not (where.type == "cuda" or Path("/proc/self/clear_refs").exists()):
        sys.exit("memory can be measured on Linux or with CUDA alone")
    torch.manual_seed(0)
    model = Llama(Config(vocab_size=4096, n_layer=args.layers, n_embd=args.width, n_head=args.width // 64,
                         n_kv_head=args.width // 64, n_hidden=args.width * 8 // 3 // 64 * 64)).to(where)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    P = sum(p.numel() for p in model.parameters())
    x = torch.zeros(P, device=where)
    moved = 8 * P / best(lambda: x.add_(1) if where.type == "cpu" else (x.add_(1), torch.cuda.synchronize()))
    del x
    print(f"{P:,} parameters on {where}, {torch.get_num_threads()} threads; x += 1 moves {moved / 1e9:.1f} GB/s\n"
          "                  ms a step   of the memory's speed   state, bytes a parameter   working memory, MB")
    for name, make in OPTIMIZERS.items():
        start = time.perf_counter()
        seconds, state, working = measure(make, model, args.seconds)
        speed = f"{28 * P / seconds / moved:.0%}" if "Muon" not in name else "-"
        print(f"{name:16s} {1e3 * seconds:10.1f} {speed:>23s} {state / P:26.2f} {working / 1e6:20.1f}"
              f"   ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
