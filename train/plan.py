"""
What a training run takes, before anybody pays for it: parameters, operations, memory, speed, hours, dollars.

    python train/plan.py --preset 124m --device a100 --gpus 8
    python train/plan.py --preset 1b --device h100 --gpus 8 --nodes 16 --parallel fsdp
    python train/plan.py --kind llama --layers 32 --width 4096 --heads 32 --kv-heads 8 --hidden 14336 --vocab 128256 \\
        --length 8192 --tokens 15e12 --device h100 --gpus 8 --nodes 128 --parallel hybrid --checkpointing
    python train/plan.py --check                             # runs that others published: predicted, published, error
    python train/plan.py --calibrate                         # the constants below, from the rows marked calibration

A step is matrix products at a fraction of the peak, attention at a fraction of that, everything between them at the
speed of the memory, and messages. They are added up: while a message travels the products beside it are slower, and
runs on 64 and 128 GPUs took as long as if nothing had been hidden. Memory is counted by train/memory.py.
Left out on purpose: tensor and pipeline parallelism, stragglers, restarts, evaluations and the time to compile; a run
of weeks loses several percent more to these.

P = parameters, L = layers, C = channels, V = vocabulary, T = length, N = tokens that a device takes at once
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from bpe.record import write_metrics
from gpt.describe import by_part, flops, idle
from train.device import bfloat16_is_fast
from train.hardware import DEVICES, Device, cpu
from train.memory import meta, step_bytes
from train.presets import PRESETS
from train.published import RUNS

CONSTANTS = {                # python train/plan.py --calibrate
    "ampere": 0.792,         # of the peak, in matrix products; the data sheet's peak is at a clock that power forbids
    "hopper": 0.597,
    "cpu": 0.43,             # of a product of 1024 x 1024: `train.py --preset tiny` on the two cores of one machine
    "fused": 66.9,           # numbers read or written between the products, in channels, for each layer and token
    "eager": 194.0,
}
ATTENTION = 0.7              # of the speed of a product: Dao 2023, figure 5, https://arxiv.org/abs/2307.08691
BANDWIDTH, LINK = 0.85, 0.8  # of the data sheet, that large copies and collectives reach
HOP = 2e-6                   # seconds that a message takes from one device to the next: an assumption, not calibrated
GENERATION = {"3090": "ampere", "4090": "ampere", "a100-40": "ampere", "a100": "ampere", "h100": "hopper",
              "b200": "hopper"}


# ---------------------------------------------------------------------------------------------------
# time


@dataclass(frozen=True)
class Job:
    """A run on a cluster. shards: devices that share one copy of the state; gpus: of a node."""
    device: Device
    generation: str
    gpus: int
    nodes: int
    kind: str
    config: tuple                # the items of a dict, so that a job can be a key
    length: int
    batch: int                   # rows of a device at once
    rows: int                    # of a step
    tokens: float
    shards: int
    fused: bool = True
    checkpointing: bool = False

    @property
    def world(self):
        return self.gpus * self.nodes

    @property
    def accumulate(self):
        return max(1, round(self.rows / (self.batch * self.world)))

    @property
    def step_tokens(self):
        return self.accumulate * self.batch * self.world * self.length


class Count(NamedTuple):
    P: int
    parts: dict                  # of the parameters
    blocks: int                  # weights that a token is multiplied with in the blocks,
    head: int                    # and in the head
    attention: float             # operations of the causal scores and their use, a token, forward
    LC: int
    V: int
    flops: float                 # a token, by gpt/describe.py, which counts the whole square of scores


@lru_cache
def count(kind, config, length):
    """What the shape alone decides."""
    model = meta(kind, dict(config))
    c, parts = model.config, by_part(model)
    return Count(sum(parts.values()), parts, parts["attention"] + parts["feed-forward"] - idle(model),
                 c.vocab_size * c.n_embd, c.n_layer * c.n_head * (c.d_head + getattr(c, "d_value", c.d_head)) * length,
                 c.n_layer * c.n_embd, c.vocab_size, flops(model))


def ring(size, n, bandwidth, messages=1):
    """Seconds to gather, or to reduce and scatter, `size` bytes among n devices in a ring, in so many messages."""
    return size * (n - 1) / n / (bandwidth * LINK) + messages * (n - 1) * HOP


def step(job, constants=CONSTANTS):
    """Seconds of a step: compute, communication, update of the weights, and total."""
    c, P = count(job.kind, job.config, job.length), count(job.kind, job.config, job.length).P
    d, N, again = job.device, job.batch * job.length, job.checkpointing
    speed, layers = d.flops * constants[job.generation], dict(job.config)["n_layer"]
    between = 2 * constants["fused" if job.fused else "eager"] * (c.LC * (1 + again / 3) + c.V / 10)  # bytes a token
    token = ((6 + 2 * again) * c.blocks + 6 * c.head) / speed \
        + (3.5 + again) * c.attention / (speed * ATTENTION) + between / (d.bandwidth * BANDWIDTH)
    compute = job.accumulate * N * token
    node_wide = min(d.link, job.gpus * d.network) if job.nodes > 1 else d.link
    copies = job.world // job.shards
    sharding = copying = 0.0
    if job.shards > 1:                       # weights gathered forward and backward, gradients scattered: bfloat16
        link = d.link if job.shards <= job.gpus else node_wide
        sharding = job.accumulate * 3 * ring(2 * P, job.shards, link, layers)
    if copies > 1:                           # gradients in float32, once a step, behind the last backward pass
        link = node_wide if job.shards == 1 else d.network if job.shards >= job.gpus else d.link
        copying = 2 * ring(4 * P / job.shards, copies, link)
    update = 32 * P / job.shards / (d.bandwidth * BANDWIDTH)
    return {"compute": compute, "communication": sharding + copying, "update": update,
            "total": compute + sharding + copying + update}


def hours(job, constants=CONSTANTS):
    return job.tokens / job.step_tokens * step(job, constants)["total"] / 3600


def mfu(job, seconds):
    """Model FLOPs utilization, with the operations of gpt/describe.py: Chowdhery et al. 2022, appendix B"""
    return job.step_tokens * count(job.kind, job.config, job.length).flops / (seconds * job.world * job.device.flops)


# ---------------------------------------------------------------------------------------------------
# published runs


def job_of(run):
    """The Job of a published run; its nodes hold eight devices."""
    gpus = min(run.gpus, 8)
    return Job(DEVICES[run.device], GENERATION[run.device], gpus, run.gpus // gpus, run.kind, tuple(run.config.items()),
               run.length, run.batch, run.rows, run.tokens, run.shards, run.fused)


def check():
    """The table of published runs, as lines of text."""
    out = ["                              devices           tokens/s and GPU           hours of the run",
           "                                              published predicted    published predicted   error"]
    for calibration in (True, False):
        out.append("calibration" if calibration else "held out")
        for run in (run for run in RUNS if run.calibration is calibration):
            job = job_of(run)
            guess, rate = hours(job), run.tokens / run.gpus / 3600
            out.append(f"  {run.name:27s} {run.gpus:4d} x {job.device.name:10s} {rate / run.hours:8,.0f} "
                       f"{rate / guess:9,.0f} {run.hours:12,.2f} {guess:9,.2f} {guess / run.hours - 1:+7.1%}")
    return out + [""] + [f"{run.name:28s} {run.date:10s} {run.source}" for run in RUNS]


def calibrate():
    """The constants with which the first four rows are predicted exactly, each solved in turn until none moves."""
    solves = dict(zip(("fused", "hopper", "eager", "ampere"), RUNS))
    found = dict(CONSTANTS)
    for _ in range(60):
        for name, run in solves.items():
            low, high = (1e-3, 1.0) if name in ("ampere", "hopper") else (1.0, 1000.0)
            for _ in range(40):              # bisection: a faster product, or less of the rest, is a shorter run
                found[name] = (low + high) / 2
                longer = hours(job_of(run), found) > run.hours
                if longer == (name in ("ampere", "hopper")):
                    low = found[name]
                else:
                    high = found[name]
    return found


# ---------------------------------------------------------------------------------------------------
# the plan of one run


def shards_of(parallel, gpus, nodes):
    return {"none": 1, "ddp": 1, "fsdp": gpus * nodes, "hybrid": gpus}[parallel]


def memory(job, precision="amp"):
    """train/memory.py's parts and peak for one device of the job."""
    here = job.device.name == "this CPU"
    return step_bytes(job.kind, dict(job.config), job.batch, job.length, precision=precision, shards=job.shards,
                      checkpointing=job.checkpointing, accumulate=job.accumulate > 1, chunk=512 if here else 4096,
                      process=400_000_000 if here else 1_500_000_000)       # the program; on a GPU its context and NCCL


