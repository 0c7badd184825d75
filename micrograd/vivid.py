"""
Vivid Descent: three optimizers go down the same hill, in your browser.

    python micrograd/vivid.py                               # under a minute; open out/micrograd/vivid/vivid.html
    python micrograd/vivid.py --steps 5 --grid 9            # seconds, to see that it runs
    python micrograd/vivid.py --measure                     # and count frames in a headless Chromium (playwright)

SGD, momentum and Adam train the same net of Values from the same start on the same mini-batches of moons. What is
drawn is the loss on planes through the space of all weights, after Li et al. 2018, https://arxiv.org/abs/1712.09913:
a plane of two random filter-normalized directions (section 4), and planes of the two principal directions of a
path (section 7.2), of one and of all three. A plane is two directions of many: the page says how much of
a path each plane holds, and draws the true loss beside the loss in the plane.

The training is the engine's. Planes take thousands of losses, so those come from numpy; tests hold the two equal.
The page, vivid.html with vivid_*.js, runs the net itself (forward, backward) to show activations and gradients.

Departs from the paper: our path shares count the path's distances from its own mean, for every sort of plane.
Left out on purpose: a test set, and schedules of the rate.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import importlib.util
import json
import math
import platform
import random
import resource
import shutil
import time
from pathlib import Path

import numpy as np

from micrograd.demo import moons
from micrograd.nn import MLP

HERE = Path(__file__).resolve().parent
SIZES = [2, 8, 8, 1]
DECAY = 1e-4                                                # of the L2 penalty, as in demo.py


# Three optimizers: each takes Values and returns the function that makes one step with their gradients.

def sgd(params, rate):
    def step():
        for p in params:
            p.data -= rate * p.grad
    return step


def momentum(params, rate, beta=0.9):
    """Polyak 1964: a heavy ball. Each step repeats beta of the last one."""
    last = [0.0] * len(params)

    def step():
        for i, p in enumerate(params):
            last[i] = beta * last[i] - rate * p.grad
            p.data += last[i]
    return step


def adam(params, rate, beta1=0.9, beta2=0.999, eps=1e-8):
    """Kingma and Ba 2015, algorithm 1, https://arxiv.org/abs/1412.6980; its letters."""
    m, v, t = [0.0] * len(params), [0.0] * len(params), 0

    def step():
        nonlocal t
        t += 1
        for i, p in enumerate(params):
            m[i] = beta1 * m[i] + (1 - beta1) * p.grad
            v[i] = beta2 * v[i] + (1 - beta2) * p.grad**2
            m_hat, v_hat = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
            p.data -= rate * m_hat / (math.sqrt(v_hat) + eps)
    return step


RUNS = {                                                    # rates with which all three learn, and part ways
    "sgd": ("SGD", sgd, 0.5, "w ← w − 0.5 g"),
    "momentum": ("Momentum", momentum, 0.1, "v ← 0.9 v − 0.1 g;  w ← w + v"),
    "adam": ("Adam", adam, 0.03, "w ← w − 0.03 m̂ / (√v̂ + ε)"),
}


# The same loss twice: with Values, to learn from, and with numpy, to draw.

def loss_of(model, points):
    """Mean of log(1 + exp(-y * score)) over the points, in nats, and the L2 penalty, as a Value."""
    losses = [(1 + (-y * model(x)).exp()).log() for x, y in points]
    return sum(losses) * (1 / len(losses)) + DECAY * sum(p * p for p in model.parameters())


def scores(thetas, x):
    """What nets with the weights thetas (N, P), in the order of MLP.parameters(), say of x (n, 2): (N, n)."""
    h, at = x[None], 0                                      # (1, n, 2)
    for nin, nout in zip(SIZES, SIZES[1:]):
        rows = thetas[:, at:at + nout * (nin + 1)].reshape(-1, nout, nin + 1)   # a neuron a row, its bias last
        h = h @ rows[:, :, :-1].transpose(0, 2, 1) + rows[:, None, :, -1]       # (N, n, nout)
        if nout != SIZES[-1]:
            h = np.maximum(h, 0)
        at += nout * (nin + 1)
    return h[:, :, 0]


def losses(thetas, points):
    """loss_of for each row of thetas (N, P), as numbers (N,)."""
    x, y = np.array([x for x, _ in points]), np.array([y for _, y in points])
    return np.logaddexp(0, -y * scores(thetas, x)).mean(axis=1) + DECAY * (thetas**2).sum(axis=1)


