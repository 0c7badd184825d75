"""
The loss around a trained model: along a line, and over a plane with the way that training took through it.

    python train/landscape.py --checkpoint out/tinyworld/pretrain/run --data out/tinyworld/shards
    python train/landscape.py ... --grid 5 --rows 2                     # seconds, to see that it runs

A network that divides one layer by ten and multiplies the next by ten is the same function, yet a step of a given
length is ten times as bold in the first. So each direction is filter-normalized (Li et al. 2018, section 4,
https://arxiv.org/abs/1712.09913): every row of a random matrix gets the norm of the weights' own row, and vectors
(norms' weights, biases) stay as they are. A step of 1 then changes every filter by its own size.

Left, the line: loss at c + a d for three random d. Middle: the plane of two of them. Right: the plane in which the
kept checkpoints moved most (their two principal components, section 7), with the way itself: keep more of them with
train/train.py --keep 20. What one row of a matrix is to us, a filter is to the paper.
Left out on purpose: the eigenvalues of the curvature, and any batch but one.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch

from bpe import shards
from gpt import checkpoint
from train.device import device, prepare
from train.loader import Loader, Shards
from train.log import write_metrics
from train.step import evaluate


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--checkpoint", type=Path, required=True, help="a run, whose steps are the way, or one step")
    add("--data", type=Path, required=True, help="folder of token shards; the loss is on its validation split")
    add("--out", type=Path, default=Path("out/train/landscape"), help="where to write [%(default)s]")
    add("--grid", type=int, default=15, help="points along each side of a plane, odd [%(default)s]")
    add("--span", type=float, default=1.0, help="how far to go, in sizes of the filters [%(default)s]")
    add("--rows", type=int, default=8, help="of the batch [%(default)s]")
    add("--length", type=int, default=256, help="tokens of a row [%(default)s]")
    add("--seed", type=int, default=0, help="of the directions [%(default)s]")
    add("--no-picture", action="store_true", help="write the numbers alone; then matplotlib is not needed")
    return p.parse_args(argv)


# ---------------------------------------------------------------------------------------------------
# directions


def weights_of(model):
    """The weights, as a list of copies; tied ones once."""
    return [p.detach().clone() for p in model.parameters()]


def filter_normalized(weights, generator):
    """A random direction whose rows have the norms of the weights' rows; none in vectors. Li et al. 2018, section 4"""
    out = []
    for w in weights:
        d = torch.randn(w.shape, generator=generator, dtype=torch.float32).to(w)
        out.append(d * (w.norm(dim=-1, keepdim=True) / (d.norm(dim=-1, keepdim=True) + 1e-10)) if w.dim() > 1
                   else torch.zeros_like(w))
    return out


def dot(a, b):
    return sum((x.double() * y.double()).sum().item() for x, y in zip(a, b))


def principal(way, center):
    """
    The plane of the way: two orthonormal directions, where each point of the way lies in it, and what share of the
    squared distance from the centre the plane holds. From the products of the differences alone, which are few.
    way: list of weights;  returns: directions, (n, 2) coordinates, share
    """
    moves = [[x - c for x, c in zip(point, center)] for point in way]
    gram = np.array([[dot(a, b) for b in moves] for a in moves])                  # (n, n)
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1][:2], vectors[:, ::-1][:, :2]
    directions = []
    for value, vector in zip(values, vectors.T):
        scale = 1 / math.sqrt(max(value, 1e-30))
        directions.append([sum(v * scale * move[n] for v, move in zip(vector.tolist(), moves))
                           for n in range(len(center))])
    return directions, vectors * np.sqrt(np.maximum(values, 0)), values.sum() / max(np.trace(gram), 1e-30)


# ---------------------------------------------------------------------------------------------------
# the surface


@torch.no_grad()
def surface(model, center, directions, axes, loss):
    """
    loss() at centre + sum of steps along the directions, over the grid of the axes; the model is put back after.
    axes: one array of steps a direction;  returns: array of the axes' lengths
    """
    out = np.empty([len(axis) for axis in axes])
    for place in np.ndindex(*out.shape):
        for n, (p, c) in enumerate(zip(model.parameters(), center)):
            p.copy_(c)
            for axis, at, d in zip(axes, place, directions):
                p.add_(d[n], alpha=float(axis[at]))
        out[place] = loss()
    for p, c in zip(model.parameters(), center):
        p.copy_(c)
    return out


def steps_of(path):
    """The step folders of a run in the order of training, or the one that was named."""
    found = sorted((step for step in path.glob("step_*") if (step / "checkpoint.json").exists()),
                   key=lambda step: checkpoint.describe(step)["step"])
    return found or [checkpoint.find(path)]


def curvature(axis, line):
    """Second derivative at the middle of a line, from the parabola through the five points around it."""
    n = len(axis) // 2
    near = slice(max(0, n - 2), n + 3)
    return 2 * float(np.polyfit(axis[near], line[near], 2)[0])


