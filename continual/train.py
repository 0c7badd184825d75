"""
Every method through the same stream, with several seeds: one table with intervals, pictures, metrics.json.

    python continual/train.py --method all --seeds 3                  # embedded: under 40 minutes on two cores
    python continual/train.py --method naive replay_5 --seeds 1 --steps 4 --test-rows 16          # to see that it runs
    python continual/train.py --stream real --method all --seeds 3    # novels, Python, medicine; or --stream novels
    python continual/train.py --sweep                                 # how each method's hyperparameters were chosen
    python continual/train.py --orders --method naive replay_5 lora_per_task --seeds 2       # four orders of the tasks
    python continual/train.py --boundaries blurred --method naive replay_5 lora_per_task     # or hidden

Each run (continual/learn.py) is a process of one thread and leaves a file; the same command continues a killed one.
A sweep runs on the tuning texts and another order of the tasks than the one that is reported, with one seed and four
trials for every method, and the test texts are not looked at. What it chose stands in continual/methods.py.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from continual import base, learn, tables, transfer
from continual.boundaries import KINDS
from continual.methods import METHODS
from continual.streams import ORDERS
from train.log import write_metrics

NEEDED = "naive", "single", "fresh"      # what the others are judged by


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--method", nargs="+", default=["all"], choices=["all", *METHODS], metavar="METHOD",
        help=f"all, or some of {', '.join(METHODS)} [all]")
    add("--stream", choices=ORDERS, default="embedded", help="[%(default)s]")
    add("--boundaries", choices=KINDS, default="given", help="[%(default)s]")
    add("--seeds", type=int, default=3, help="[%(default)s]")
    add("--sweep", action="store_true", help="try every method's four trials, and say which is best")
    add("--orders", action="store_true", help="the methods in every order of the tasks that there is")
    add("--steps", type=int, default=150, help="of a task [%(default)s]")
    add("--test-rows", type=int, default=128, help="rows of a test [%(default)s]")
    add("--watch", type=int, default=10, help="steps between measurements on the way, which a sweep can do without "
                                              "[%(default)s]")
    add("--jobs", type=int, default=min(2, os.cpu_count()), help="runs at once [%(default)s]")
    add("--no-picture", action="store_true", help="do not draw; then matplotlib is not needed")
    add("--out", type=Path, default=Path("out/continual"), help="where to write [%(default)s]")
    args = p.parse_args(argv)
    args.method = list(METHODS) if "all" in args.method else args.method
    if args.seeds < 1 or args.jobs < 1:
        p.error("--seeds and --jobs are at least 1")
    return args


# ----------------------------------------------------------------------------
# runs

def arguments(args, method, order, seed, trial=None):
    """The arguments of continual/learn.py for one run."""
    given = [f"{key}={value:g}" for key, value in (METHODS[method].trials[trial] if trial is not None else {}).items()]
    return ["--method", method, "--stream", args.stream, "--order", *order, "--boundaries", args.boundaries,
            "--on", "valid" if trial is not None else "test", "--seed", str(seed), "--steps", str(args.steps),
            "--test-rows", str(args.test_rows), "--watch", str(args.watch), "--out", str(args.out),
            *(["--set", *given] if given else [])]


def one(run):
    """Make a run unless it has been made; its result."""
    path = learn.result(learn.parse(run))
    if not path.exists():
        done = subprocess.run([sys.executable, learn.__file__, *run], capture_output=True, text=True,
                              env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode:
            sys.exit(f"continual/learn.py {' '.join(run)}\nfailed: {(done.stderr.strip() or done.stdout)[-800:]}")
    return json.loads(path.read_text())


def every(args, runs):
    """The results of all runs, args.jobs at a time, with a line for each that had to be made."""
    for stream, first, seed in sorted({(args.stream, run[run.index("--order") + 1], int(run[run.index("--seed") + 1]))
                                       for run in runs}):
        base.make(stream, first, seed, args.out)
    missing = [run for run in runs if not learn.result(learn.parse(run)).exists()]
    print(f"{len(runs)} runs, of which {len(runs) - len(missing)} have been made", flush=True)
    start = time.time()
    with ThreadPoolExecutor(args.jobs) as pool:
        for n, (run, result) in enumerate(zip(missing, pool.map(one, missing)), 1):
            left = (time.time() - start) / n * (len(missing) - n)
            last = ", ".join(f"{name} {loss:.3f}" for name, loss in zip(result["order"], result["losses"][-1]))
            print(f"{n:4}/{len(missing)}  {result['method']:14} seed {result['seed']} {result['setting']}  {last} nats "
                  f"{result['seconds']:.0f} s | {left:.0f} s left", flush=True)
    return [one(run) for run in runs]


# ----------------------------------------------------------------------------
# what is made of them

def best(results, tuned):
    """Number of the trial that forgets least among those with 95% of fine-tuning's gain, else of the largest gain."""
    gains = [transfer.gain(result["losses"], tuned["losses"]) for result in results]
    lost = [transfer.forgetting(result["losses"]) for result in results]
    enough = [n for n, gained in enumerate(gains) if gained >= 0.95]
    if enough:                                               # to 0.1%; of equals the one that learns most
        return min(enough, key=lambda n: (round(lost[n], 3), -gains[n]))
    return max(range(len(gains)), key=gains.__getitem__)