def train(optimizer, rate, start, points, batches):
    """Weights from start (P numbers) on and after each step, (steps + 1, P). Everything in it is the engine's."""
    model = MLP(SIZES[0], SIZES[1:])
    params = model.parameters()
    for p, number in zip(params, start):
        p.data = number
    step, path = optimizer(params, rate), [start]
    for batch in batches:
        model.zero_grad()
        loss_of(model, [points[i] for i in batch]).backward()
        step()
        path.append([p.data for p in params])
    return np.array(path, dtype=float)


# Planes through the space of weights

def principal(paths):
    """
    The two directions (2, P), of length 1, along which the paths [(n, P)] spread most around their mean. Their
    signs are free: from start to end the paths go up the first and down the second, towards the one who looks.
    """
    rows = np.concatenate(paths)
    directions = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:2]
    ahead = directions @ sum(path[-1] - path[0] for path in paths)              # (2,)
    return directions * np.where(ahead * [1, -1] < 0, -1, 1)[:, None]


def filter_normalized(theta, rng):
    """
    Two random directions (2, P). The filter of an MLP is the row of weights of a neuron: each row of a direction
    gets the length of that row in theta. Biases stay where they are, as with the authors' --xignore biasbn.
    """
    directions = rng.standard_normal((2, len(theta)))
    at = 0
    for nin, nout in zip(SIZES, SIZES[1:]):
        for _ in range(nout):
            row = slice(at, at + nin)
            directions[:, row] *= (np.linalg.norm(theta[row])
                                   / np.linalg.norm(directions[:, row], axis=1, keepdims=True))
            directions[:, at + nin] = 0
            at += nin + 1
    return directions


def share(path, directions):
    """How much of the path's variance the plane holds, from 0 to 1: of its squared distances from its mean."""
    away = path - path.mean(axis=0)
    basis = np.linalg.qr(directions.T)[0]                   # (P, 2)
    return float(((away @ basis)**2).sum() / max((away**2).sum(), 1e-300))


def plane(centre, directions, paths, points, n):
    """
    The loss on centre + a * directions[0] + b * directions[1], at n times n places, on a square that holds the
    paths {name: (steps + 1, P)}; and for each path where it lies in the plane, the loss there, and its share.
    """
    at = {name: np.linalg.lstsq(directions.T, (path - centre).T, rcond=None)[0].T for name, path in paths.items()}
    every = np.concatenate(list(at.values()))               # (all steps, 2)
    low, high = every.min(axis=0), every.max(axis=0)
    middle, half = (low + high) / 2, max(0.85 * (high - low).max(), 0.8)
    a, b = (np.linspace(m - half, m + half, n) for m in middle)
    grid = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)                  # a runs fastest
    return {"n": n, "middle": compact(middle), "half": float(half),
            "loss": compact(losses(centre + grid @ directions, points)),
            "paths": {name: {"at": compact(ab), "loss": compact(losses(centre + ab @ directions, points)),
                             "share": share(paths[name], directions)} for name, ab in at.items()}}


def compact(array, digits=5):
    """As nested lists, with so many significant digits: half a megabyte instead of two."""
    return [compact(x, digits) for x in array] if np.ndim(array) else float(f"{array:.{digits}g}")


def record(points, paths, grid, seed):
    """All that the page shows, as one dict."""
    everything = np.concatenate(list(paths.values()))
    x, y = np.array([x for x, _ in points]), np.array([y for _, y in points])
    return {
        "sizes": SIZES, "points": [[*compact(x), y] for x, y in points],
        "runs": {name: {"label": RUNS[name][0], "rule": RUNS[name][3], "path": compact(path),
                        "loss": compact(losses(path, points)),
                        "right": (y * scores(path, x) > 0).sum(axis=1).tolist()} for name, path in paths.items()},
        "planes": {
            "all": plane(everything.mean(axis=0), principal(list(paths.values())), paths, points, grid),
            "own": {name: plane(path[-1], principal([path]), {name: path}, points, grid)
                    for name, path in paths.items()},
            "random": {name: plane(path[-1], filter_normalized(path[-1], np.random.default_rng(seed)),
                                   {name: path}, points, grid) for name, path in paths.items()}}}


