"""
Is backward() right? Nudge each input a little both ways and see how far the result moves: (f(x + h) - f(x - h)) / 2h.

    python micrograd/gradcheck.py                           # all operations, then 200 random expressions
    python micrograd/gradcheck.py --check mine.py           # the exercise: your gradients by hand, one by one

The exercise. Write a file with a function gradients(p), which gets the inputs of forward() below as a dict of floats
and returns a dict with the derivative of the loss in each input and in each of n, h, s, q, without any
autograd. The check names each one that is wrong. micrograd/solution.py is one that passes.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import importlib.util
import random
import time
from pathlib import Path

from micrograd.engine import Value
from micrograd.record import write_metrics

# name: (function, a range for each input); the ranges keep away from poles (1/0) and kinks (relu at 0)
OPERATIONS = {
    "+": (lambda a, b: a + b, [(-3, 3), (-3, 3)]),
    "-": (lambda a, b: a - b, [(-3, 3), (-3, 3)]),
    "*": (lambda a, b: a * b, [(-3, 3), (-3, 3)]),
    "/": (lambda a, b: a / b, [(-3, 3), (0.5, 3)]),
    "neg": (lambda a: -a, [(-3, 3)]),
    "**3": (lambda a: a**3, [(-2, 2)]),
    "**-1.5": (lambda a: a**-1.5, [(0.5, 3)]),
    "exp": (lambda a: a.exp(), [(-2, 2)]),
    "log": (lambda a: a.log(), [(0.3, 3)]),
    "tanh": (lambda a: a.tanh(), [(-3, 3)]),
    "sigmoid": (lambda a: a.sigmoid(), [(-3, 3)]),
    "relu, x > 0": (lambda a: a.relu(), [(0.1, 3)]),
    "relu, x < 0": (lambda a: a.relu(), [(-3, -0.1)]),
    "2 + x": (lambda a: 2 + a, [(-3, 3)]),
    "2 - x": (lambda a: 2 - a, [(-3, 3)]),
    "2 * x": (lambda a: 2 * a, [(-3, 3)]),
    "2 / x": (lambda a: 2 / a, [(0.5, 3)]),
    "x * x": (lambda a: a * a, [(-3, 3)]),                  # one child twice
}
INPUTS = ["x1", "x2", "w1", "w2", "b", "v", "c"]
STEPS = ["n", "h", "s", "q"]


def analytic(f, xs):
    """What backward() says: the gradient of f at the numbers xs."""
    values = [Value(x) for x in xs]
    f(*values).backward()
    return [v.grad for v in values]


def numeric(f, xs, h=1e-5):
    """Central differences. Their error is of order h**2 for the formula and 1e-16/h for rounding: h between the two."""
    def at(i, step):
        return f(*[Value(x + step if i == j else x) for j, x in enumerate(xs)]).data
    return [(at(i, h) - at(i, -h)) / (2 * h) for i in range(len(xs))]


def worst(f, xs):
    """The largest difference of the two, relative where the gradient is larger than 1."""
    return max(abs(a - n) / max(1, abs(n)) for a, n in zip(analytic(f, xs), numeric(f, xs)))


def random_expression(rng, xs, size=15):
    """
    A function of len(xs) Values, made of `size` random operations on random earlier results, so that many
    are used twice. Each operation is tried at xs; where a value would be near a kink, a pole, or large, tanh steps in.
    """
    program, made = [], [Value(x) for x in xs]
    for _ in range(size):
        f, ranges = OPERATIONS[rng.choice(list(OPERATIONS))]
        picked = [rng.randrange(len(made)) for _ in ranges]
        if not all(low <= made[i].data <= high for i, (low, high) in zip(picked, ranges)):
            f, picked = OPERATIONS["tanh"][0], picked[:1]
        program.append((f, picked))
        made.append(f(*[made[i] for i in picked]))

    def expression(*inputs):
        made = list(inputs)
        for f, picked in program:
            made.append(f(*[made[i] for i in picked]))
        total = made[0]
        for v in made[1:]:
            total = total + v.tanh()                        # everything counts, nothing dominates
        return total
    return expression


def forward(x1, x2, w1, w2, b, v, c):
    """The net of the exercise: a neuron, a classifier on it, the loss of the answer "yes", and L2 on w1."""
    n = w1*x1 + w2*x2 + b
    h = n.tanh()
    s = v*h + c
    q = s.sigmoid()
    loss = -q.log() + 0.1 * w1**2                           # w1 matters in two ways
    return loss, dict(n=n, h=h, s=s, q=q)


def wrong(gradients, rng, points=20):
    """{name: what is wrong with it} of a learner's function, at the first random point where it is wrong."""
    found = {}
    for _ in range(points):
        p = {name: rng.uniform(-1.5, 1.5) for name in INPUTS}
        values = {name: Value(x) for name, x in p.items()}
        loss, steps = forward(**values)
        loss.backward()
        got = gradients(dict(p))
        if not isinstance(got, dict):
            return {"gradients": f"returns {type(got).__name__}, not a dict"}
        for name, want in {**values, **steps}.items():
            mine = got.get(name)
            if not isinstance(mine, (int, float)):
                found.setdefault(name, f"d loss / d {name} is missing, or not a number")
            elif not abs(mine - want.grad) <= 1e-9 * max(1, abs(want.grad)):     # "not <=" turns NaN down too
                found.setdefault(name, f"d loss / d {name} is {want.grad:.9f}, yours {mine:.9f}")
    return found


def load(path):
    """The learner's gradients function. Their own file, so it is run as any script of theirs."""
    if not path.exists():
        sys.exit(f"no {path}. Copy the first lines of micrograd/solution.py and fill in the rest")
    spec = importlib.util.spec_from_file_location("learner", path)
    if spec is None:
        sys.exit(f"{path} is not a Python file. Give it a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "gradients", None)):
        sys.exit(f"{path} has no function gradients(p). Define one that returns a dict of derivatives")
    return module.gradients


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", type=Path, metavar="FILE", help="check the gradients(p) in this file instead")
    p.add_argument("--expressions", type=int, default=200, help="random expressions to try [%(default)s]")
    p.add_argument("--seed", type=int, default=0, help="of the random points [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/micrograd/gradcheck"), help="folder to write to [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    rng = random.Random(args.seed)
    if args.check:
        found = wrong(load(args.check), rng)
        if found:
            sys.exit("\n".join(found.values()) + f"\n{len(found)} wrong. Mend them and run the check again")
        print(f"all {len(INPUTS) + len(STEPS)} gradients are right, at 20 random points")
        return

    began, errors = time.time(), {}
    for name, (f, ranges) in OPERATIONS.items():
        errors[name] = max(worst(f, [rng.uniform(*r) for r in ranges]) for _ in range(20))
        print(f"{name:12s} | largest error {errors[name]:.1e}")
    points = [[rng.uniform(-2, 2) for _ in range(3)] for _ in range(args.expressions)]
    errors["expressions"] = max((worst(random_expression(rng, xs), xs) for xs in points), default=0)
    print(f"{args.expressions} random expressions | largest error {errors['expressions']:.1e}")
    write_metrics(args.out, "micrograd/gradcheck.py", argv, seed=args.seed, seconds=time.time() - began,
                  numbers={"max_error": max(errors.values()), "expressions": args.expressions})
    bad = [name for name, error in errors.items() if not error < 1e-6]
    if bad:
        sys.exit(f"wrong gradients: {', '.join(bad)}. Look at their local gradients in micrograd/engine.py")
    print(f"wrote {args.out}; next: write your own, python micrograd/gradcheck.py --check mine.py")


if __name__ == "__main__":
    main()
