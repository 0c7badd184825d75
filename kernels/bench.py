"""
Every kernel against torch's own on a CUDA machine: correctness first, then time.

    python kernels/bench.py                          # writes out/kernels/bench/metrics.json, prints a table
    python kernels/bench.py --only attention         # or memory, or loss

A time is the median by device events, with the second-level cache flushed before each call. A rate is what
the mathematics needs (operations, or bytes read once and written once) over that time, and beside it stands
its share of what this very device reaches in a large matrix product, or a large copy: specifications are
reached by nobody. "x torch" is torch's time over ours, above 1 where ours is faster.

Attention runs beside scaled_dot_product_attention's FlashAttention-2 and cuDNN backends at the sizes of Dao
2023, section 4.1 (https://arxiv.org/abs/2307.08691): 16,384 tokens, 2,048 channels of heads; a causal pass is
counted as half the operations, a backward pass as 2.5 forward ones. The others run beside torch's eager forms.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import datetime
import json
import math
import platform
import time
from pathlib import Path

import torch
import torch.nn.functional as F
import triton
from torch.nn.attention import SDPBackend, sdpa_kernel

from kernels import cross_entropy, flash, flash_reference, rmsnorm, rope, swiglu

LENGTHS = (1024, 2048, 4096, 8192, 16384)
TARGETS = {("attention forward", "FlashAttention-2"): 1.0, ("attention backward", "FlashAttention-2"): 0.9,
           ("head and loss", "eager"): 1 / 1.1, ("rmsnorm", "ceiling"): 0.85, ("rope", "ceiling"): 0.85,
           ("swiglu", "ceiling"): 0.85}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", choices=["attention", "memory", "loss"], help="this part alone")
    p.add_argument("--out", type=Path, default=Path("out/kernels/bench"), help="folder of metrics.json [%(default)s]")
    return p.parse_args(argv)


# ----------------------------------------------------------------------------
# measuring

def seconds(call):
    """Median of a call, by device events, the second-level cache flushed before each."""
    return triton.testing.do_bench(call, warmup=50, rep=200, return_mode="median") / 1e3


def added_memory(call):
    """Bytes that a call holds at its peak besides what was there before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return torch.cuda.max_memory_allocated() - before


def ceilings(device, size=8192):
    """What a large matrix product reaches in bfloat16, operations/s, and a large copy, bytes/s read and written."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    x = torch.empty(8 * size, size, device=device, dtype=torch.bfloat16)
    y = torch.empty_like(x)
    return {"operations": 2 * size ** 3 / seconds(lambda: a @ b),
            "bytes": 2 * x.numel() * x.itemsize / seconds(lambda: y.copy_(x))}


def backward(call, inputs, dy):
    """The backward pass of call(*inputs), to be called again and again."""
    y = call(*inputs)
    return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)


def attempt(measure, call):
    """measure(call), or NaN where torch has no such backend for this device."""
    try:
        return measure(call)
    except RuntimeError as error:
        if not str(error).startswith(("No available kernel", "No viable backend")):
            raise
        return math.nan


def timed(name, ours, others, inputs, dy, unit, work):
    """Two rows, forward and backward; work: operations or bytes of either; others: {label: call}."""
    rows = []
    for way, todo in zip(("forward", "backward"), work):
        run = (lambda f: seconds(lambda: f(*inputs))) if way == "forward" else \
            (lambda f: seconds(backward(f, inputs, dy)))
        rows.append({"kernel": name.format(way), "seconds": run(ours), "unit": unit, "work": todo, "note": "",
                     "others": {label: attempt(run, call) for label, call in others.items()}})
    return rows


# ----------------------------------------------------------------------------
# correctness: no further from float64 than twice what torch's own form in the same dtype is, and one bfloat16
# unit of the largest value, 2^-7, besides: torch may be right by luck, and Triton's interpreter cuts where a GPU rounds

def check(name, ours, theirs, exact, inputs):
    """Exits unless the output and every gradient of ours pass; theirs in the inputs' dtype, exact in float64."""
    def everything(call, inputs):
        inputs = [x.detach().requires_grad_() for x in inputs]
        y = call(*inputs)
        return y, *torch.autograd.grad(y, inputs, dy.to(y.dtype))

    dy = torch.randn_like(theirs(*inputs)).detach()
    results = [everything(call, xs) for call, xs in
               [(ours, inputs), (theirs, inputs), (exact, [x.double() for x in inputs])]]
    for index, (a, b, want) in enumerate(zip(*results)):
        allowed = 2 * (b.double() - want).abs().max().item() + 2**-7 * want.abs().max().item()
        off = (a.double() - want).abs().max().item()
        if not off <= allowed:
            what = f"the gradient in input {index}" if index else "the output"
            sys.exit(f"{name}: {what} is off by {off:.1e}, where {allowed:.1e} is allowed. "
                     "Find out with python -m pytest tests/test_flash.py tests/test_kernels.py")


