"""
Scaling laws fitted to losses, with intervals: how a loss falls with parameters N, tokens D and compute C.

    python eval/fits.py                        # the fits again, of the sweep that eval/scaling.py has made
    python eval/fits.py --synthetic            # made-up losses of known exponents, and what the fits say they are

Four laws of the loss in nats. With E = 0 the third is eq. 1.5 of Kaplan et al. 2020, https://arxiv.org/abs/2001.08361;
the last is eq. 2 of Hoffmann et al. 2022, https://arxiv.org/abs/2203.15556, and its fit that of their appendix D.3:

    parameters, tokens    E + A x^-alpha                                     x is N or D
    kaplan                E + ((Nc / N)^(alpha / beta) + Dc / D)^beta
    hoffmann              E + A / N^alpha + B / D^beta

A fit is where Huber's loss of ln(loss) is least, by Levenberg and Marquardt's method from a grid of starts, all at
once. An interval is the middle 95% of the fits to runs drawn with replacement. Departures: N and D are counted in N0
and D0, so that A and B are nats at a size that was measured, and not at N = 1; Huber's bound is 1% and not 0.1%, since
runs as short as ours scatter by about that. Hoffmann's own intervals were too narrow for 400 runs, as their fit had
stopped early (Besiroglu et al. 2024, https://arxiv.org/abs/2404.10102): here a fit ends when no start gets better.

n = runs, S = starts or draws, P = numbers of a law, K = its inputs, 1 or 2
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import itertools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

N0, D0 = 1e5, 1e6            # parameters and tokens, in which N and D are counted
HUBER = 0.01                 # residuals of ln(loss) beyond it count by their size, not by their square


# ----------------------------------------------------------------------------
# the laws: ln(loss), (S, n), from the logarithms of their numbers, (S, P), and of their inputs, (K, n)

def power(t, x):
    e, a, alpha = t.T[:, :, None]                                                 # (S, 1) each
    return np.logaddexp(e, a - np.exp(alpha) * x[0])


def kaplan(t, x):
    """With E = 0 if t has no fifth number."""
    nc, dc, alpha, beta, *e = t.T[:, :, None]
    law = np.exp(beta) * np.logaddexp(np.exp(alpha - beta) * (nc - x[0]), dc - x[1])
    return np.logaddexp(e[0], law) if e else law


def hoffmann(t, x):
    e, a, alpha, b, beta = t.T[:, :, None]
    return np.logaddexp(e, np.logaddexp(a - np.exp(alpha) * x[0], b - np.exp(beta) * x[1]))


class Law(NamedTuple):
    ln_loss: object
    names: tuple             # of its numbers, all positive
    starts: tuple            # values to start each of them from; a loss is given as a share of the lowest one


SHARES, EXPONENTS = (0.1, 0.6, 0.95), (0.1, 0.4, 1.2)
LAWS = {"power": Law(power, ("E", "A", "alpha"), (SHARES, (0.05, 0.3, 1), EXPONENTS)),
        "kaplan": Law(kaplan, ("Nc", "Dc", "alpha", "beta"), ((1, 1e6), (1, 1e6), (0.05, 0.3), (0.05, 0.3))),
        "kaplan with a floor": Law(kaplan, ("Nc", "Dc", "alpha", "beta", "E"),
                                   ((0.1, 1), (0.1, 1), EXPONENTS, EXPONENTS, SHARES)),
        "hoffmann": Law(hoffmann, ("E", "A", "alpha", "B", "beta"),
                        (SHARES, (0.05, 0.3), EXPONENTS, (0.05, 0.3), EXPONENTS))}


# ----------------------------------------------------------------------------
# fitting

def huber(r):
    return np.where(np.abs(r) <= HUBER, r * r / 2, HUBER * (np.abs(r) - HUBER / 2))


def fit(law, starts, x, y, counts=1.0, rounds=200):
    """
    Where the sum over runs of counts * huber(ln law - ln y) is least near each start (Marquardt 1963), as
    (t (S, P), sums (S,)).

    starts: (S, P) logarithms of the law's numbers;  x: (K, n) logarithms of its inputs;  y: (n,) losses in nats
    counts: (S, n), how often each run counts
    """
    t, step, damping = starts.astype(float), 1e-5, np.full(len(starts), 1e-2)
    r = law(t, x) - np.log(y)                                                     # (S, n)
    best = (counts * huber(r)).sum(axis=1)                                        # (S,)
    for _ in range(rounds):
        moves = step * np.eye(t.shape[1])
        J = np.stack([(law(t + move, x) - law(t - move, x)) / (2 * step) for move in moves], axis=2)  # (S, n, P)
        w = counts * np.minimum(1, HUBER / np.maximum(np.abs(r), 1e-12))          # (S, n)
        H = np.einsum("snp,sn,snq->spq", J, w, J)                                 # (S, P, P)
        ridge = damping[:, None] * (np.einsum("spp->sp", H) + 1e-9)               # (S, P)
        down = np.linalg.solve(H + ridge[:, :, None] * np.eye(t.shape[1]), np.einsum("snp,sn->sp", J, w * r)[..., None])
        new = np.clip(t - down[..., 0].clip(-1, 1), -30, 30)                      # (S, P)
        new_r = law(new, x) - np.log(y)
        sums = (counts * huber(new_r)).sum(axis=1)
        better = sums < best
        if not better.any() and damping.min() > 1e6:
            break
        t, r = np.where(better[:, None], new, t), np.where(better[:, None], new_r, r)
        best = np.where(better, sums, best)
        damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-9, 1e9)
    return t, best


class Fit(NamedTuple):
    law: Law
    t: np.ndarray            # (P,) logarithms of the numbers
    draws: np.ndarray        # (S, P), of runs drawn with replacement
    error: float             # root mean square of ln(loss) beside the law's

    def numbers(self):
        """{name: (value, low, high)}, the interval of 95%"""
        low, high = np.exp(np.percentile(self.draws, (2.5, 97.5), axis=0))
        return {name: (float(value), float(a), float(b))
                for name, value, a, b in zip(self.law.names, np.exp(self.t), low, high)}

    def loss(self, *x):
        """(value, low, high) in nats where ln x are the inputs, numbers or (n,)"""
        at = np.array([np.atleast_1d(one) for one in x], dtype=float)             # (K, n)
        low, high = np.percentile(self.law.ln_loss(self.draws, at), (2.5, 97.5), axis=0)
        return tuple(np.exp(one) for one in (self.law.ln_loss(self.t[None], at)[0], low, high))


def estimate(name, x, y, draws=300, seed=0):
    """The Fit of a law; x: (K, n) logarithms, y: (n,) nats"""
    law, y, x = LAWS[name], np.asarray(y, dtype=float), np.atleast_2d(x)
    if len(y) <= len(law.names):
        raise ValueError(f"{len(y)} runs do not determine the {len(law.names)} numbers of the law {name}")
    starts = [[v * y.min() if key in "EAB" else v for key, v in zip(law.names, values)]
              for values in itertools.product(*law.starts)]
    found, sums = fit(law.ln_loss, np.log(starts), x, y)
    t = found[sums.argmin()]
    counts = np.random.default_rng(seed).multinomial(len(y), np.full(len(y), 1 / len(y)), draws)      # (S, n)
    others, _ = fit(law.ln_loss, np.tile(t, (draws, 1)), x, y, counts, rounds=60)
    return Fit(law, t, others, float(np.sqrt(np.mean((law.ln_loss(t[None], x)[0] - np.log(y)) ** 2))))


# ----------------------------------------------------------------------------
# the compute-optimal frontier by the IsoFLOP method: Hoffmann et al. 2022, section 3.2

def slice_at(grid, budget):
    """
    Losses at equal compute, [(N, D, loss), ...], of the models that have runs on both sides of it.

    Departure: a model's loss at D = budget / (its operations a token) is read off the parabola of ln(loss) in ln D
    through its own runs, so that the grid of runs serves every budget.
    grid: {(N, operations a token): [(D, loss), ...]}, D rising
    """
    points = []
    for (n, flops), runs in sorted(grid.items()):
        tokens, losses = np.array(runs).T
        if tokens[0] <= budget / flops <= tokens[-1]:
            curve = np.polyfit(np.log(tokens), np.log(losses), min(2, len(runs) - 1))
            points.append((n, budget / flops, float(np.exp(np.polyval(curve, np.log(budget / flops))))))
    return points


def valley(points):
    """(ln N, ln D) where the parabola of loss in ln N is lowest, or None if that lies outside of the points."""
    if len(points) < 3:
        return None
    n, d, loss = np.array(points).T
    a, b, _ = np.polyfit(np.log(n) - np.log(n[0]), loss, 2)
    lowest = np.log(n[0]) - b / (2 * a) if a > 0 else np.inf
    return (lowest, np.interp(lowest, np.log(n), np.log(d))) if np.log(n[0]) <= lowest <= np.log(n[-1]) else None


def frontier(grid, noise, count=5, draws=300, seed=0):
    """
    Slopes of ln N and ln D of the valleys over ln C, {"N": (value, low, high), "D": ...}, with the interval from grids
    whose losses are multiplied by e^(noise x normal); and the slices {C: points}. Empty if fewer than three have a
    valley. count: of slices, at equal distances in ln C;  noise: misfit of a law to ln(loss)
    """
    ends = [flops * runs[i][0] for (_, flops), runs in grid.items() for i in (0, -1)]
    deep = [c for c in np.geomspace(min(ends), max(ends), 100) if valley(slice_at(grid, c))]
    cut = {c: slice_at(grid, c) for c in np.geomspace(deep[0], deep[-1], count)} if deep else {}

    def slopes(grid):
        found = [(np.log(c), *v) for c in cut if (v := valley(slice_at(grid, c)))]
        c, n, d = np.array(found).T if len(found) > 2 else (None, None, None)
        return None if c is None else (np.polyfit(c, n, 1)[0], np.polyfit(c, d, 1)[0])

    if (value := slopes(grid)) is None:
        return {}, {}
    rng, others = np.random.default_rng(seed), []
    for _ in range(draws):
        other = {key: [(d, loss * np.exp(noise * rng.standard_normal())) for d, loss in runs]
                 for key, runs in grid.items()}
        others += [found] if (found := slopes(other)) else []
    low, high = np.percentile(others, (2.5, 97.5), axis=0)
    return ({key: (float(value[i]), float(low[i]), float(high[i])) for i, key in enumerate("ND")},
            {c: points for c, points in cut.items() if valley(points)})


def predicted(fit):
    """Exponents (of N, of D) of the best use of compute by a law of both: Hoffmann's eq. 4; Kaplan's is alike"""
    alpha, beta = fit.numbers()["alpha"][0], fit.numbers()["beta"][0]
    return beta / (alpha + beta), alpha / (alpha + beta)


# ----------------------------------------------------------------------------
# the study of one sweep

SURFACES = "kaplan", "kaplan with a floor", "hoffmann"       # laws of N and D
PUBLISHED = [                # exponent, (fit, number), Kaplan et al. (eq. 1.1, 1.2, tables 2, 6), Hoffmann et al. (D.3)
    ("L(N) alone: alpha", ("L(N)", "alpha"), 0.076, None), ("L(D) alone: alpha", ("L(D)", "alpha"), 0.095, None),
    ("Kaplan's alpha, of N", ("kaplan", "alpha"), 0.076, None),
    ("Kaplan's beta, of D", ("kaplan", "beta"), 0.103, None),
    ("Hoffmann's alpha, of N", ("hoffmann", "alpha"), None, 0.339),
    ("Hoffmann's beta, of D", ("hoffmann", "beta"), None, 0.285),
    ("best N over C", ("IsoFLOP", "N"), 0.73, 0.49), ("best D over C", ("IsoFLOP", "D"), 0.27, 0.51)]


def grid_of(rows):
    """A sweep's rows as slice_at() takes them"""
    grid = {}
    for row in rows:
        grid.setdefault((row["parameters"], row["flops"] / row["tokens"]), []).append((row["tokens"], row["loss_nats"]))
    return {key: sorted(runs) for key, runs in grid.items()}


