"""
LoRA against full fine-tuning at equal tokens: what each learns of a domain, and what it forgets of everything else.

    python continual/base.py && python continual/base.py --stream real           # two models of fiction, to start from
    python lora/compare.py                                                  # code and medicine, under half an hour
    python lora/compare.py --domains code --seeds 1 --ranks 1 8 -- --tokens 30000     # a minute, to see that it runs

    code       functions of the made-up world (bpe/tinyworld.py), learned by a model of its stories
    medical    questions with answers of MedQuAD (bpe.datasets), learned by a model of five novels

Each method at several learning rates, LoRA at --rank; then both at their best, and the other ranks at LoRA's best rate,
with all seeds. The rate is chosen by the domain's validation texts; what is reported is measured on test texts that no
choice has seen.
Seeds vary the adapter's first weights and the order of the texts. Every run is lora/train.py in a process of its own:
what follows `--` goes to it. The same command skips what is done. Gain: by how much LoRA lowers the domain's test loss
over what full fine-tuning lowers it by, seed by seed, both at their best rates. `gain` in metrics.json is the bad end
of its 95% interval in the worse domain. Left out on purpose: several bases, and a rate of its own for each rank.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import math
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bpe import datasets
from bpe.documents import records
from bpe.splits import near_duplicates, split
from train.log import write_metrics

ROOT = Path(__file__).resolve().parent.parent
FULL = 0                                                     # the rank that stands for training all weights
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}  # 97.5% point, by number of seeds
BASES = {"code": "embedded", "medical": "real"}              # domain -> stream of continual/base.py
OTHERS = {"code": ("fiction", "science"), "medical": ("fiction", "python")}  # what may be forgotten, the base's first


def parse(argv):
    argv = sys.argv[1:] if argv is None else list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--domains", nargs="+", choices=BASES, default=[*BASES], help="[both]")
    add("--full-rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3, 1e-2, 3e-2], help="[%(default)s]")
    add("--lora-rates", type=float, nargs="+", default=[5e-4, 1.5e-3, 5e-3, 1.5e-2, 5e-2], help="[%(default)s]")
    add("--rank", type=int, default=32, help="rank at which LoRA's rate is chosen [%(default)s]")
    add("--ranks", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], help="to try at that rate [%(default)s]")
    add("--seeds", type=int, default=3, help="runs of what is reported [%(default)s]")
    add("--sweep-seeds", type=int, default=1, help="runs at each rate, to choose it by [%(default)s]")
    add("--jobs", type=int, default=min(2, os.cpu_count()), help="runs at once, a thread each [%(default)s]")
    add("--bases", type=Path, default=Path("out/continual"), help="where continual/base.py wrote [%(default)s]")
    add("--corpus", type=Path, default=Path("out/tinyworld/corpus"), help="the made-up world's texts [%(default)s]")
    add("--out", type=Path, default=Path("out/lora/compare"), help="where to write [%(default)s]")
    add("--no-picture", action="store_true", help="do not draw; then matplotlib is not needed")
    args = p.parse_args(argv[:cut])
    args.rest = argv[cut + 1:]
    return args


# ----------------------------------------------------------------------------
# texts

def write(path, rows):
    """Documents as lines of JSON, all of them or no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.replace(part, path)


def medical(args):
    """MedQuAD split by the page a question is about, near duplicates out of training; and two other kinds of text."""
    folder, novels = args.out / "medical" / "texts", args.bases / BASES["medical"] / "data_fiction" / "valid.jsonl"
    if (folder / "medical_train.jsonl").exists():
        return folder
    if not novels.exists():
        sys.exit(f"no {novels}. Make it with: python continual/base.py --stream {BASES['medical']}")
    pages = datasets.fetch("science")["medquad.jsonl"]
    parts = {"train": [], "valid": [], "test": []}
    for _, row in records(pages):
        parts[split(row["url"])].append({"question": row["question"], "answer": row["answer"]})
    for rows in parts.values():
        np.random.default_rng(0).shuffle(rows)
    held_out = [row["answer"] for part in ("valid", "test") for row in parts[part]]
    twins = set(near_duplicates([row["answer"] for row in parts["train"]], held_out, share=0.5))
    parts["train"] = [row for n, row in enumerate(parts["train"]) if n not in twins]
    write(folder / "fiction_test.jsonl", [row for _, row in records(novels)])
    library = [*datasets.fetch("code").values()][::10]
    write(folder / "python_test.jsonl", [{"text": path.read_text(errors="replace")[:2000]} for path in library])
    for part in ("valid", "test", "train"):                  # the last one says that all are there
        write(folder / f"medical_{part}.jsonl", parts[part])
    return folder


