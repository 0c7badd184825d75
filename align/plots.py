"""
Draw what alignment did, step by step: reward, distance from the reference, entropy and length of a run of GRPO or DPO.

    python align/plots.py --run out/align/grpo               # out/align/grpo/curves.png
    python align/plots.py --run out/seed0 out/seed1 out/seed2 --out out/align/three_seeds.png

Read it from right to left: replies that grow or shrink while the reward rises, and an entropy that falls to nothing,
are how a reward is gamed before anybody reads the samples. Needs matplotlib.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import csv
import json
from pathlib import Path

# column, what it is called, its unit; and a second column, measured now and then, drawn as dots
PANELS = {"align/grpo.py": [("right", "right (line: drawn, dots: held-out)", "share of replies", "heldout_right"),
                            ("kl_nats", "KL to the reference", "nats per token", None),
                            ("entropy_nats", "entropy", "nats per token", None),
                            ("tokens_per_reply", "length", "the policy's own tokens per reply", None)],
          "align/dpo.py": [(None, "held-out pairs in the right order", "share", "heldout_accuracy"),
                           ("reward_chosen", "reward of the chosen", "nats times beta", None),
                           ("reward_rejected", "reward of the rejected", "nats times beta", None),
                           (None, "KL to the reference", "nats per reply", "kl_nats_per_reply"),
                           (None, "length", "the policy's own tokens per reply", "tokens_per_reply")]}


def column(rows, name):
    """(steps, values) of the rows that have it."""
    some = [(int(row["step"]), float(row[name])) for row in rows if name and row.get(name)]
    return [step for step, _ in some], [value for _, value in some]


def finding(script, metrics):
    """The title: what the runs found, over seeds if there are several."""
    name = "heldout_right" if script == "align/grpo.py" else "heldout_accuracy"
    before, after = ([run["numbers"][key] for run in metrics] for key in (f"{name}_before", name))
    spread = f" ({min(after):.0%} to {max(after):.0%} over {len(after)} seeds)" if len(after) > 1 else ""
    what = "GRPO: held-out problems right" if script == "align/grpo.py" else "DPO: held-out pairs in the right order"
    return f"{what} {sum(before) / len(before):.0%} before, {sum(after) / len(after):.0%} after{spread}"


def draw(runs, path):
    """runs: [(metrics, rows of log.csv)] of one script"""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    script = runs[0][0]["script"]
    panels = PANELS[script]
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.6), layout="constrained")
    for axis, (line, title, unit, dots) in zip(axes, panels):
        for n, (_, rows) in enumerate(runs):
            axis.plot(*column(rows, line), color=f"C{n}", linewidth=1.2)
            axis.plot(*column(rows, dots), "o-" if line is None else "o", color=f"C{n}", markersize=4)
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.set_ylabel(unit, fontsize=8)
        axis.grid(alpha=0.3)
    figure.suptitle(finding(script, [metrics for metrics, _ in runs]))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", type=Path, nargs="+", required=True, help="folders of runs of one script that have ended")
    p.add_argument("--out", type=Path, help="the picture [curves.png in the first]")
    return p.parse_args(argv)


def main(argv=None):
    args, runs = parse(argv), []
    for run in args.run:
        if not (run / "metrics.json").exists():
            sys.exit(f"no {run}/metrics.json. Let the run end first: the command that began it continues it")
        metrics = json.loads((run / "metrics.json").read_text())
        with open(run / "log.csv", newline="") as file:
            runs.append((metrics, list(csv.DictReader(file))))
    scripts = {metrics["script"] for metrics, _ in runs}
    if len(scripts) > 1 or not scripts <= set(PANELS):
        sys.exit(f"these are runs of {', '.join(sorted(scripts))}. Give runs of one of {', '.join(PANELS)}")
    try:
        draw(runs, path := args.out or args.run[0] / "curves.png")
    except ModuleNotFoundError as e:
        sys.exit(f"{e.name} is not installed. Get it with\n    pip install {e.name}")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