def inputs(row):
    """ln N and ln D of a row, in N0 and D0"""
    return np.log(row["parameters"] / N0), np.log(row["tokens"] / D0)


def trust(rows):
    """
    {law: error of ln(loss), root mean square} where each law predicts the largest size from the smaller ones: how far
    it can be trusted beyond what it saw, without a look at what is held out.
    """
    x, y = np.array([inputs(row) for row in rows]).T, np.array([row["loss_nats"] for row in rows])
    last, out = x[0] == x[0].max(), {}
    for name in SURFACES:
        if (~last).sum() > len(LAWS[name].names):
            guess = estimate(name, x[:, ~last], y[~last], draws=1).loss(*x[:, last])[0]
            out[name] = float(np.sqrt(np.mean(np.log(guess / y[last]) ** 2)))
    return out


def study(rows, draws=300):
    """
    All fits to the rows of eval/scaling.py that are not held out: {"fits": {name: Fit}, "values": {name: {number:
    (value, low, high)}}, "slices": {C: points}, "floor": nats, "guesses": {law: (value, low, high)}, "held_out"}
    """
    seen, held_out = ([row for row in rows if row["held_out"] is out] for out in (False, True))
    x, y = np.array([inputs(row) for row in seen]).T, np.array([row["loss_nats"] for row in seen])    # (2, n), (n,)
    most, largest = x[1] == x[1].max(), x[0] == x[0].max()
    sets = {"L(N)": ("power", x[:1, most], y[most]), "L(D)": ("power", x[1:, largest], y[largest]),
            **{name: (name, x, y) for name in SURFACES}}
    found = {name: estimate(*given, draws) for name, given in sets.items() if len(given[2]) > len(LAWS[given[0]].names)}
    noise = min((found[name].error for name in SURFACES if name in found), default=0.01)
    slopes, cut = frontier(grid_of(seen), noise, draws=draws)
    values = {name: one.numbers() for name, one in found.items()} | {"IsoFLOP": slopes}
    guesses = {name: tuple(float(v[0]) for v in found[name].loss(*inputs(held_out[0])))
               for name in SURFACES if name in found and held_out}
    return {"fits": found, "values": values, "slices": cut, "floor": seen[0].get("floor_nats"), "guesses": guesses,
            "trust": trust(seen), "held_out": held_out[0] if held_out else None}


