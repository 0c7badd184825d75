"""
Check your own solution of this lesson's core exercises.

    python eval/exercise.py mine.py

mine.py may define any of these; each is held against ours on hundreds of cases:
    number(text)                    the number after "#### ", as a Decimal, or None     ours: eval/check.py, strict
    windows(ids, context, stride)   pairs (row, first), each id but the first scored    ours: eval/perplexity.py
                                    once, with at least context - stride ids before it
    paired(before, after)           (mean, standard error) of the change, two lists     ours: eval/canaries.py, mean
                                    of 0 and 1 about the same questions
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import random
import runpy
from pathlib import Path

from eval.canaries import mean
from eval.check import strict
from eval.perplexity import windows


def numbers(rng):
    for _ in range(200):
        digits = [f"{rng.randint(-999, 999)}", f"{rng.randint(1000, 10**7):,}", f"{rng.random():.2f}", "none"]
        before = rng.choice(["", "So 5 + 5 = 10.\n"]) + rng.choice(["#### ", "#### ", "is "])
        yield (before + rng.choice(digits),)


def lengths(rng):
    for _ in range(200):
        context = rng.randint(1, 12)
        yield list(range(rng.randint(1, 60))), context, rng.randint(1, context)


def pairs(rng):
    for _ in range(200):
        n = rng.randint(2, 50)
        yield rng.choices([0, 1], k=n), rng.choices([0, 1], k=n)


def paired(before, after):
    change = mean([b - a for a, b in zip(before, after)])
    return change["value"], change["stderr"]


def same(a, b):
    """Equal, floats to rounding."""
    if isinstance(b, float):
        return isinstance(a, (int, float)) and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(b, (list, tuple)):
        return isinstance(a, (list, tuple)) and len(a) == len(b) and all(map(same, a, b))
    return a == b


EXERCISES = {"number": (strict, numbers), "windows": (lambda *x: list(windows(*x)), lengths), "paired": (paired, pairs)}


def check(mine):
    """The lines of the verdict, and whether all that is there is right. mine: dict name -> function"""
    right = True
    for name, (ours, cases) in EXERCISES.items():
        if name not in mine:
            yield f"{name}: not in your file yet"
            continue
        for case in cases(random.Random(0)):
            got, want = mine[name](*case), ours(*case)
            if not same(list(got) if hasattr(got, "__next__") else got, want):
                right = False
                yield f"{name}{case!r}\n    yours: {got!r}\n    ours:  {want!r}"
                break
        else:
            yield f"{name}: right"
    if not right:
        sys.exit(1)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("mine", type=Path, help="your file")
    path = p.parse_args(argv).mine
    if not path.is_file():
        sys.exit(f"no {path}. Write it, with a function such as number(text)")
    for line in check(runpy.run_path(str(path))):
        print(line)


if __name__ == "__main__":
    main()
