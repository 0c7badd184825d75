"""
Which learning rate? The same training at several of them, at the same time, and what the valley between says.

    python train/sweep.py --data S --tokenizer T --flag muon-lr --rates 0.005 0.01 0.02 0.04 0.08 -- --tokens 200000
    python train/sweep.py ... --jobs 1 --seeds 1 -- --tokens 8000 --layers 1 --width 32 --hidden 64     # seconds

What follows `--` goes to train/train.py. Every run has a folder of its own under --out; the same command skips what is
done and continues what was killed. Against log(rate) the loss is a valley whose floor is nearly a parabola: through
the best rate and its neighbours goes one, and its lowest point is the recommendation, unless that lies at an end of
the range. Left out on purpose: several flags at once, and stopping hopeless runs early.
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

from train.log import write_metrics

ROOT = Path(__file__).resolve().parent.parent


def parse(argv):
    argv = sys.argv[1:] if argv is None else list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--data", type=Path, required=True, help="folder of token shards")
    add("--tokenizer", type=Path, required=True, help="folder of the tokenizer that wrote them")
    add("--out", type=Path, default=Path("out/train/sweep"), help="where to write [%(default)s]")
    add("--flag", default="adamw-lr", help="of train/train.py, the rate to change [%(default)s]")
    add("--rates", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2], help="[%(default)s]")
    add("--seeds", type=int, default=1, help="runs at each rate [%(default)s]")
    add("--jobs", type=int, default=min(2, os.cpu_count()), help="runs at once [%(default)s]")
    add("--no-picture", action="store_true", help="do not draw; then matplotlib is not needed")
    args = p.parse_args(argv[:cut])
    args.rest = argv[cut + 1:]
    return args


def train(args, rate, seed):
    """Train one run, or go on with it, or leave it as it is; its validation loss, infinite if it diverged."""
    folder = args.out / f"{args.flag}_{rate:g}_seed{seed}"
    argv = ["--data", str(args.data), "--tokenizer", str(args.tokenizer), "--out", str(folder),
            f"--{args.flag}", f"{rate:g}", "--seed", str(seed), *args.rest]
    done = folder / "metrics.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, os.cpu_count() // args.jobs))
        with open(folder / "console.txt", "w") as console:
            subprocess.run([sys.executable, ROOT / "train/train.py", *argv], stdout=console, stderr=console,
                           env=os.environ | {"OMP_NUM_THREADS": threads})
    if not done.exists():
        last = ((folder / "console.txt").read_text().strip().splitlines() or ["it said nothing"])[-1]
        if "left out" in last or "lower rates" in last:      # train/guard.py gave up: this rate is too high
            return math.inf
        sys.exit(f"the run in {folder} failed: {last}")
    metrics = json.loads(done.read_text())
    if metrics["argv"] != argv:
        sys.exit(f"{folder} was trained with other settings. Give another --out, or remove it: rm -r {args.out}")
    loss = metrics["numbers"]["valid_loss_nats"]
    return loss if math.isfinite(loss) else math.inf


def recommend(rates, losses):
    """
    Where the parabola in log(rate) through the lowest loss and its two neighbours is lowest.
    returns: (rate, loss there, a, b, c) with loss = a x^2 + b x + c, x = ln(rate); None where the range ends too early
    """
    n = int(np.argmin(losses))
    if n in (0, len(rates) - 1) or not np.isfinite(losses[n - 1:n + 2]).all():
        return None
    x = np.log(rates[n - 1:n + 2])
    middle = x[1]                                            # fitted around it, so that numbers stay small
    a, b, c = np.polyfit(x - middle, losses[n - 1:n + 2], 2)
    best = -b / (2 * a)
    return math.exp(middle + best), c - b * b / (4 * a), a, b - 2 * a * middle, c - b * middle + a * middle**2


def verdict(rates, losses, spread, flag):
    """The recommendation in a line or two."""
    n, found = int(np.argmin(losses)), recommend(rates, losses)
    if found is None and n + 1 < len(rates) and n and not np.isfinite(losses[n + 1]):
        return f"--{flag} {rates[n]:g}, the last before training diverges: take less for a long run"
    if found is None:
        end = "lower" if n == 0 else "higher"
        return f"the lowest loss is at the end of the range, {rates[n]:g}: try {end} --rates"
    close = [f"{rate:g}" for rate, loss in zip(rates, losses) if loss - losses[n] <= spread]
    equal = f"; {', '.join(close)} are within the spread of seeds" if spread and len(close) > 1 else ""
    return f"--{flag} {found[0]:.2g}, where the valley's loss is {found[1]:.4f} nats{equal}"


def draw(path, rates, table, flag):
    """The valley: every run a dot, the mean a line, the parabola dashed."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    means, found = table.mean(axis=1), recommend(rates, table.mean(axis=1))
    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    finite = np.isfinite(means)
    for rate, losses in zip(rates, table):
        axis.plot([rate] * len(losses), losses, "o", color="#0072b2", alpha=0.45, markersize=5, markeredgewidth=0)
    axis.plot(np.array(rates)[finite], means[finite], "-", color="#0072b2", label="mean of the seeds")
    for rate in np.array(rates)[~finite]:
        axis.axvline(rate, color="#d55e00", linestyle=":", label="diverged")
    if found:
        n = int(np.argmin(means))
        x = np.linspace(math.log(rates[n - 1]), math.log(rates[n + 1]), 50)
        axis.plot(np.exp(x), np.polyval(found[2:], x), "--", color="#d55e00", label="parabola through three")
        axis.plot(found[0], found[1], "*", color="#d55e00", markersize=13)
    title = f"lowest at --{flag} {found[0]:.2g}" if found else f"lowest at an end, {rates[np.argmin(means)]:g}"
    axis.set(xscale="log", xlabel=f"peak learning rate, --{flag}", ylabel="validation loss, nats per token",
             title=title)
    axis.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axis.minorticks_off()
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(argv=None):
    args, start = parse(argv), time.time()
    rates = sorted(set(args.rates))
    if len(rates) < 3 or rates[0] <= 0:
        sys.exit("a valley takes three rates above zero: --rates 0.001 0.003 0.01")
    if not args.no_picture:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            sys.exit("the picture takes matplotlib. Get it, or go without: pip install matplotlib, or --no-picture")
    for folder in (args.data, args.tokenizer):
        if not folder.is_dir():
            sys.exit(f"no folder {folder}. Make it with: bash run.sh")
    pairs = [(rate, seed) for rate in rates for seed in range(args.seeds)]
    print(f"{len(pairs)} runs, {args.jobs} at once; the console of each is in its folder under {args.out}", flush=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        losses = []
        for (rate, seed), loss in zip(pairs, pool.map(lambda pair: train(args, *pair), pairs)):
            losses.append(loss)
            print(f"{args.flag} {rate:<9g} seed {seed}   {loss:8.4f} nats | {time.time() - start:5.0f} s", flush=True)
    table = np.array(losses).reshape(len(rates), args.seeds)                      # (rates, seeds)
    means, found = table.mean(axis=1), recommend(rates, table.mean(axis=1))
    finite = table[np.isfinite(table).all(axis=1)]
    spread = float(finite.std(axis=1, ddof=1).mean()) if args.seeds > 1 and len(finite) else 0.0
    numbers = {"best_rate": found[0] if found else rates[int(np.argmin(means))],
               "valid_loss_nats": float(means.min()), "seed_spread_nats": spread,
               **{f"loss_nats_at_{rate:g}": float(mean) for rate, mean in zip(rates, means)}}
    write_metrics(args.out, seconds=time.time() - start, numbers=numbers)
    if not args.no_picture:
        draw(args.out / "sweep.png", rates, table, args.flag)
        print(f"wrote {args.out / 'sweep.png'}; the curves: python train/dashboard.py {args.out}")
    print(verdict(rates, means, spread, args.flag))


if __name__ == "__main__":
    main()