def interval(three):
    return "{:9.4g}  ({:.4g} to {:.4g})".format(*three)


def lines(found):
    """The study as lines of text."""
    out = [f"\n{'law, misfit of ln(loss)':30s} number and its 95% interval (N in {N0:,.0f}, D in {D0:,.0f})"]
    for name, one in found["fits"].items():
        out += [f"{f'{name}, {one.error:.2%}' if i == 0 else '':30s} {key:6s} {interval(value)}"
                for i, (key, value) in enumerate(found["values"][name].items())]
    if found["floor"]:
        out.append(f"{'entropy of the text':30s} {'E':6s} {found['floor']:9.4g}  known, and no fit was told")
    out.append(f"\n{'exponent':24s} {'ours, 95% interval':32s} Kaplan 2020  Hoffmann 2022")
    for name, (fit, key), *papers in PUBLISHED:
        if key in found["values"].get(fit, {}):
            out.append(f"{name:24s} {interval(found['values'][fit][key]):32s} "
                       + "".join(f"{x if x else '-':>12}" for x in papers))
    for name in found["trust"]:
        n, d = predicted(found["fits"][name])
        out.append(f"{'the same by ' + name:24s} N {n:.3f}, D {d:.3f}; from the smaller sizes it predicts the largest "
                   f"to {found['trust'][name]:.1%}")
    if row := found["held_out"]:
        out.append(f"\nheld out: N {row['parameters']:,}, D {row['tokens']:,}, measured {row['loss_nats']:.4f} nats")
        out += [f"  {name:22s} predicted {guess[0]:.4f} ({guess[1]:.4f} to {guess[2]:.4f}), off by "
                f"{guess[0] / row['loss_nats'] - 1:+.2%}" + above(found, guess[0], row)
                + "  < the law chosen" * (name == chosen(found))
                for name, guess in found["guesses"].items()]
    return out


