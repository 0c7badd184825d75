"""
Adam's bias correction: why the first steps would be wrong without it, and by how much.

    python train/bias.py                                     # writes out/train/bias/bias.png
    python train/bias.py --betas 0.9 0.999 --no-picture      # the numbers alone

The derivation (Kingma and Ba 2014, section 3, https://arxiv.org/abs/1412.6980). m starts at zero and after t steps is

    m_t = (1 - b) sum_{i=1..t} b^(t-i) g_i

If every g_i has the same mean E g, the sum is geometric:  E m_t = (1 - b) E g (1 + b + ... + b^(t-1)) = (1 - b^t) E g.
So m_t is too small by 1 - b^t, a number that is known, and dividing by it makes the mean right at every t. The same
holds for v_t and E g^2. A step is m / sqrt(v); uncorrected it is wrong by the factor

    (1 - b1^t) / sqrt(1 - b2^t)

At t = 1 that is (1 - b1) / sqrt(1 - b2). With betas 0.9 and 0.95 it is 0.45: the first steps are timid. With 0.9 and
0.999 it is 3.2, after ten steps 6.5, and after a hundred 3.2 still: v needs a thousand steps to fill.
`simulate` draws gradients and runs train/adamw.py's own two lines; the picture lays its dots on the formula's curve.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
from pathlib import Path

import numpy as np


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--betas", type=float, nargs=2, default=(0.9, 0.95), help="of the two averages [0.9 0.95]")
    p.add_argument("--out", type=Path, default=Path("out/train/bias"), help="where to write [%(default)s]")
    p.add_argument("--no-picture", action="store_true", help="print only; then matplotlib is not needed")
    return p.parse_args(argv)


def factor(t, b1, b2):
    """By how much an uncorrected step is too long."""
    return (1 - b1**t) / np.sqrt(1 - b2**t)


def simulate(steps, b1, b2, runs=20_000, mean=1.0, noise=1.0, seed=0):
    """
    Averages over many runs with gradients N(mean, noise), independent from step to step.
    returns: E m_t / E g and E v_t / E g^2 at t = 1..steps, uncorrected
    """
    rng, m, v = np.random.default_rng(seed), np.zeros(runs), np.zeros(runs)
    first, second = [], []
    for _ in range(steps):
        g = rng.normal(mean, noise, runs)
        m += (1 - b1) * (g - m)
        v += (1 - b2) * (g * g - v)
        first.append(m.mean() / mean)
        second.append(v.mean() / (mean**2 + noise**2))
    return np.array(first), np.array(second)


def draw(path, b1, b2, steps=200):
    """Left: what the averages hold after t steps. Right: the length of an uncorrected step."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    t, few = np.arange(1, steps + 1), np.unique(np.geomspace(1, steps, 18).astype(int))
    first, second = simulate(steps, b1, b2)
    for b, seen, color, name in ((b1, first, "#0072b2", "m"), (b2, second, "#d55e00", "v")):
        left.plot(t, 1 - b**t, color=color, label=f"{name}: $1-{b:g}^t$")
        left.plot(few, seen[few - 1], "o", color=color, markersize=4)
    left.set(xscale="log", ylim=(0, 1.05), xlabel="step t", ylabel="share of the true average",
             title="What starts at zero is too small, by a known factor")
    left.legend(frameon=False, title="curve: formula, dots: simulated")
    for pair, color in ((b1, b2), "#0072b2"), ((0.9, 0.999), "#d55e00"), ((0.9, 0.99), "#009e73"):
        right.plot(t, factor(t, *pair), color=color, label=f"betas {pair[0]:g}, {pair[1]:g}")
    right.axhline(1, color="0.6", linewidth=1)
    right.set(xscale="log", yscale="log", xlabel="step t", ylabel="step without correction, over with",
              title=f"With betas {b1:g}, {b2:g} the first step is {factor(1, b1, b2):.2f} of its length")
    right.set_yticks([0.5, 1, 2, 4, 6], ["0.5", "1", "2", "4", "6"])
    right.minorticks_off()
    right.legend(frameon=False)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(argv=None):
    args = parse(argv)
    b1, b2 = args.betas
    if not (0 <= b1 < 1 and 0 <= b2 < 1):
        sys.exit(f"--betas {b1:g} {b2:g}: both lie between 0 and 1. Give for instance --betas 0.9 0.95")
    if not args.no_picture:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            sys.exit("the picture takes matplotlib. Get it, or go without: pip install matplotlib, or --no-picture")
    first, second = simulate(100, b1, b2)
    print("step   share of E g in m   formula   share of E g^2 in v   formula   uncorrected step")
    for t in (1, 2, 5, 10, 20, 50, 100):
        print(f"{t:4d} {first[t - 1]:20.3f} {1 - b1**t:9.3f} {second[t - 1]:21.3f} {1 - b2**t:9.3f} "
              f"{factor(t, b1, b2):16.3f} x")
    if not args.no_picture:
        args.out.mkdir(parents=True, exist_ok=True)
        draw(args.out / "bias.png", b1, b2)
        print(f"wrote {args.out / 'bias.png'}")


if __name__ == "__main__":
    main()