def room(job):
    """Bytes that a process may take: a GPU's own less what fragments, or its share of this machine."""
    return job.device.memory * 0.94 / (job.gpus if job.device.name == "this CPU" else 1)


def fits(job, precision):
    return memory(job, precision)["peak"] <= room(job)


def changes(job, precision):
    """What to change until it fits, as flags, the cheapest first; or how many devices the state alone asks for."""
    sharded = replace(job, shards=job.world)
    for again in (False, True):
        for what, other in (("", job), ("--parallel fsdp ", sharded)):
            batch = job.batch
            while batch >= 1:
                if fits(replace(other, batch=batch, checkpointing=again), precision):
                    return f"{what}--batch {batch}" + " --checkpointing" * again
                batch //= 2
    state = 16 * count(job.kind, job.config, job.length).P
    return f"at least {-(-state // room(job)):,.0f} devices: the state alone is {state / 1e9:,.0f} GB"


def advice(job, times, precision):
    """What does not fit and what wastes, with what to change, as lines of text."""
    out = []
    if not fits(job, precision):
        out.append(f"does not fit: {memory(job, precision)['peak'] / 1e9:,.1f} GB in {room(job) / 1e9:,.1f} GB. "
                   f"Use {changes(job, precision)}")
    if times["communication"] > 0.2 * times["total"]:
        share = times["communication"] / times["total"]
        other = "--parallel hybrid, " if job.shards > job.gpus else \
            "--parallel ddp, " if job.shards > 1 and fits(replace(job, shards=1), precision) else ""
        out.append(f"{share:.0%} of a step is communication: a larger --batch, {other}more --rows, or fewer devices")
    if job.checkpointing and fits(replace(job, checkpointing=False), precision):
        out.append("fits without checkpointing, which computes a third more: --no-checkpointing")
    if job.step_tokens != job.rows * job.length:
        out.append(f"a step has {job.step_tokens // job.length:,} rows, not {job.rows:,}: --rows must be a multiple of "
                   f"--batch x devices = {job.batch * job.world:,}")
    P = count(job.kind, job.config, job.length).P
    if not 10 < job.tokens / P < 200:
        out.append(f"{job.tokens / P:,.1f} tokens a parameter; about 20 make the best model for the compute "
                   "(Hoffmann et al. 2022, https://arxiv.org/abs/2203.15556)")
    return out


