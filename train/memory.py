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

CASES = [("llama", dict(vocab_size=4096, n_layer=6, n_head=8, n_kv_head=4, n_embd=512, n_hidden=1408, context=512,
                        qk_norm=True)),
         ("gpt2", dict(vocab_size=4096, n_layer=6, n_head=8, n_embd=512, block_size=512))]


@lru_cache
def shapes(kind, items):
    Config, Model = KINDS[kind]
    with torch.device("meta"):
        return Model(Config(**dict(items)))


def meta(kind, config):
    """The model without memory, to count its parameters."""
    return shapes(kind, tuple(config.items()))


def autocast(precision):
    """The context of a forward pass. fp32: as it is;  amp: float32 weights, products in bfloat16"""
    return torch.autocast("cpu", torch.bfloat16) if precision == "amp" else contextlib.nullcontext()


@lru_cache
def kept(kind, config, layers, rows, length, precision):
    """Bytes that autograd keeps of a model with so many blocks and hardly any ids; config: the items of a dict"""
    Config, Model = KINDS[kind]
    with FakeTensorMode():
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


def head(kind, config, tokens, precision, chunk):
    """
    Bytes while the loss is made, and what its backward pass leaves for the blocks'. GPT-2 makes all logits;
    the others a chunk of them, and both gradients in the forward pass (kernels/cross_entropy.py).
    """
    C, V, wide = config["n_embd"], config["vocab_size"], 4 if precision == "fp32" else 2
    left = 4 * V * C + wide * tokens * C                     # gradients of the head's weights and of its input
    if kind == "gpt2":                       # log-softmax, its gradient and that of the logits, all float32
        return 12 * tokens * V, left
    cast = wide * V * C if precision == "amp" else 0
    return left + wide * (min(chunk, tokens) * V + tokens * C) + 4 * V * C + cast, left


def step_bytes(kind, config, rows, length, *, precision="amp", shards=1, checkpointing=False, accumulate=False,
               moments=8, chunk=512, process=0):
    """
    Peak of a training step on one device, in bytes, by part.
    shards: over how many devices weights, gradients and moments are cut;  accumulate: gradients outlive a backward pass
    moments: bytes a parameter of optimizer state, 8 for AdamW;  chunk: rows of logits that are made at once
    process: what the program takes before it has a model
    """
    model, tokens, L = meta(kind, config), rows * length, config["n_layer"]
    P, E = sum(p.numel() for p in model.parameters()), by_part(model)["embedding"]
    wide = 4 if precision == "fp32" else 2
    block, cast, outside = activations(kind, config, rows, length, precision)
    loss, left = head(kind, config, tokens, precision, chunk)
    # sharded: whole are the root, in float32 (train/sharded.py), a block, and the next one on its way; at the end the
    # root's gradient, once more in the form in which it is scattered, and as often while it is sent
    whole = 4 * E + 2 * wide * (P - E) // L if shards > 1 else 0
    stored = L * 4 * tokens * config["n_embd"] if checkpointing else (L - 1) * block     # float32 enters a block
    parts = {"weights": 4 * P // shards, "moments": moments * P // shards, "gradients": 4 * P // shards,
             "copies": whole or cast * L, "activations": outside + stored + block, "head": loss, "process": process}
    state = parts["weights"] + parts["moments"] + accumulate * parts["gradients"]
    working = 2 * wide * tokens * config.get("n_hidden", 4 * config["n_embd"])           # gradients on their way
    peaks = {"loss": state + parts["copies"] + outside + stored + (0 if checkpointing else block) + loss,
             "last block": state + parts["copies"] + parts["activations"] + left + working,
             "last gradient": 4 * P // shards * (2 + moments // 4) + (whole and whole + 16 * E),
             "update": 4 * P // shards * (2 + moments // 4) + 8 * max(p.numel() for p in model.parameters()) // shards}
    when = max(peaks, key=peaks.get)
    return parts | {"peak": process + peaks[when], "when": when}


# ---------------------------------------------------------------------------------------------------
# the same, measured


def resident(name):
    """VmRSS (now) or VmHWM (the highest since reset) of this process, in bytes; Linux alone keeps them."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name + ":"))


def checkpointed(model):
    """The model, keeping of each block only what enters it."""
    for block in model.model.layers if hasattr(model, "model") else model.transformer.h:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return model


def measure(kind, config, rows, length, precision, checkpointing):
    """Peak of the second step in bytes, less what this process had when all libraries had been loaded."""
    Config, Model = KINDS[kind]
    torch.set_num_threads(1)
    small = {"n_layer": 1, "vocab_size": 8, "n_embd": 64, "n_head": 4} | ({"n_kv_head": 4} if kind == "llama" else {})
    checkpointed(Model(Config(**(config | small))))(torch.zeros(1, 8, dtype=torch.long))[0].sum().backward()
    process = resident("VmRSS")
    model = prepare(Model(Config(**config)), torch.device("cpu"))
    if checkpointing:
        checkpointed(model)
    optimizer, idx = AdamW(model.parameters()), torch.randint(config["vocab_size"], (rows, length))
    for step in range(2):
        Path("/proc/self/clear_refs").write_text("5")                    # VmHWM starts anew: proc(5)
        with autocast(precision):
            loss = model(idx, idx)[1]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return resident("VmHWM") - process


def measured(*case):
    """measure() in a child whose allocator gives back what it frees, so that resident memory is what tensors hold."""
    code = f"from train.memory import measure; print(measure(*{case!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parent.parent, text=True,
                          capture_output=True, env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "262144"})
    if done.returncode:
        sys.exit(f"the measured step failed: {done.stderr.strip().splitlines()[-1]}")
    return int(done.stdout)


def main():
    if not Path("/proc/self/clear_refs").exists():
        sys.exit("this system does not tell a process its peak. Run it on Linux")
    print("peak of a step, MB          counted measured   error")
    for kind, config in CASES:
        for precision in ("fp32", "amp"):
            for checkpointing in (False, True):
                counted = step_bytes(kind, config, 8, 512, precision=precision, checkpointing=checkpointing)
                real = measured(kind, config, 8, 512, precision, checkpointing)
                name = f"{kind} {precision}" + (", checkpointing" if checkpointing else "")
                print(f"{name:26s} {counted['peak'] / 1e6:8.0f} {real / 1e6:8.0f} {counted['peak'] / real - 1:+7.1%}",
                      flush=True)


if __name__ == "__main__":
    main()
