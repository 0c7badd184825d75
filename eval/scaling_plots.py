"""
The pictures of a sweep (eval/scaling.py): the loss over parameters and over tokens with the law through it, and
the valleys of equal compute with their lowest points.
"""

import numpy as np

from eval.fits import D0, N0, chosen, valley


def law(ax, found, name, x, style, label):
    """A fitted law over x, counts of N or D already divided by N0 or D0, with its interval."""
    value, low, high = found["fits"][name].loss(np.log(x))
    unit = N0 if name == "L(N)" else D0
    ax.plot(x * unit, value, style, color="black", linewidth=1.2, label=label)
    ax.fill_between(x * unit, low, high, color="black", alpha=0.12, linewidth=0)


def curves(ax, rows, found, key, other, colours):
    """Loss over `key`, one line for each value of `other`."""
    for value, colour in zip(sorted({row[other] for row in rows}), colours):
        line = sorted((row[key], row["loss_nats"]) for row in rows if row[other] == value)
        ax.plot(*zip(*line), "o-", color=colour, markersize=4, linewidth=1, label=f"{value:,}")
    name = "L(N)" if key == "parameters" else "L(D)"
    if name in found["fits"]:
        unit, seen = (N0 if key == "parameters" else D0), [row[key] for row in rows]
        alpha, low, high = found["values"][name]["alpha"]
        law(ax, found, name, np.geomspace(min(seen), 3 * max(seen), 60) / unit, "--", f"law of the last, {alpha:.2f}")
    if found["floor"]:
        ax.axhline(found["floor"], color="#d55e00", linestyle=":", label="entropy of the text")
    ax.set(xscale="log", ylabel="held-out loss, nats a token")
    ax.xaxis.set_minor_formatter("")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, fontsize=8, title="tokens" if other == "tokens" else "parameters", title_fontsize=8)


def laws(path, rows, found, plt):
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    seen = [row for row in rows if not row["held_out"]]
    curves(left, seen, found, "parameters", "tokens", plt.cm.viridis(np.linspace(0.85, 0, 10)))
    curves(right, seen, found, "tokens", "parameters", plt.cm.plasma(np.linspace(0.85, 0, 10)))
    left.set_xlabel("parameters outside of the embedding")
    right.set(xlabel="tokens trained on", ylabel=None)
    losses = [row["loss_nats"] for row in seen]
    title = f"Larger models and more text: {max(losses):.2f} to {min(losses):.2f} nats"
    if row := found["held_out"]:
        left.plot(row["parameters"], row["loss_nats"], "*", color="#d55e00", markersize=13, zorder=4)
        if best := chosen(found):
            off = found["guesses"][best][0] / row["loss_nats"] - 1
            title += f"; the star, which no fit saw, is predicted to {abs(off):.1%}"
    figure.suptitle(title)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def valleys(path, found, plt):
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    best = []
    for (c, points), colour in zip(found["slices"].items(), plt.cm.viridis(np.linspace(0.85, 0, len(found["slices"])))):
        n, _, loss = np.array(points).T
        x = np.linspace(np.log(n[0]), np.log(n[-1]), 50)
        left.plot(n, loss, "o", color=colour, markersize=4, label=f"{c:.1e}")
        left.plot(np.exp(x), np.polyval(np.polyfit(np.log(n), loss, 2), x), color=colour, linewidth=1)
        best.append((c, *np.exp(valley(points))))
    left.set(xscale="log", xlabel="parameters outside of the embedding", ylabel="held-out loss, nats a token")
    left.legend(frameon=False, fontsize=8, title="operations", title_fontsize=8)
    c, n, d = np.array(best).T
    for y, marker, name in ((n, "o", "parameters N"), (d, "s", "tokens D")):
        slope = found["values"]["IsoFLOP"][name[-1]]
        right.plot(c, y, marker, color="#0072b2" if name[-1] == "N" else "#d55e00",
                   label=f"{name}: exponent {slope[0]:.2f} ({slope[1]:.2f} to {slope[2]:.2f})")
        right.plot(c, np.exp(np.polyval(np.polyfit(np.log(c), np.log(y), 1), np.log(c))), color="grey", linewidth=1)
    right.set(xscale="log", yscale="log", xlabel="operations of the training", ylabel="count where the loss is lowest")
    right.legend(frameon=False, fontsize=9)
    for ax in (left, right):
        ax.grid(alpha=0.3)
        ax.xaxis.set_minor_formatter("")
    a = found["values"]["IsoFLOP"]["N"][0]
    figure.suptitle(f"Ten times the compute is best spent on a model {10 ** a:.1f} times as large")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw(folder, rows, found):
    """Writes the pictures; returns their paths."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    made = [folder / "laws.png"]
    laws(made[0], rows, found, plt)
    if found["values"]["IsoFLOP"]:
        made.append(folder / "valleys.png")
        valleys(made[1], found, plt)
    return made
