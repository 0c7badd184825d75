"""
One step of the moons demo in ours and in the original: the same net, the same points, the same loss, timed in turn.

    git clone https://github.com/karpathy/micrograd ../micrograd
    python micrograd/bench.py --peer ../micrograd           # under a minute
    python micrograd/bench.py                               # ours alone
    python micrograd/bench.py --peer ../micrograd --no-collector    # how much of it is Python's garbage collector?

A step is forward, zero_grad, backward and update on 50 points with a 2-16-16-1 net, hinge loss and L2, as in the
original's demo.ipynb, on plain Python floats. Each engine runs in processes of its own, alternating. Two times of
each: the best step of all rounds, which a busy machine disturbs least, and the mean step of its best round, in
which the garbage collector has its share. The loss after the last step is printed too, since an engine that
computes something else would be no comparison.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import inspect
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def steps(n):
    """Train n steps; print seconds of the best and of the mean step, and the last loss. Sent as text to a process."""
    import math, random, time
    from micrograd.engine import Value
    from micrograd.nn import MLP
    random.seed(1337)
    model, points = MLP(2, [16, 16, 1]), []
    for i in range(50):                                     # two half circles, as in demo.py
        angle, y = random.uniform(0, math.pi), 2 * (i % 2) - 1
        x = (math.cos(angle), math.sin(angle)) if y < 0 else (1 - math.cos(angle), 0.5 - math.sin(angle))
        points.append(([c + random.gauss(0, 0.1) for c in x], y))

    seconds = []
    for k in range(n):
        began = time.perf_counter()
        scores = [model([Value(c) for c in x]) for x, _ in points]
        losses = [(1 + -y * score).relu() for (_, y), score in zip(points, scores)]
        loss = sum(losses) * (1 / len(losses)) + 1e-4 * sum(p * p for p in model.parameters())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= (1 - 0.9 * k / 100) * p.grad
        seconds.append(time.perf_counter() - began)
    print(min(seconds), sum(seconds) / n, loss.data)


def measure(folder, n, collector=True):
    """(seconds of the best and of the mean step, last loss) with the micrograd package that lies in this folder."""
    code = f"{inspect.getsource(steps)}\n{'' if collector else 'import gc; gc.disable()'}\nsteps({n})"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the engine in {folder} failed: {done.stderr.strip().splitlines()[-1]}")
    return tuple(map(float, done.stdout.split()))


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peer", type=Path, help="folder of a checkout of karpathy/micrograd")
    p.add_argument("--steps", type=int, default=10, help="training steps a round [%(default)s]")
    p.add_argument("--no-collector", action="store_true", help="without Python's garbage collector, in both engines")
    p.add_argument("--rounds", type=int, default=3, help="rounds of both engines in turn [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if args.peer and not (args.peer / "micrograd/engine.py").exists():
        sys.exit(f"no micrograd/engine.py in {args.peer}. Get it with\n"
                 f"    git clone https://github.com/karpathy/micrograd {args.peer}")
    engines = {"ours": HERE, "original": args.peer} if args.peer else {"ours": HERE}
    rounds = [{name: measure(folder, args.steps, not args.no_collector) for name, folder in engines.items()}
              for _ in range(args.rounds)]
    found = {name: tuple(map(min, zip(*(r[name] for r in rounds)))) for name in engines}
    for name, (best, mean, loss) in found.items():
        print(f"{name:8s} | best step {best:.4f} s | mean {mean:.4f} s | loss {loss:.12f} after {args.steps} steps")
    if args.peer:
        best, mean = (theirs / ours for theirs, ours in zip(found["original"], found["ours"][:2]))
        print(f"the original takes {best:.2f} times as long as ours in its best step, {mean:.2f} times on average")


if __name__ == "__main__":
    main()