def randn(device, *shape):
    """Random bfloat16, to be differentiated."""
    return torch.randn(*shape, device=device).bfloat16().requires_grad_()


def check_all(device, T=1000, C=4096, V=5000):
    """Every kernel at a length that is no multiple of its blocks."""
    for D in (64, 128):
        q, k, v = randn(device, 2, 4, T, D), randn(device, 2, 2, T, D), randn(device, 2, 2, T, D)
        for causal in (True, False):
            check(f"attention, D {D}, causal {causal}", lambda *x: flash.attend(*x, causal=causal),
                  lambda *x: F.scaled_dot_product_attention(*x, is_causal=causal, enable_gqa=True),
                  lambda *x: flash_reference.plain(*x, causal=causal), (q, k, v))
    x, w, table = randn(device, T, C), randn(device, C), rope.table(T, 128, device=device)
    check("rmsnorm", rmsnorm.rmsnorm, rmsnorm.plain, rmsnorm.plain, (x, w))
    check("swiglu", swiglu.swiglu, swiglu.plain, swiglu.plain, (x, x.flip(0)))
    positions = torch.arange(T, device=device).expand(2, T)
    check("rope", lambda x: rope.rope(x, positions, *table), lambda x: rope.plain(x, positions, *table),
          lambda x: rope.plain(x, positions, *table), (randn(device, 2, 4, T, 128),))
    targets = torch.arange(T, device=device) % V - 1
    check("head and loss", lambda x, w: cross_entropy.linear_cross_entropy(x, w, targets, 384),
          lambda x, w: cross_entropy.plain(x, w, targets),
          lambda x, w: F.cross_entropy(x @ w.t(), targets, ignore_index=-1),
          (randn(device, T, 256), randn(device, V, 256)))


# ----------------------------------------------------------------------------
# the three parts

