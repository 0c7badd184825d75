"""
Two moons, a net of Values, and the line it draws between them.

    python micrograd/demo.py                                # 100 points, 100 steps: out/micrograd/demo/
    python micrograd/demo.py --points 20 --steps 3          # seconds, to see that it runs

Net, loss and schedule are those of the original's demo.ipynb: 2-16-16-1, hinge loss, a little L2, plain gradient
descent on all points with a rate that falls from 1 to 0.1. The points are our own, no scikit-learn.

Left out on purpose: a test set. The question is whether the gradients are good enough to fit.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import importlib.util
import math
import random
import time
from pathlib import Path

from micrograd.engine import Value
from micrograd.nn import MLP
from micrograd.record import write_metrics


def moons(n, noise, rng):
    """n points [(x1, x2), y]: two half circles that reach into each other, y = -1 and 1 in turn."""
    points = []
    for i in range(n):
        angle, y = rng.uniform(0, math.pi), 2 * (i % 2) - 1
        x = (math.cos(angle), math.sin(angle)) if y < 0 else (1 - math.cos(angle), 0.5 - math.sin(angle))
        points.append(([c + rng.gauss(0, noise) for c in x], y))
    return points


def step(model, points, rate):
    """One step of gradient descent. Returns the loss and how many points were right, both before the step."""
    scores = [model([Value(c) for c in x]) for x, _ in points]
    hinge = sum((1 - y * score).relu() for (_, y), score in zip(points, scores)) / len(points)
    loss = hinge + 1e-4 * sum(p * p for p in model.parameters())
    model.zero_grad()
    loss.backward()
    for p in model.parameters():
        p.data -= rate * p.grad
    return loss.data, sum(y * score.data > 0 for (_, y), score in zip(points, scores))


def picture(model, points, path, title):
    """The score of the net over the plane, its zero line, and the points."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    across = [-1.6 + 0.1 * i for i in range(43)]
    up = [-1.2 + 0.1 * i for i in range(30)]
    score = [[model([x1, x2]).data for x1 in across] for x2 in up]
    fig, ax = plt.subplots(figsize=(7, 4.6), layout="constrained")
    shade = ax.contourf(across, up, score, levels=[-6 + 0.5 * i for i in range(25)], cmap="RdBu", alpha=0.75,
                        extend="both")
    ax.contour(across, up, score, levels=[0], colors="black", linewidths=2)
    for y, colour in [(-1, "#8c1c13"), (1, "#0b3c6f")]:
        ax.scatter(*zip(*[x for x, label in points if label == y]), c=colour, edgecolors="white", label=f"y = {y}")
    fig.colorbar(shade, label="score (the black line is 0)")
    ax.set(xlabel="x1", ylabel="x2", title=title, aspect="equal")
    ax.legend(loc="lower left")
    fig.savefig(path, dpi=130)
    plt.close(fig)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--points", type=int, default=100, help="points of both moons together [%(default)s]")
    p.add_argument("--noise", type=float, default=0.1, help="standard deviation of the noise [%(default)s]")
    p.add_argument("--steps", type=int, default=100, help="steps of gradient descent [%(default)s]")
    p.add_argument("--seed", type=int, default=1337, help="of points and weights [%(default)s]")
    p.add_argument("--no-picture", action="store_true", help="train only; needs no matplotlib")
    p.add_argument("--out", type=Path, default=Path("out/micrograd/demo"), help="folder to write to [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if args.points < 2 or args.steps < 1:
        sys.exit("there is nothing to learn. Use --points 2 or more and --steps 1 or more")
    if not args.no_picture and importlib.util.find_spec("matplotlib") is None:
        sys.exit("the picture needs matplotlib. Get it with\n    pip install matplotlib\nor add --no-picture")
    began, rng = time.time(), random.Random(args.seed)
    points, model = moons(args.points, args.noise, rng), MLP(2, [16, 16, 1], rng)
    print(f"{args.points} points, {len(model.parameters())} parameters; the answer 0 for all would lose 1.0000")

    for k in range(args.steps):
        loss, right = step(model, points, 1 - 0.9 * k / args.steps)
        each = (time.time() - began) / (k + 1)
        if k % 10 == 9 or k == args.steps - 1:
            print(f"step {k + 1:4d}/{args.steps} | loss {loss:.4f} | {right}/{args.points} right | {each:.3f} s a step"
                  f" | {each * (args.steps - k - 1):3.0f} s left")
    right = sum(y * model(x).data > 0 for x, y in points)   # after the last step
    p, seconds = right / args.points, time.time() - began

    args.out.mkdir(parents=True, exist_ok=True)
    if not args.no_picture:
        picture(model, points, args.out / "boundary.png", f"{right} of {args.points} points lie on their side")
    write_metrics(args.out, "micrograd/demo.py", argv, seed=args.seed, seconds=seconds,
                  numbers={"train_loss": loss, "seconds_per_step": each, "steps": args.steps},
                  scores={"train_accuracy": {"value": p, "n": args.points, "chance": 0.5,
                                             "stderr": math.sqrt(p * (1 - p) / args.points)}})
    print(f"{right}/{args.points} right; wrote {args.out}; next: python micrograd/draw.py")


if __name__ == "__main__":
    main()