def learned_best(results):
    """Number of the trial whose losses just after each task are lowest: fine-tuning's own choice."""
    return min(range(len(results)), key=lambda n: sum(results[n]["losses"][k][k]
                                                      for k in range(1, len(results[n]["losses"]))))


def sweep(args):
    """Four trials a method, on tuning texts and the second order. Returns {method: [(gain, forgetting)]}"""
    order, found, curves = ORDERS[args.stream][1], {}, {}
    names = ["naive", *(name for name in args.method if name not in ("naive", "single"))]    # single: naive's rate
    pairs = [(name, n) for name in names for n in range(len(METHODS[name].trials))]
    results = every(args, [arguments(args, name, order, 0, trial) for name, trial in pairs])
    for (name, _), result in zip(pairs, results):
        found.setdefault(name, []).append(result)
    tuned = found["naive"][learned_best(found["naive"])]
    for name, trials in found.items():
        chosen = learned_best(trials) if name in NEEDED else best(trials, tuned)
        curves[name] = [(transfer.gain(r["losses"], tuned["losses"]), transfer.forgetting(r["losses"])) for r in trials]
        stands = METHODS[name].number(args.stream)
        print(f"{name:14} best: trial {chosen}, {METHODS[name].trials[chosen]}"
              + ("" if chosen == stands else f"; continual/methods.py has {stands}"))
        for n, (gained, lost) in enumerate(curves[name]):
            print(f"      {n}  gain {gained:6.1%}  forgets {lost:8.1%}   {METHODS[name].trials[n]}")
    return curves


def judged(args, order):
    """{method: [numbers of each seed]} in one order."""
    names = [*NEEDED, *(name for name in args.method if name not in NEEDED)]
    pairs = [(name, seed) for name in names for seed in range(args.seeds)]
    runs = dict(zip(pairs, every(args, [arguments(args, name, order, seed) for name, seed in pairs])))
    vocabulary = base.SIZES[args.stream][0]
    return runs, {name: [tables.judge(runs[name, seed], *(runs[other, seed] for other in NEEDED), vocabulary)
                         for seed in range(args.seeds)] for name in args.method}


def report(args, order, numbers):
    """Print the tables of one order."""
    print(f"\n{args.stream}: {' -> '.join(order)}; boundaries {args.boundaries}; {args.seeds} seeds, 95% intervals")
    for columns in (tables.LEARNED, tables.COST):
        print("\n".join(["", *tables.table(numbers, columns)]))
    print("\n".join(["", *tables.every_seed(numbers), "", tables.LEGEND, "", *tables.verdicts(numbers)]), flush=True)


def main(argv=None):
    args, start = parse(argv), time.time()
    if not args.no_picture:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            sys.exit("the pictures take matplotlib. Get it, or go without: pip install matplotlib, or --no-picture")
    folder = args.out / args.stream
    if args.sweep:
        curves = sweep(args)
        (folder / "sweep.json").write_text(json.dumps(curves))
        print(f"wrote {folder / 'sweep.json'}, which the next pictures show")
        return
    metrics = {}
    for n, order in enumerate(ORDERS[args.stream] if args.orders else ORDERS[args.stream][:1]):
        runs, numbers = judged(args, order)
        report(args, order, numbers)
        metrics |= {f"{'' if n == 0 else '_'.join(order) + '_'}{name}_{key}": transfer.interval(
            [seed[key] for seed in seeds])[0] for name, seeds in numbers.items() for key in seeds[0]}
        if n == 0 and len(numbers.get("lora_per_task", [])) > 1:
            metrics["forgetting"] = tables.bounds(numbers["lora_per_task"], "forgetting")[1]
        if n == 0 and not args.no_picture:
            from continual import plots
            plots.matrices(folder / "matrices.png", {name: runs[name, 0] for name in args.method}, order)
            plots.front(folder / "front.png", numbers, folder / "sweep.json")
            plots.curves(folder / "curves.png", {name: runs[name, 0] for name in args.method}, order)
            print(f"wrote {folder}/matrices.png, front.png, curves.png")
    write_metrics(args.out if args.stream == "embedded" else folder, seconds=time.time() - start, numbers=metrics)


if __name__ == "__main__":
    main()