def draw(path, axis, lines, plane, way):
    """way: None, or (axes, surface, coordinates, steps, share)"""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    n = 3 if way else 2
    figure, places = plt.subplots(1, n, figsize=(5 * n, 4.4), layout="constrained")
    low = lines.min()
    for line, color in zip(lines, ("#0072b2", "#d55e00", "#009e73")):
        places[0].plot(axis, line, "-", color=color)
    places[0].set(title=f"Loss rises from {lines[0, len(axis) // 2]:.2f} along every line",
                  xlabel="step, in sizes of the filters", ylabel="loss, nats per token")
    places[0].grid(alpha=0.3)
    contours(figure, places[1], axis, axis, plane, low)
    places[1].plot(0, 0, "*", color="#d55e00", markersize=13, markeredgecolor="white")
    places[1].set(title="Two random directions, filter-normalized", xlabel="step along the first",
                  ylabel="step along the second")
    if way:
        (x, y), values, points, steps, share = way
        contours(figure, places[2], x, y, values, values.min())
        places[2].plot(points[:, 0], points[:, 1], "o-", color="#d55e00", markersize=4, linewidth=1.4)
        for n, offset in (0, (6, 6)), (-1, (8, -14)):
            places[2].annotate(f"step {steps[n]:,}", points[n], xytext=offset, textcoords="offset points", fontsize=9,
                               bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1})
        places[2].set(title=f"The way of training: {share:.0%} of it lies in this plane",
                      xlabel="first principal component, L2", ylabel="second, L2")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def contours(figure, axis, x, y, values, low):
    """Levels closer together near the floor: they are even in the logarithm of the height above it."""
    high = min(values.max(), low + 8)
    levels = low - 0.02 + np.geomspace(0.02, high - low + 0.03, 18)
    filled = axis.contourf(x, y, values.T, levels=levels, cmap="viridis_r", extend="max")
    axis.contour(x, y, values.T, levels=levels, colors="white", linewidths=0.4, alpha=0.6)
    figure.colorbar(filled, ax=axis, label="loss, nats per token", format="%.2f")


def main(argv=None):
    args, start, where = parse(argv), time.time(), device()
    if args.grid < 3 or args.grid % 2 == 0:
        sys.exit(f"--grid {args.grid} has no middle. Give an odd number from 3 on: --grid 15")
    if not args.no_picture:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            sys.exit("the picture takes matplotlib. Get it, or go without: pip install matplotlib, or --no-picture")
    try:
        steps = steps_of(args.checkpoint)
        model, tokenizer, _ = checkpoint.load(steps[-1], where)
        way = [weights_of(checkpoint.load(step, where)[0]) for step in steps]
    except checkpoint.CheckpointError as e:
        sys.exit(str(e))
    held_out, meta = shards.load(args.data, "valid", tokenizer.hash)
    batch = Loader(Shards(held_out, meta["boundary"]), meta["boundary"], args.rows, args.length, args.seed).next()
    prepare(model, where)
    generator, center = torch.Generator().manual_seed(args.seed), way[-1]
    directions = [filter_normalized(center, generator) for _ in range(3)]
    axis = np.linspace(-args.span, args.span, args.grid)

    def loss():
        return evaluate(model, [batch], where)

    lines = np.array([surface(model, center, [d], [axis], loss) for d in directions])        # (3, grid)
    print(f"loss {lines[0, args.grid // 2]:.4f} nats; {time.time() - start:.0f} s", flush=True)
    plane, path = surface(model, center, directions[:2], [axis, axis], loss), None
    if len(way) > 2:
        two, points, share = principal(way, center)
        axes = [np.linspace(low - 0.3 * (high - low), high + 0.3 * (high - low), args.grid)
                for low, high in zip(points.min(axis=0), points.max(axis=0))]
        path = (axes, surface(model, center, two, axes, loss), points,
                [checkpoint.describe(step)["step"] for step in steps], share)
    args.out.mkdir(parents=True, exist_ok=True)
    np.savez(args.out / "landscape.npz", axis=axis, lines=lines, plane=plane,
             **({"way_x": path[0][0], "way_y": path[0][1], "way_plane": path[1], "way": path[2]} if path else {}))
    numbers = {"loss_nats": float(lines[0, args.grid // 2]), "checkpoints": len(way),
               "curvature_nats": float(np.mean([curvature(axis, line) for line in lines]))}
    numbers |= {"share_of_way_in_plane": float(path[4])} if path else {}
    write_metrics(args.out, seed=args.seed, seconds=time.time() - start, numbers=numbers)
    if not args.no_picture:
        draw(args.out / "landscape.png", axis, lines, plane, path)
    print(f"wrote {args.out}; {time.time() - start:.0f} s" + ("" if path else
          "; the way takes three kept checkpoints: train with --keep 20 --save-every 20"))


if __name__ == "__main__":
    main()