def attention(device, lengths=LENGTHS, tokens=16384, channels=2048):
    for D in (64, 128):
        for T in lengths:
            B, H = max(1, tokens // T), channels // D
            q, k, v, dy = (randn(device, B, H, T, D) for _ in range(4))
            for causal in (False, True):
                def torchs(backend, *x):
                    with sdpa_kernel(backend):
                        return F.scaled_dot_product_attention(*x, is_causal=causal)

                work = 4 * B * H * T * T * D / (2 if causal else 1)
                yield from timed("attention {}" + f", D {D}, T {T}{', causal' * causal}",
                                 lambda *x: flash.attend(*x, causal=causal),
                                 {"FlashAttention-2": lambda *x: torchs(SDPBackend.FLASH_ATTENTION, *x),
                                  "cuDNN": lambda *x: torchs(SDPBackend.CUDNN_ATTENTION, *x)},
                                 (q, k, v), dy, "operations", (work, 2.5 * work))


def memory(device, N=16384, C=4096, hidden=14336, T=4096):
    """What is bound by memory: work is the bytes read once and written once."""
    for rows, width in [(N, C), (N * C // 128, 128)]:
        x, w = randn(device, rows, width), torch.ones(width, device=device, requires_grad=True)
        dy, size = torch.randn_like(x), 2 * x.numel()
        yield from timed("rmsnorm {}" + f", {rows} x {width}", rmsnorm.rmsnorm, {"eager": rmsnorm.plain}, (x, w), dy,
                         "bytes", (2 * size, 3 * size))
    B, H, D = N // T, C // 128, 128
    x, table = randn(device, B, T, H, D).transpose(1, 2).detach().requires_grad_(), rope.table(T, D, device=device)
    positions, size = torch.arange(T, device=device).expand(B, T).contiguous(), 2 * x.numel()
    yield from timed("rope {}" + f", {B} x {H} x {T} x {D}", lambda x: rope.rope(x, positions, *table),
                     {"eager": lambda x: rope.plain(x, positions, *table)}, (x,), torch.randn_like(x), "bytes",
                     (2 * size, 2 * size))
    gate, up = randn(device, N, hidden), randn(device, N, hidden)
    size = 2 * gate.numel()
    yield from timed("swiglu {}" + f", {N} x {hidden}", swiglu.swiglu, {"eager": lambda a, b: F.silu(a) * b},
                     (gate, up), torch.randn_like(gate), "bytes", (3 * size, 5 * size))


def loss(device, N=16384, C=4096, vocabularies=(32768, 131072)):
    """Head and cross-entropy, forward and backward together: six products' worth of operations."""
    for V in vocabularies:
        x, w = randn(device, N, C), randn(device, V, C)
        targets = torch.arange(N, device=device) % V

        def both(form):
            return lambda: torch.autograd.grad(form(x, w, targets), (x, w))

        ours, plain = both(cross_entropy.linear_cross_entropy), both(cross_entropy.plain)
        used, theirs = added_memory(ours) / 2**20, added_memory(plain) / 2**20
        yield {"kernel": f"head and loss, {N} x {C}, vocabulary {V}", "seconds": seconds(ours), "unit": "operations",
               "work": 6 * N * C * V, "others": {"eager": seconds(plain)},
               "note": f"adds {used:,.0f} MiB, unfused {theirs:,.0f}"}


# ----------------------------------------------------------------------------
# what it comes to

def share(row, ceiling):
    """Achieved rate over the measured ceiling of its unit."""
    return row["work"] / row["seconds"] / ceiling[row["unit"]]


def against(row):
    """{label: the other's time over ours}"""
    return {label: other / row["seconds"] for label, other in row["others"].items()}


def table(rows, ceiling):
    """A markdown table: time, rate, share of the ceiling, and how many times as fast as each of the others."""
    lines = ["| kernel | ms | achieved | of ceiling | x torch | |", "|---|---:|---:|---:|---|---|"]
    for row in rows:
        rate = row["work"] / row["seconds"]
        rate = f"{rate / 1e12:.0f} TFLOP/s" if row["unit"] == "operations" else f"{rate / 1e9:,.0f} GB/s"
        faster = ", ".join(f"{x:.2f} {label}" if x == x else f"- {label}" for label, x in against(row).items())
        lines.append(f"| {row['kernel']} | {1e3 * row['seconds']:.3f} | {rate} | {100 * share(row, ceiling):.0f}% | "
                     f"{faster} | {row['note']} |")
    return "\n".join(lines)


def verdicts(rows, ceiling):
    """The worst row of each target: [(what, value, target)]"""
    found = []
    for (kernel, label), target in TARGETS.items():
        values = [share(row, ceiling) if label == "ceiling" else against(row)[label]
                  for row in rows if row["kernel"].startswith(kernel)]
        if values:
            found.append((f"{kernel}, at worst, {'share of the' if label == 'ceiling' else 'x'} {label}:",
                          min(values), target))
    return found


def write_metrics(folder, argv, began, rows, ceiling, environment):
    """metrics.json in `folder`, replaced at once; argv: what main() was called with, None for the command line."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {"matmul_tflops": ceiling["operations"] / 1e12, "copy_gigabytes_per_second": ceiling["bytes"] / 1e9}
    for row in rows:
        numbers[row["kernel"] + ", milliseconds"] = 1e3 * row["seconds"]
        numbers |= {f"{row['kernel']}, times {label}": x if x == x else None for label, x in against(row).items()}
    numbers |= {what.rstrip(":"): value for what, value, _ in verdicts(rows, ceiling)}
    metrics = {"schema": 1, "script": "kernels/bench.py", "argv": sys.argv[1:] if argv is None else argv, "seed": 0,
               "checkpoint": None, "data_sha": None, "seconds": round(time.time() - began, 2),
               "peak_memory_bytes": torch.cuda.max_memory_allocated(), "numbers": numbers, "scores": {},
               "environment": environment}
    part = folder / "metrics.json.part"
    part.write_text(json.dumps(metrics, indent=1) + "\n")
    os.replace(part, folder / "metrics.json")


def main(argv=None):
    args, began = parse(argv), time.time()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device here, and times of interpreted kernels mean nothing. What can be shown without one: "
                 "python kernels/compile.py --arch 80 90 100")
    device = torch.device("cuda")
    environment = {"python": platform.python_version(), "torch": torch.__version__, "triton": triton.__version__,
                   "device": torch.cuda.get_device_name(), "date": datetime.date.today().isoformat()}
    torch.manual_seed(0)
    check_all(device)
    ceiling = ceilings(device)
    print(f"{environment['device']}, {environment['date']}, torch {environment['torch']}, "
          f"triton {environment['triton']}. All correct. A large product {ceiling['operations'] / 1e12:.0f} TFLOP/s, "
          f"a large copy {ceiling['bytes'] / 1e9:,.0f} GB/s.\n", flush=True)
    rows = []
    for name, part in [("attention", attention), ("memory", memory), ("loss", loss)]:
        if args.only in (None, name):
            rows += part(device)
    print(table(rows, ceiling), "\n")
    for what, value, target in verdicts(rows, ceiling):
        print(f"{what} {value:.2f}, target {target:.2f}{'' if value >= target else ': MISSED'}")
    write_metrics(args.out, argv, began, rows, ceiling, environment)
    print(f"wrote {args.out}/metrics.json")


if __name__ == "__main__":
    main()
