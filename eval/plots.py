"""
The report's plots as inline SVG that follows the page's colours, light or dark.

matplotlib draws in four colours that stand for the page's CSS variables; svg() puts the variables
in their place. Text stays text, so the page's font is used and a reader can select it.
"""

import io
import re

from eval.tables import SCORES

INK, MUTED, LINE = "#010101", "#020202", "#030303"
SERIES = "#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04"
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line"} | {c: f"--series{i}" for i, c in enumerate(SERIES)}
STYLE = {"svg.fonttype": "none", "font.size": 10, "font.family": "sans-serif", "text.color": INK,
         "axes.edgecolor": LINE, "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
         "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": LINE,
         "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False, "lines.linewidth": 1.6}


def svg(figure, label):
    """The figure as one <svg> element as wide as its place on the page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.03)
    text = re.sub(r"<metadata>.*?</metadata>", "", text.getvalue(), flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg"):])
    text = re.sub(r'<svg .*?viewBox="([^"]*)".*?>', rf'<svg viewBox="\1" role="img" aria-label="{label}">', text,
                  count=1, flags=re.DOTALL)
    text = re.sub(r"font: (\d+)px [^;\"]*", r"font-size: \1px", text)
    return re.sub("|".join(VARIABLES), lambda m: f"var({VARIABLES[m[0]]})", text)


def draw_scores(ax, report):
    """Each named score as a dot with its standard error, beside the mark of chance."""
    rows = [(name, report["details"][key]) for key, name, _ in SCORES if key in report["details"]][::-1]
    for y, (name, x) in enumerate(rows):
        ax.errorbar(100 * x["value"], y, xerr=100 * x["stderr"], fmt="o", color=SERIES[0], capsize=3)
        ax.plot(100 * (x["chance"] or 0), y, "|", color=MUTED, markersize=9, markeredgewidth=2)
        if x.get("majority"):
            ax.plot(100 * x["majority"], y, "|", color=SERIES[1], markersize=9, markeredgewidth=2)
        ax.text(-1, y + 0.28, name, fontsize=9, color=INK)
    bars = "grey bar: chance, orange: majority" if any(x.get("majority") for _, x in rows) else "bar: chance"
    ax.set(xlim=(-2, 103), ylim=(-0.5, len(rows) - 0.3), xlabel=f"% right (dot, with standard error; {bars})")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    clear = sum(x["value"] - (x["chance"] or 0) > 2 * x["stderr"] for _, x in rows)
    return f"{clear} of {len(rows)} scores lie more than two standard errors above chance"


def draw_curves(ax, logs, column, unit, factor=1.0):
    """One line a stage over the minutes trained in all, stage after stage; returns each line's values."""
    start, seen = 0.0, {}
    for colour, (name, log) in zip(SERIES, logs.items()):
        points = [(start + s / 60, y * factor) for s, y in zip(log["seconds"], log[column]) if y is not None]
        ax.plot(*zip(*points), color=colour, label=name)
        seen[name] = [y for _, y in points]
        if column == "loss_nats":
            held_out = zip(log["seconds"], log.get("valid_loss_nats", []))
            valid = [(start + s / 60, y) for s, y in held_out if y is not None]
            ax.plot(*zip(*valid) if valid else ([], []), "o", color=INK, markersize=3, zorder=3)
        start += log["seconds"][-1] / 60
    ax.set(xlabel="minutes of training", ylabel=unit, ylim=(0, None))
    ax.legend(loc="best", fontsize=9)
    return seen


def draw_scaling(ax, metrics):
    """Loss over parameters, a line for each amount of text, and the larger model that was predicted."""
    rows = metrics["scaling"]
    for colour, tokens in zip(SERIES, sorted({row["tokens"] for row in rows})[-len(SERIES):]):
        line = sorted((r["parameters"], r["loss_nats"]) for r in rows if r["tokens"] == tokens and not r["held_out"])
        ax.plot(*zip(*line), "o-", color=colour, markersize=3, linewidth=1, label=f"{tokens / 1e6:g}M tokens")
    for row in rows:
        if row["held_out"]:
            ax.plot(row["parameters"], row["loss_nats"], "*", color=INK, markersize=9, label="not fitted")
    ax.set(xscale="log", xlabel="parameters outside of the embedding", ylabel="loss, nats a token")
    ax.legend(loc="best", fontsize=8)
    error = metrics["numbers"].get("extrapolation_error")
    predicted = "" if error is None else f"; the law predicts the one not fitted to {error:.1%}"
    return f"Loss falls with parameters and with text{predicted}"


def draw(report, logs):
    """[(what it shows, svg)], or ImportError where matplotlib is missing."""
    import matplotlib.pyplot as plt
    order = [stage["name"] for stage in report["stages"]]
    logs = {name: log for name, log in logs.items() if log and any(x is not None for x in log["loss_nats"])}
    logs = {name: logs[name] for name in sorted(logs, key=lambda n: (order.index(n) if n in order else len(order), n))}
    plots = []

    def panel(draw_on):
        with plt.rc_context({**STYLE, "svg.hashsalt": str(len(plots))}):
            figure, ax = plt.subplots(figsize=(4.6, 2.7))
            finding = draw_on(ax)
            plots.append((finding, svg(figure, finding)))
            plt.close(figure)

    def loss(ax):
        seen = draw_curves(ax, logs, "loss_nats", "loss, nats a token")
        falls = (f"in {name} from {y[0]:.2f} to {y[-1]:.2f}" for name, y in seen.items())
        return f"Loss falls {', '.join(falls)} nats a token (dots: validation)"

    def rate(ax):
        seen = draw_curves(ax, logs, "tokens_per_second", "thousand tokens a second", 1e-3)
        rates = sorted(y for some in seen.values() for y in some)
        return f"Training reads {1000 * rates[len(rates) // 2]:,.0f} tokens a second in the median"

    def memory(ax):
        seen = draw_curves(ax, logs, "peak_memory_bytes", "peak memory, GB", 1e-9)
        return f"Training peaks at {max(map(max, seen.values())):.2f} GB"

    if any(key in report["details"] for key, _, _ in SCORES):
        panel(lambda ax: draw_scores(ax, report))
    if logs:
        for draw_on in (loss, rate, memory):
            panel(draw_on)
    if report["beside"].get("scaling", {}).get("scaling"):
        panel(lambda ax: draw_scaling(ax, report["beside"]["scaling"]))
    return plots