def page(data):
    """The page with its scripts and data inside: one file, no server, no network."""
    scripts = "\n".join((HERE / f"vivid_{part}.js").read_text() for part in ("net", "surface", "controls"))
    text = (HERE / "vivid.html").read_text().replace("/*SCRIPTS*/", scripts)
    return text.replace("/*DATA*/", json.dumps(data, separators=(",", ":"), ensure_ascii=False))


# Frames a second, counted

def browser(playwright):
    """A headless Chromium: the system's if there is one, else playwright's. All its graphics are software."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return playwright.chromium.launch(executable_path=path, args=[
        "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--disable-background-networking"])


def measure(path, seconds=6):
    """Play the page and count. Frames as the browser's own clock gives them; the page's share of each, apart."""
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright, browser(playwright) as chromium:
        tab = chromium.new_page(viewport={"width": 1440, "height": 900})
        tab.goto(path.resolve().as_uri())
        return tab.evaluate("seconds => vivid.measure(seconds)", seconds)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--points", type=int, default=100, help="points of both moons together [%(default)s]")
    p.add_argument("--steps", type=int, default=240, help="steps of each optimizer [%(default)s]")
    p.add_argument("--batch", type=int, default=25, help="points a step [%(default)s]")
    p.add_argument("--grid", type=int, default=45, help="losses along each side of a plane [%(default)s]")
    p.add_argument("--seed", type=int, default=2, help="of points, weights, batches, directions [%(default)s]")
    p.add_argument("--measure", action="store_true", help="count frames a second in a headless Chromium")
    p.add_argument("--out", type=Path, default=Path("out/micrograd/vivid"), help="folder to write to [%(default)s]")
    return p.parse_args(argv)


def check(args):
    if args.steps < 2 or not 1 <= args.batch <= args.points or args.points < 2:
        sys.exit("there is nothing to learn. Use --steps 2 or more, --points 2 or more, --batch 1 up to --points")
    if not 3 <= args.grid <= 255:
        sys.exit(f"--grid {args.grid} makes no surface a browser draws. Use 3 to 255")
    if args.measure and importlib.util.find_spec("playwright") is None:
        sys.exit("--measure needs playwright. Get it with\n    pip install playwright && playwright install chromium")


def main(argv=None):
    args = parse(argv)
    check(args)
    began, rng = time.time(), random.Random(args.seed)
    points = moons(args.points, 0.1, rng)
    start = [p.data for p in MLP(SIZES[0], SIZES[1:], rng).parameters()]
    batches = [rng.sample(range(args.points), args.batch) for _ in range(args.steps)]
    print(f"{args.points} points, {args.batch} a step; the answer 0 for all would lose {math.log(2):.4f} nats")

    paths = {}
    for name, (label, optimizer, rate, _) in RUNS.items():
        since = time.time()
        paths[name] = train(optimizer, rate, start, points, batches)
        each = (time.time() - since) / args.steps
        left = each * args.steps * (len(RUNS) - len(paths))
        print(f"{label:8s} | {args.steps} steps | loss {losses(paths[name][-1:], points)[0]:.4f} | "
              f"{each:.3f} s a step | {left:3.0f} s left")

    data = record(points, paths, args.grid, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / "vivid.html"
    target.write_text(page(data))
    numbers = {"steps": args.steps, "seconds_per_step": each}
    for name, run in data["runs"].items():
        numbers[f"{name}_train_loss_nats"] = run["loss"][-1]
        numbers[f"{name}_variance_in_own_plane"] = data["planes"]["own"][name]["paths"][name]["share"]
        numbers[f"{name}_variance_in_random_plane"] = data["planes"]["random"][name]["paths"][name]["share"]
    if args.measure:
        numbers |= measure(target)
        print(f"{numbers['frames_per_second']:.1f} frames a second; a frame takes {numbers['script_ms_per_frame']:.1f} "
              f"ms of script and {numbers['webgl_ms_per_frame']:.1f} ms of WebGL in software")

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (args.out / "metrics.json").write_text(json.dumps({
        "schema": 1, "script": "micrograd/vivid.py", "argv": sys.argv[1:] if argv is None else argv,
        "seed": args.seed, "checkpoint": None, "data_sha": None, "seconds": round(time.time() - began, 2),
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,     # macOS counts bytes
        "numbers": numbers, "scores": {},
        "environment": {"python": platform.python_version(), "numpy": np.__version__}}, indent=1) + "\n")
    print(f"wrote {args.out}; next: open {target} in a browser")


if __name__ == "__main__":
    main()
