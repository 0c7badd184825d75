"""
Two runs, score by score: is the difference more than luck?

    python eval/compare.py out/before out/tinyworld
    python eval/compare.py out/tinyworld/eval_science out/other/eval_science      # two folders of one evaluation

A folder is an evaluation's, or a run's with several of them. Where both have kept what became of each question
(answers.jsonl, picks.jsonl) and asked the same ones, only those on which they differ say anything: McNemar's exact test
(1947, https://doi.org/10.1007/BF02295996), p = how often a fair coin is as one-sided. Elsewhere the two standard errors
are added as independent ones are, and p is the normal distribution's. Who compares twenty scores finds one p below 5%
by luck: what is marked * stays below it by Holm's correction (1979) for all of them together.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import math
from pathlib import Path

from eval import tables
from eval.contamination import outcomes
from train.log import write_metrics


def scores(folder):
    """{key: score} of a folder and of those right below it."""
    found = {}
    for path in sorted([*folder.glob("metrics.json"), *folder.glob("*/metrics.json")]):
        found |= {key: x for key, x in json.loads(path.read_text(encoding="utf-8"))["scores"].items() if x}
    return found


def mcnemar(lost, won):
    """The chance that a fair coin thrown lost + won times falls as one-sidedly as lost against won."""
    n = lost + won
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(min(lost, won) + 1)) / 2**n)


def compare(a, b, before, after):
    """
    One score of two runs as {"difference", "stderr", "p", "paired": questions or None}.
    a, b: scores;  before, after: {question: passed}, empty where unknown
    """
    if before and before.keys() == after.keys() and len(before) == a["n"] == b["n"]:
        changes = [int(after[key]) - int(before[key]) for key in before]
        n, mean = len(changes), sum(changes) / len(changes)
        stderr = math.sqrt(sum((x - mean) ** 2 for x in changes) / max(1, n - 1) / n)
        return {"difference": mean, "stderr": stderr, "paired": n, "p": mcnemar(changes.count(-1), changes.count(1))}
    difference, stderr = b["value"] - a["value"], math.hypot(a["stderr"] or 0, b["stderr"] or 0)
    p = math.erfc(abs(difference) / stderr / math.sqrt(2)) if stderr else float(difference == 0)
    return {"difference": difference, "stderr": stderr, "paired": None, "p": p}


def holm(p, level=0.05):
    """The keys of {key: p} that stay significant when all are tested together."""
    kept = []
    for i, key in enumerate(sorted(p, key=p.get)):
        if p[key] > level / (len(p) - i):
            break
        kept.append(key)
    return kept


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("before", type=Path, help="folder of a run, or of one evaluation")
    p.add_argument("after", type=Path, help="the same of the other run")
    p.add_argument("--out", type=Path, default=Path("out/eval/compare"), help="folder [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if missing := [folder for folder in (args.before, args.after) if not folder.is_dir()]:
        sys.exit(f"no folder {missing[0]}. A run is made by: bash run.sh")
    both = [scores(folder) for folder in (args.before, args.after)]
    shared = [key for key in both[0] if key in both[1]]
    if not shared:
        sys.exit(f"{args.before} and {args.after} have no score in common. Run the same evaluations on both")
    kept = [outcomes([folder, *sorted(folder.glob("*/"))]) for folder in (args.before, args.after)]
    found = {key: compare(both[0][key], both[1][key], *(known.get(key, {}) for known in kept)) for key in shared}
    sure = holm({key: x["p"] for key, x in found.items()})
    print(f"{'':52s} {'before':>7s} {'after':>7s} {'change in points':>18s} {'p':>8s}")
    for key, x in found.items():
        print(f"{tables.label(key):52.52s} {both[0][key]['value']:7.1%} {both[1][key]['value']:7.1%} "
              f"{100 * x['difference']:+9.1f} ± {100 * x['stderr']:<6.1f} {x['p']:8.2g} {'*' if key in sure else ' '} "
              f"{'paired' if x['paired'] else ''}")
    print(f"{len(sure)} of {len(found)} changes are more than luck, at 5% over all of them together")
    write_metrics(args.out, numbers={f"{key}_{what}": x[what] for key, x in found.items() for what in
                                     ("difference", "stderr", "p")})


if __name__ == "__main__":
    main()