def prepare(args, domain):
    """The flags of lora/train.py that name the base and the texts; exits where something is missing."""
    stream = BASES[domain]
    base = args.bases / stream / "base_fiction_0" / "run"
    if not base.exists():
        sys.exit(f"no {base}. Make it with: python continual/base.py --stream {stream}")
    folder = args.corpus if domain == "code" else medical(args)
    names = [f"{domain}_train", f"{domain}_valid", f"{domain}_test", *(f"{name}_test" for name in OTHERS[domain])]
    train, valid, *others = (folder / f"{name}.jsonl" for name in names)
    if missing := [path for path in (train, valid, *others) if not path.exists()]:
        sys.exit(f"no {missing[0]}. Make it with: python bpe/tinyworld.py --out {folder}")
    return ["--checkpoint", str(base), "--train", str(train), "--valid", str(valid), "--other", *map(str, others)]


# ----------------------------------------------------------------------------
# runs

def fine_tune(args, domain, texts, rank, rate, seed):
    """One run of lora/train.py, or what it has left: its numbers, with seconds and peak_memory_bytes."""
    kind = ["--full"] if rank == FULL else ["--rank", str(rank)]
    folder = args.out / domain / f"{'full' if rank == FULL else f'rank{rank}'}_{rate:g}_seed{seed}"
    argv = [*texts, "--out", str(folder), *kind, "--lr", f"{rate:g}", "--seed", str(seed), "--no-weights",
            "--tokens", "150000", "--batch", "8", "--length", "128", *args.rest]
    done = folder / "metrics.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "console.txt", "w") as console:
            subprocess.run([sys.executable, ROOT / "lora/train.py", *argv], stdout=console, stderr=console,
                           env=os.environ | {"OMP_NUM_THREADS": "1"})
    if not done.exists():
        last = ((folder / "console.txt").read_text().strip().splitlines() or ["it said nothing"])[-1]
        sys.exit(f"the run in {folder} failed: {last}")
    metrics = json.loads(done.read_text())
    if metrics["argv"] != argv:
        sys.exit(f"{folder} was trained with other settings. Give another --out, or remove it: rm -r {args.out}")
    return metrics["numbers"] | {key: metrics[key] for key in ("seconds", "peak_memory_bytes")}


def grid(args, domain, texts, settings, seeds):
    """{(rank, rate): [numbers of each seed]}, several runs at once."""
    jobs = [(rank, rate, seed) for rank, rate in settings for seed in range(seeds)]
    found = {setting: [] for setting in settings}
    with ThreadPoolExecutor(args.jobs) as pool:
        for (rank, rate, seed), numbers in zip(jobs, pool.map(lambda job: fine_tune(args, domain, texts, *job), jobs)):
            found[rank, rate].append(numbers)
            print(f"{label(rank):13} rate {rate:<7g} seed {seed} | {domain} {numbers[f'{domain}_valid_loss_nats']:8.4f}"
                  f" | fiction {numbers['fiction_test_loss_nats']:8.4f} nats", flush=True)
    return found


def label(rank):
    return "all weights" if rank == FULL else f"LoRA, rank {rank}"


# ----------------------------------------------------------------------------
# what the runs say

def mean(seeds, key):
    """Of all seeds; infinite if one of them diverged."""
    value = float(np.mean([numbers[key] for numbers in seeds]))
    return value if math.isfinite(value) else math.inf


def best_rate(results, domain, rank):
    """Of the rates tried at this rank, the one with the lowest validation loss."""
    return min((mean(seeds, f"{domain}_valid_loss_nats"), rate) for (r, rate), seeds in results.items() if r == rank)[1]


def gains(seeds, full, domain):
    """Of each seed: what this lowered the domain's test loss by, over what full fine-tuning lowered it by."""
    after, before = f"{domain}_test_loss_nats", f"before_{domain}_test_loss_nats"
    return [(a[before] - a[after]) / (b[before] - b[after]) for a, b in zip(seeds, full)]