def span(seconds):
    return f"{seconds / 60:,.1f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours" if seconds < 172_800 \
        else f"{seconds / 86400:,.1f} days"


def memories(job, precision):
    """The table of memory under every way to share the state, as lines of text; < marks the job's own."""
    columns = {"weights": 9, "moments": 9, "gradients": 11, "copies": 8, "activations": 13, "head": 8, "peak": 8}
    out = [f"{'GB on a device':26s}" + "".join(f"{name:>{width}s}" for name, width in columns.items()) + "   fits"]
    ways = {"one device" if job.world == 1 else "DDP": 1, "FSDP": job.world, "hybrid": job.gpus}
    for name, shards in list(ways.items())[:1 + (job.world > 1) + (1 < job.gpus < job.world)]:
        for again in (False, True):
            one = replace(job, shards=shards, checkpointing=again)
            parts = memory(one, precision)
            out.append(f"{name + ', checkpointing' * again:26s}"
                       + "".join(f"{parts[part] / 1e9:{width}.2f}" for part, width in columns.items())
                       + ("    yes" if parts["peak"] <= room(one) else "     no") + "  <" * (one == job))
    return out


def plan(job, precision, stated=None, price=None):
    """The whole answer, as lines of text. stated: an MFU to believe instead of the model's"""
    c, times = count(job.kind, job.config, job.length), step(job)
    seconds = times["total"] if stated is None else job.step_tokens * c.flops / (stated * job.world * job.device.flops)
    total, price = job.tokens / job.step_tokens * seconds, price or job.device.dollars
    parts = ", ".join(f"{name} {times[name]:.3f}" for name in ("compute", "communication", "update"))
    billions, form = job.tokens / 1e9, ",.0f" if job.tokens >= 1e11 else ".3g"
    return [f"{billions:{form}}B tokens on {job.nodes} x {job.gpus} x {job.device.name}, {precision}",
            f"parameters    {c.P:,}: " + ", ".join(f"{part} {n / c.P:.0%}" for part, n in c.parts.items()),
            f"operations    {c.flops / 1e9:,.3g} GFLOP a token, {c.flops * job.tokens:.3g} FLOP in all",
            f"a step        {job.step_tokens:,} tokens: {job.world} devices x {job.batch} rows x {job.length} x "
            f"{job.accumulate} accumulated", "", *memories(job, precision), "",
            f"seconds       {seconds:.3f} a step" + (" at the stated MFU" if stated else f": {parts}"),
            f"speed         {job.step_tokens / seconds:,.0f} tokens/s, MFU {mfu(job, seconds):.1%}",
            f"time          {span(total)}",
            f"cost          ${total / 3600 * job.world * price:,.0f} at ${price:.2f} a device and hour" if price
            else "cost          give --price, dollars a device and hour",
            *(f"! {line}" for line in advice(job, times, precision))]


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--preset", choices=PRESETS, help="of train/presets.py; the flags below change parts of it")
    add("--kind", choices=["gpt2", "llama"], help="of the model [the preset's, else llama]")
    add("--layers", type=int, help="[the preset's]")
    add("--width", type=int, help="channels [the preset's]")
    add("--heads", type=int, help="query heads [the preset's]")
    add("--kv-heads", type=int, help="key/value heads [the preset's, else --heads]")
    add("--hidden", type=int, help="channels of the feed-forward [the preset's, else 4 x width, a Llama's 8/3 x]")
    add("--vocab", type=int, help="ids [the preset's, else 32,768]")
    add("--length", type=int, help="tokens of a row [the preset's, else 2,048]")
    add("--batch", type=int, help="rows of a device at once [the preset's, else 8]")
    add("--rows", type=int, help="rows of a step over all devices [the preset's, else one --batch a device]")
    add("--tokens", type=float, help="to train on [the preset's, else 20 a parameter]")
    add("--device", choices=["cpu", *DEVICES], default="cpu", help="[%(default)s]")
    add("--gpus", type=int, default=1, help="devices of a node; processes on a CPU [%(default)s]")
    add("--nodes", type=int, default=1, help="[%(default)s]")
    add("--parallel", choices=["none", "ddp", "fsdp", "hybrid"], help="[the preset's, else fsdp]")
    add("--checkpointing", action=argparse.BooleanOptionalAction, help="of activations [the preset's]")
    add("--precision", choices=["fp32", "amp"], help="amp computes in bfloat16 [amp where that is fast]")
    add("--eager", action="store_true", help="the code is not compiled, as on a CPU it never is")
    add("--mfu", type=float, help="believe this utilization, 0 to 1, instead of the model's")
    add("--network", type=float, help="a device's share of its node's network, GB/s [the table's]")
    add("--price", type=float, help="dollars a device and hour [the table's, where it has one]")
    add("--check", action="store_true", help="published runs beside what this would have said")
    add("--calibrate", action="store_true", help="solve for the constants")
    add("--out", type=Path, default=Path("out/train/plan"), help="where --check writes [%(default)s]")
    return p.parse_args(argv)


