"""
What a training step holds in memory, counted beforehand and measured on this machine.

    python train/memory.py                              # a small Llama and GPT-2: counted beside measured

Three things fill a device: the state (weights, gradients and AdamW's two moments, 4 bytes each in float32), what
the blocks keep for the backward pass, and the head. The second is what formulas get wrong, since it depends on how
the code is written. So nothing is guessed: a block of the model is run on fake tensors, which have shapes and no
content, and what autograd keeps of it is added up. A 70B block on a laptop takes a tenth of a second.

Formulas for the same by hand: Korthikanti et al. 2022, section 4.1, https://arxiv.org/abs/2205.05198.
Left out on purpose: fragmentation, and what a compiler saves by recomputing cheap things.
B = rows, T = length, C = channels, V = vocabulary, P = parameters
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import contextlib
import subprocess
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from gpt.describe import by_part
from gpt.kinds import KINDS
from train.adamw import AdamW
from train.device import prepare

CHUNK = 512                  # rows of logits that kernels/cross_entropy.py makes at once
CASES = [("llama", dict(vocab_size=4096, n_layer=6, n_head=8, n_kv_head=4, n_embd=512, n_hidden=1408, context=512,
                        qk_norm=True)),
         ("gpt2", dict(vocab_size=4096, n_layer=6, n_head=8, n_embd=512, block_size=512))]


def meta(kind, config):
    """The model without memory, to count its parameters."""
    Config, Model = KINDS[kind]
    with torch.device("meta"):
        return Model(Config(**config))


def autocast(precision):
    """
    The context of a forward pass. fp32: as it is;  amp: float32 weights, products in bfloat16;
    bf16: weights that already are bfloat16 when a block runs, as under fully_shard's mixed precision
    """
    return torch.autocast("cpu", torch.bfloat16) if precision == "amp" else contextlib.nullcontext()


@contextlib.contextmanager
def default_dtype(dtype):
    """New parameters are of this dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@lru_cache