def interval(values):
    """(mean, half of Student's 95% interval, infinite for one value, a little wide for more than eight)"""
    n = len(values)
    half = STUDENT.get(n, STUDENT[8]) * np.std(values, ddof=1) / math.sqrt(n) if n > 1 else math.inf
    return float(np.mean(values)), float(half)


def learning_path(results, domain, best):
    """[(domain's loss, fiction's)] of full fine-tuning: the base, then each rate up to the best, lowest loss first."""
    curve = [seeds for (rank, rate), seeds in sorted(results.items()) if rank == FULL and rate <= best]
    keys = f"{domain}_test_loss_nats", "fiction_test_loss_nats"
    base = tuple(curve[0][0][f"before_{key}"] for key in keys)
    return sorted([base, *(tuple(mean(seeds, key) for key in keys) for seeds in curve)])


def at_equal_loss(path, loss):
    """Fiction's loss where full fine-tuning at a lower rate has this loss in the domain; nan if it never has."""
    x, y = zip(*path)
    return float(np.interp(loss, x, y)) if x[0] <= loss <= x[-1] else math.nan


def judge(results, domain, rank, rate, best):
    """What is said of one kind of run, means of the seeds: {key: number}. best: the rate of full fine-tuning"""
    seeds, full = results[rank, rate], results[FULL, best]
    losses = [f"{name}_test_loss_nats" for name in (domain, *OTHERS[domain])]
    gain, half = interval(gains(seeds, full, domain))
    equal = at_equal_loss(learning_path(results, domain, best), mean(seeds, losses[0]))
    return {"rate": rate, "gain": gain, "gain_low": gain - half, "fiction_of_full_at_equal_loss": equal,
            **{key: mean(seeds, key) for key in (*losses, "trained_parameters", "peak_memory_bytes",
                                                 "tokens_per_second")}}


def table(results, judged, domain, seeds):
    """Lines: the base, full fine-tuning, LoRA of each rank."""
    names, base = (domain, *OTHERS[domain]), next(iter(results.values()))[0]
    yield f"{domain}: test loss in nats per token, mean of {seeds} seeds"
    yield (f"{'':15}{'rate':>7}{'trained':>10}" + "".join(f"{name:>9}" for name in names)
           + f"{'fiction*':>10}{'gain %':>14}{'MB':>6}{'tokens/s':>10}")
    yield f"{'base':32}" + "".join(f"{base[f'before_{name}_test_loss_nats']:9.3f}" for name in names)
    for rank, j in judged.items():
        spread = f" ±{100 * (j['gain'] - j['gain_low']):3.1f}" if rank != FULL and seeds > 1 else ""
        yield (f"{label(rank):15}{j['rate']:7g}{j['trained_parameters']:10,.0f}"
               + "".join(f"{j[f'{name}_test_loss_nats']:9.3f}" for name in names)
               + f"{j['fiction_of_full_at_equal_loss']:10.3f}{100 * j['gain']:8.2f}{spread:6}"
               + f"{j['peak_memory_bytes'] / 1e6:6.0f}{j['tokens_per_second']:10,.0f}")
    yield "* where full fine-tuning, at a lower rate, has learned as much of the domain"
    for rank in judged:
        tried = sorted(rate for r, rate in results if r == rank)
        if len(tried) > 2 and judged[rank]["rate"] in (tried[0], tried[-1]):
            yield f"the best rate of {label(rank)} lies at an end of the range: try more"


# ----------------------------------------------------------------------------
# the picture