def above(found, guess, row):
    """What the error is of the part of the loss that a model can do something about, where the floor is known."""
    if not found["floor"]:
        return ""
    return f", of what is above the floor by {(guess - found['floor']) / (row['loss_nats'] - found['floor']) - 1:+.0%}"


def numbers(found):
    """The study for metrics.json, units in the keys."""
    out = {f"{name} {key}{end}".replace(" ", "_"): x for name, values in found["values"].items()
           for key, value in values.items() for end, x in zip(("", "_low", "_high"), value)}
    out |= {f"{name}_misfit".replace(" ", "_"): one.error for name, one in found["fits"].items()}
    out |= {"floor_nats": found["floor"]} if found["floor"] else {}
    if row := found["held_out"]:
        out |= {f"{name}_predicted_nats".replace(" ", "_"): guess[0] for name, guess in found["guesses"].items()}
        out["held_out_loss_nats"] = row["loss_nats"]
        if best := chosen(found):
            out["extrapolation_error"] = abs(found["guesses"][best][0] / row["loss_nats"] - 1)
    return out


def chosen(found):
    """The law to predict with: the one that does best from the smaller sizes to the largest that was seen."""
    return min(found["trust"], key=found["trust"].get, default=None)


def synthetic(noise=0.005, seed=0):
    """A sweep of made-up losses: E 1, A 0.4, alpha 0.34, B 0.3, beta 0.28, each multiplied by e^(noise x normal)"""
    rng, rows = np.random.default_rng(seed), []
    pairs = [(n, d, False) for n in np.geomspace(1.4e4, 1.6e6, 8) for d in (0.25e6, 0.5e6, 1e6, 2e6)]
    for n, d, held_out in [*pairs, (4e6, 2e6, True)]:
        loss = 1 + 0.4 * (n / N0) ** -0.34 + 0.3 * (d / D0) ** -0.28
        rows.append({"parameters": int(n), "tokens": int(d), "flops": 6 * n * d, "held_out": held_out,
                     "floor_nats": 1.0, "loss_nats": loss * np.exp(noise * rng.standard_normal())})
    return rows


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--table", type=Path, default=Path("out/eval/scaling/table.json"), help="of a sweep [%(default)s]")
    p.add_argument("--synthetic", action="store_true", help="made-up losses in its place, of known exponents")
    p.add_argument("--draws", type=int, default=300, help="of the runs with replacement [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if not args.synthetic and not args.table.is_file():
        sys.exit(f"no {args.table}. Make it with\n    python eval/scaling.py")
    if args.synthetic:
        print(synthetic.__doc__)
    print("\n".join(lines(study(synthetic() if args.synthetic else json.loads(args.table.read_text()), args.draws))))


if __name__ == "__main__":
    main()