def kept(kind, config, layers, rows, length, precision):
    """Bytes that autograd keeps of a model with so many blocks and hardly any ids; config: the items of a dict"""
    Config, Model = KINDS[kind]
    with FakeTensorMode(), default_dtype(torch.bfloat16 if precision == "bf16" else torch.float32):
        model = Model(Config(**(dict(config) | {"n_layer": layers, "vocab_size": 8})))
        own, found = {p.untyped_storage()._cdata for p in model.parameters()}, {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                found[storage._cdata] = storage              # holding it keeps its address from being used again
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast(precision):
            model(torch.zeros(rows, length, dtype=torch.long))
    return sum(storage.nbytes() for storage in found.values())


def activations(kind, config, rows, length, precision):
    """
    Bytes of a block's activations, of what it keeps whatever the rows (its weights in bfloat16, under autocast), and of
    what is kept outside of blocks: from one and two blocks, each with one and two rows.
    """
    f = {(n, r): kept(kind, tuple(config.items()), n, r, length, precision) for n in (1, 2) for r in (1, 2)}
    row = f[2, 2] - f[1, 2] - f[2, 1] + f[1, 1]              # one block, one row
    fixed = f[2, 1] - f[1, 1] - row
    return rows * row, fixed, rows * (f[1, 2] - f[1, 1] - row)


def head(kind, config, rows, length, precision):
    """Bytes at the loss. GPT-2 makes all logits; the others a chunk of them, and both gradients in the forward pass."""
    N, C, V, wide = rows * length, config["n_embd"], config["vocab_size"], 4 if precision == "fp32" else 2
    if kind == "gpt2":                       # logits, log-softmax, their gradients: float32, two of them also bfloat16
        return (16 if precision == "fp32" else 14) * N * V
    dw = 4 if precision != "bf16" else 2
    return wide * (min(CHUNK, N) * V + 2 * N * C) + V * C * (2 * dw + (wide if precision == "amp" else 0))


def step_bytes(kind, config, rows, length, *, precision="amp", shards=1, checkpointing=False, accumulate=False,
               moments=8, process=0):
    """
    Peak of a training step on one device, in bytes, by part.
    shards: over how many devices weights, gradients and moments are cut;  accumulate: gradients outlive a backward pass
    moments: bytes a parameter of optimizer state, 8 for AdamW;  process: what the program takes before it has a model
    """
    model = meta(kind, config)
    P, L, E = sum(p.numel() for p in model.parameters()), config["n_layer"], by_part(model)["embedding"]
    if shards > 1 and precision == "amp":
        precision = "bf16"
    wide = 4 if precision == "fp32" else 2
    block, cast, outside = activations(kind, config, rows, length, precision)
    entry = (2 if precision == "bf16" else 4) * rows * length * config["n_embd"]         # the residual stream
    whole = wide * (E + 2 * (P - E) // L) if shards > 1 else 0     # the root, a block and the next one on its way
    parts = {"weights": 4 * P // shards, "moments": moments * P // shards, "gradients": 4 * P // shards,
             "copies": whole or cast * L,
             "activations": outside + (L * entry + block if checkpointing else L * block),
             "head": head(kind, config, rows, length, precision), "process": process}
    state = parts["weights"] + parts["moments"]
    peaks = {"start of the backward pass": state + parts["copies"] + parts["activations"] + parts["head"]
             + accumulate * parts["gradients"],
             "end of the backward pass": state + parts["gradients"] + (whole and whole + (wide + 4) * E),
             "optimizer": state + parts["gradients"] + 8 * max(p.numel() for p in model.parameters()) // shards}
    when = max(peaks, key=peaks.get)
    return parts | {"peak": process + peaks[when], "when": when}


# ---------------------------------------------------------------------------------------------------
# the same, measured


def resident(name):
    """VmRSS (now) or VmHWM (the highest since reset) of this process, in bytes; Linux alone keeps them."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name + ":"))


def measure(kind, config, rows, length, precision, checkpointing):
    """Run in a process of its own: peak of the second step less what the process had, and that, in bytes."""
    Config, Model = KINDS[kind]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    few = {"n_layer": 1, "vocab_size": 8, "n_embd": 64, "n_head": 4} | ({"n_kv_head": 4} if kind == "llama" else {})
    small = Model(Config(**(config | few)))
    small(torch.zeros(1, 8, dtype=torch.long))[0].sum().backward()      # the libraries' own memory comes first
    process = resident("VmRSS")
    model = prepare(Model(Config(**config)), torch.device("cpu"))
    if checkpointing:
        for block in model.model.layers if kind == "llama" else model.transformer.h:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    optimizer, idx = AdamW(model.parameters()), torch.randint(config["vocab_size"], (rows, length))
    for step in range(2):
        Path("/proc/self/clear_refs").write_text("5")                    # VmHWM starts anew: proc(5)
        with autocast(precision):
            loss = model(idx, idx)[1]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return resident("VmHWM") - process, process


def measured(*case):
    """measure() in a child whose allocator gives back what it frees, so that resident memory is what tensors hold."""
    code = f"from train.memory import measure; print(*measure(*{case!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parent.parent, text=True,
                          capture_output=True, env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "262144"})
    if done.returncode:
        sys.exit(f"the measured step failed: {done.stderr.strip().splitlines()[-1]}")
    return tuple(map(int, done.stdout.split()))


def main():
    if not Path("/proc/self/clear_refs").exists():
        sys.exit("this system does not tell a process its peak. Run it on Linux")
    print("peak of a step, MB          counted measured   error")
    for kind, config in CASES:
        for precision in ("fp32", "amp"):
            for checkpointing in (False, True):
                counted = step_bytes(kind, config, 8, 512, precision=precision, checkpointing=checkpointing)
                real, _ = measured(kind, config, 8, 512, precision, checkpointing)
                name = f"{kind} {precision}" + (", checkpointing" if checkpointing else "")
                print(f"{name:26s} {counted['peak'] / 1e6:8.0f} {real / 1e6:8.0f} {counted['peak'] / real - 1:+7.1%}")


if __name__ == "__main__":
    main()