def panels(axes, results, judged, domain, swept):
    """Loss over rate; forgetting over learning; loss over rank. swept: LoRA's rank at which rates were tried"""
    blue, red = "#0072b2", "#d55e00"
    learned, kept = f"{domain}_test_loss_nats", "fiction_test_loss_nats"
    valleys, plane, ranks = axes
    for rank, color in ((FULL, red), (swept, blue)):
        rates = sorted(rate for r, rate in results if r == rank)
        for n in range(len(results[rank, rates[0]])):
            valleys.plot(rates, [results[rank, rate][n][learned] for rate in rates], ".", color=color, alpha=0.4)
        x, y = ([mean(results[rank, rate], key) for rate in rates] for key in (learned, kept))
        valleys.plot(rates, x, "-", color=color, label=label(rank))
        plane.plot(x, y, "o-", color=color, label=f"{label(rank)}, by rate")
        for rate, *point in zip(rates, x, y):
            plane.annotate(f"{rate:g}", point, textcoords="offset points", xytext=(6, 3), fontsize=8, color=color)
    plane.axhline(next(iter(results.values()))[0][f"before_{kept}"], color="grey", linestyle=":", label="the base")
    tried = [rank for rank in judged if rank != FULL]
    for rank in tried:
        seeds = results[rank, judged[rank]["rate"]]
        ranks.plot([rank] * len(seeds), [numbers[learned] for numbers in seeds], ".", color=blue, alpha=0.4)
    ranks.plot(tried, [judged[rank][learned] for rank in tried], "-", color=blue, label="LoRA")
    ranks.axhline(judged[FULL][learned], color=red, linestyle="--", label="all weights")
    at, own = judged[swept]["fiction_of_full_at_equal_loss"], judged[swept][kept]
    loss = f"{domain}, test loss, nats per token"
    valleys.set(xscale="log", xlabel="peak learning rate", ylabel=loss,
                title=f"{domain}: best at {judged[FULL]['rate']:g}; for LoRA at {judged[swept]['rate']:g}")
    plane.set(xlabel=loss, ylabel="fiction, test loss, nats per token",
              title=f"at equal loss: fiction at {own:.2f} with LoRA, {at:.2f} without")
    ranks.set(xscale="log", xlabel="rank", ylabel=loss,
              title=", ".join(f"rank {r} gains {judged[r]['gain']:.1%}" for r in sorted({tried[0], tried[-1]})))
    ranks.set_xticks(tried, tried)
    ranks.minorticks_off()


def draw(path, found, swept):
    """A row of panels for each domain. found: {domain: (results, judged)}"""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, rows = plt.subplots(len(found), 3, figsize=(14, 4.2 * len(found)), layout="constrained", squeeze=False)
    for axes, (domain, (results, judged)) in zip(rows, found.items()):
        panels(axes, results, judged, domain, swept)
        for axis in axes:
            axis.legend(frameon=False)
            axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def check(args):
    """Exits on what would waste the runs."""
    if min(args.full_rates + args.lora_rates) <= 0 or min(args.ranks + [args.rank, args.jobs, args.sweep_seeds]) < 1:
        sys.exit("rates are above zero; ranks, seeds, jobs at least 1. For instance: --lora-rates 0.003 0.01 --ranks 8")
    if args.sweep_seeds > args.seeds:
        sys.exit(f"what is reported takes at least the seeds of the sweep: --seeds {args.sweep_seeds}")
    if not args.no_picture:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            sys.exit("the picture takes matplotlib. Get it, or go without: pip install matplotlib, or --no-picture")


def main(argv=None):
    args, start, found, numbers = parse(argv), time.time(), {}, {}
    check(args)
    texts = {domain: prepare(args, domain) for domain in args.domains}
    for domain in args.domains:
        results = grid(args, domain, texts[domain], [(FULL, rate) for rate in args.full_rates]
                       + [(args.rank, rate) for rate in args.lora_rates], args.sweep_seeds)
        full, lora = (best_rate(results, domain, rank) for rank in (FULL, args.rank))
        ranks = sorted({*args.ranks, args.rank})
        reported = {FULL: full} | dict.fromkeys(ranks, lora)
        results |= grid(args, domain, texts[domain], [*reported.items()], args.seeds)
        judged = {rank: judge(results, domain, rank, rate, full) for rank, rate in reported.items()}
        print("", *table(results, judged, domain, args.seeds), "", sep="\n")
        found[domain] = results, judged
        numbers |= {f"{domain}_{'full' if rank == FULL else f'rank{rank}'}_{key}": value
                    for rank, numbers_of in judged.items() for key, value in numbers_of.items()}
    gain = min(judged[args.rank]["gain_low" if args.seeds > 1 else "gain"] for _, judged in found.values())
    write_metrics(args.out, seconds=time.time() - start, numbers=numbers | {"gain": gain})
    if not args.no_picture:
        draw(args.out / "compare.png", found, args.rank)
        print(f"wrote {args.out / 'compare.png'}")
    print(f"LoRA of rank {args.rank} learns at least {gain:.1%} of what full fine-tuning learns")


if __name__ == "__main__":
    main()