def shape(args):
    """(kind, configuration) of the flags, on top of the preset's."""
    preset = PRESETS.get(args.preset)
    kind = args.kind or (preset.kind if preset else "llama")
    config = dict(preset.config) if preset and preset.kind == kind else {}
    given = {"n_layer": args.layers, "n_embd": args.width, "n_head": args.heads, "vocab_size": args.vocab}
    given |= {"n_kv_head": args.kv_heads, "n_hidden": args.hidden} if kind == "llama" else {}
    config |= {key: value for key, value in given.items() if value is not None}
    lacking = [flag for key, flag in (("n_layer", "--layers"), ("n_embd", "--width"), ("n_head", "--heads"))
               if key not in config]
    if lacking:
        sys.exit(f"no shape: give --preset, or {' '.join(lacking)} as well")
    config.setdefault("vocab_size", 32768)
    length = args.length or (preset.length if preset else 2048)
    if kind == "llama":
        config.setdefault("n_kv_head", config["n_head"])
        config.setdefault("n_hidden", config["n_embd"] * 8 // 3)
    config["context" if kind == "llama" else "block_size"] = length
    try:
        meta(kind, config)
    except ValueError as e:
        sys.exit(f"no such shape: {e}")
    return kind, config, length


def job_from(args):
    """The Job of the flags."""
    if args.mfu is not None and not 0 < args.mfu <= 1:
        sys.exit(f"--mfu {args.mfu} is no utilization. Give one between 0 and 1: --mfu 0.4")
    preset = PRESETS.get(args.preset)
    kind, config, length = shape(args)
    device = cpu() if args.device == "cpu" else DEVICES[args.device]
    if args.network:
        device = device._replace(network=args.network * 1e9)
    world, batch = args.gpus * args.nodes, args.batch or (preset.batch if preset else 8)
    parallel = args.parallel or (preset.parallel if preset and world > 1 else "fsdp" if world > 1 else "none")
    tokens = args.tokens or (preset.tokens if preset else 20 * count(kind, tuple(config.items()), length).P)
    again = preset is not None and preset.checkpointing if args.checkpointing is None else args.checkpointing
    return Job(device, GENERATION.get(args.device, "cpu"), args.gpus, args.nodes, kind, tuple(config.items()), length,
               batch, args.rows or (preset.rows if preset else batch * world), tokens,
               shards_of(parallel, args.gpus, args.nodes), not args.eager and args.device != "cpu", again)


def main(argv=None):
    args = parse(argv)
    if args.check:
        print("\n".join(check()))
        errors = [abs(hours(job_of(run)) / run.hours - 1) for run in RUNS if not run.calibration]
        write_metrics(args.out, "train/plan.py", argv, numbers={
            "time_error": median(errors), "held_out_runs": len(errors),
            "held_out_within_20_percent": sum(error <= 0.2 for error in errors)})
        print(f"\nwrote {args.out}/metrics.json")
    elif args.calibrate:
        print("\n".join(f"{name:8s} {value:.4g}" for name, value in calibrate().items()))
    else:
        fast = args.device != "cpu" or bfloat16_is_fast(torch.device("cpu"))
        print("\n".join(plan(job_from(args), args.precision or ("amp" if fast else "fp32"), args.mfu, args.price)))


if __name__ == "__main__":
    main()
