"""
Three pictures of a stream, for continual/train.py:

    matrices.png   loss on each domain after each task, a matrix a method
    front.png      what is learned against what is forgotten: every trial of the sweep, and the chosen ones
    curves.png     the first domain's loss on the way: what a look at the end of each task would miss
"""

import json
import math

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from continual import transfer

FAMILIES = {  # colour-blind safe (Okabe and Ito); a family of methods has one colour
    "#555555": ("frozen", "naive", "joint", "single", "fresh"),
    "#0072b2": ("replay_1", "replay_5", "replay_25", "rewarm", "der", "self_replay"),
    "#d55e00": ("ewc", "online_ewc", "distill", "self_distill", "interpolate"),
    "#009e73": ("lora_per_task", "lora_oracle", "olora", "merging")}
MARKERS = "osD^vP*X<>"


def look(name):
    """(colour, marker) of a method."""
    return next(((colour, MARKERS[names.index(name)]) for colour, names in FAMILIES.items() if name in names),
                ("#cc79a7", "o"))


def matrices(path, runs, order):
    """runs: {method: one run}"""
    columns = min(5, len(runs))
    rows = math.ceil(len(runs) / columns)
    n = len(order)
    figure, axes = plt.subplots(rows, columns, figsize=(1.2 + columns * (0.75 + 0.5 * n), 1 + rows * (0.9 + 0.42 * n)),
                                squeeze=False, layout="constrained")
    for axis in axes.flat[len(runs):]:
        axis.axis("off")
    highest = max(np.max(run["losses"]) for run in runs.values())
    for axis, (name, run) in zip(axes.flat, runs.items()):
        L = np.array(run["losses"])
        axis.imshow(np.log(L), cmap="viridis_r", vmin=math.log(0.8), vmax=math.log(highest), aspect="auto")
        for i in range(n):
            for j in range(n):
                axis.text(j, i, f"{L[i, j]:.2f}", ha="center", va="center", fontsize=8,
                          color="white" if L[i, j] > 2.5 else "black", fontweight="bold" if i == j else "normal")
        axis.set_title(name, fontsize=9)
        first = axis is axes[axes == axis][0] and list(axes.flat).index(axis) % columns == 0
        axis.set_xticks(range(n), [word[:9] for word in order], fontsize=7, rotation=45 if n > 3 else 0)
        axis.set_yticks(range(n), [f"after {word[:9]}" for word in order] if first else [], fontsize=7)
    figure.suptitle("Loss on each domain (columns) after each task (rows), nats per token: dark is forgotten, or not "
                    "yet learned", fontsize=11)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def front(path, judged, sweep):
    """judged: {method: [numbers of a seed]};  sweep: a file of {method: [(gain, forgetting) of a trial]}, or no file"""
    trials = json.loads(sweep.read_text()) if sweep.exists() else {}
    figure, axes = plt.subplots(1, 1 + bool(trials), figsize=(6.5 * (1 + bool(trials)) + 1.5, 5.4), squeeze=False,
                                layout="constrained", sharey=True)
    for name, points in trials.items():
        colour, marker = look(name)
        points = sorted((max(lost, 0), gained) for gained, lost in points)
        axes[0, 0].plot(*zip(*[(100 * lost, 100 * gained) for lost, gained in points]), marker=marker, color=colour,
                        markersize=5, linewidth=1, alpha=0.75)
    axis = axes[0, -1]
    for name, seeds in judged.items():
        colour, marker = look(name)
        lost, gained = (transfer.interval([100 * seed[key] for seed in seeds]) for key in ("forgetting", "gain"))
        finite = len(seeds) > 1
        axis.errorbar(max(lost[0], 0), gained[0], xerr=lost[1] if finite else None, yerr=gained[1] if finite else None,
                      color=colour, marker=marker, markersize=7, linestyle="", elinewidth=0.8, label=name)
    for axis in axes.flat:
        axis.set_xscale("symlog", linthresh=1)
        axis.axvspan(0, 3, color="#009e73", alpha=0.07)
        axis.axhline(95, color="#888888", linewidth=0.8, linestyle=":")
        axis.set(xlabel="largest rise of an earlier domain's loss, % (log scale above 1)", xlim=(-0.3, None))
        axis.grid(alpha=0.25)
    lowest = min([seed["gain"] for seeds in judged.values() for seed in seeds] + [0.8])
    axes[0, 0].set(ylabel="learned: % of the gain of fine-tuning", ylim=(max(-5, 100 * lowest - 5), 106))
    if trials:
        axes[0, 0].set_title("Every trial: tuning texts, another order, one seed")
    axes[0, -1].set_title("The chosen ones: test texts, mean and 95% interval")
    axes[0, -1].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.suptitle("Upper left is what one wants: learned as fine-tuning does, nothing forgotten")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def curves(path, runs, order):
    """runs: {method: one run}"""
    figure, axis = plt.subplots(figsize=(9, 5.2), layout="constrained")
    ends, steps = [], next(iter(runs.values()))["steps"]
    for name, run in runs.items():
        if name not in ("single", "fresh"):
            at, losses = transfer.columns(run["curve"])
            colour, _ = look(name)
            axis.plot(at, losses[:, 0], color=colour, linewidth=1.1, alpha=0.85)
            ends.append((losses[-1, 0], name, colour))
    for k, name in enumerate(order[1:]):
        axis.axvline(k * steps, color="#888888", linewidth=0.8, linestyle=":")
        axis.text((k + 0.5) * steps, 1.01, name, transform=axis.get_xaxis_transform(), ha="center", fontsize=9)
    axis.set_yscale("log")
    bottom, top = axis.get_ylim()
    ticks = [tick for tick in plt.MaxNLocator(7).tick_values(bottom, top) if bottom < tick < top]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    low, high = math.log(bottom), math.log(top)
    place = low                                              # labels at the right end, pushed apart
    for value, name, colour in sorted(ends):
        place = max(place + (high - low) / 34, math.log(value))
        axis.annotate(name, (at[-1], value), xytext=(1.03, (place - low) / (high - low)), textcoords=axis.transAxes,
                      fontsize=8, color=colour, va="center", arrowprops=dict(arrowstyle="-", color=colour, alpha=0.4,
                                                                              linewidth=0.6))
    axis.set(xlabel="step", ylabel=f"loss on {order[0]}, nats per token (log scale)", xlim=(0, at[-1]))
    axis.set_title(f"What is left of {order[0]} while other things are learned", pad=20)
    axis.grid(alpha=0.25)
    figure.savefig(path, dpi=130)
    plt.close(figure)
