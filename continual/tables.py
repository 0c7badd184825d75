"""
From the runs of continual/learn.py to tables: what each method learned, what it forgot, what it cost; and whether the
targets are met, by the bad end of the 95% interval.
"""

import math

from continual import transfer

REFERENCES = "frozen", "joint", "single", "fresh"                # no methods, but what methods are held against
SEVERAL = "lora_per_task", "lora_oracle"                         # more than one set of weights

# column of the table -> (key, factor, digits)
LEARNED = {"gain %": ("gain", 100, 1), "forgets %": ("forgetting", 100, 1), "at worst %": ("worst", 100, 0),
           "mean loss": ("average_loss_nats", 1, 3), "accuracy %": ("average_accuracy", 100, 1),
           "backward %": ("backward_transfer", 100, 1), "forward %": ("forward_transfer", 100, 1),
           "intransig.": ("intransigence_nats", 1, 3), "KL": ("kl_first_domain_nats", 1, 3),
           "steps": ("steps_to_fresh", 1, 0)}
COST = {"10^12 FLOPs": ("flops", 1e-12, 1), "trained": ("trained_parameters", 1e-3, 0),
        "kept kB": ("stored_bytes", 1e-3, 0), "inference x": ("inference", 1, 2), "seconds": ("seconds", 1, 0)}
LEGEND = """gain: of fine-tuning's at its best rate, just after each task; forgets: largest relative rise of an earlier
domain's loss; at worst: the same at any time on the way; mean loss, accuracy: over all domains at the end; backward,
forward transfer: of accuracy; intransig.: nats above a model that learned the task alone; KL: from the base, on its own
domain; steps: until a task's loss is what a fresh model ends at, mean over tasks; trained: thousands of weights"""


def judge(run, tuned, single, fresh, vocabulary):
    """One run in numbers; tuned, single, fresh: the runs of those methods with the same seed, order and boundaries."""
    L, curve, steps = run["losses"], run["curve"], run["steps"]
    needed = [transfer.steps_to(curve, steps, k, transfer.at_end(fresh["curve"], steps, k)) or steps
              for k in range(1, len(L))]
    return {"gain": transfer.gain(L, tuned["losses"]),
            "forgetting": transfer.forgetting(L),
            "first_domain_rise_nats": L[-1][0] - L[0][0],
            "worst": transfer.worst(curve, steps),
            "stability_gap_nats": transfer.gap(curve, steps),
            "average_loss_nats": transfer.average_accuracy(L),
            "average_accuracy": transfer.average_accuracy(run["accuracies"]),
            "backward_transfer": transfer.backward_transfer(run["accuracies"]),
            "forward_transfer": transfer.forward_transfer(run["accuracies"], 1 / vocabulary),
            "intransigence_nats": transfer.intransigence(L, single["losses"]),
            "kl_first_domain_nats": run["kl"][0],
            "steps_to_fresh": sum(needed) / len(needed),
            **{key: run[key] for key in ("flops", "trained_parameters", "stored_bytes", "inference", "seconds")},
            **{key: value for key, value in (run["report"] or {}).items() if isinstance(value, (int, float))}}


def table(judged, columns):
    """Lines: a method each, mean and half the 95% interval of each column. judged: {method: [numbers of a seed]}"""
    head = f"{'':14}" + "".join(f"{name:>15}" for name in columns)
    lines = [head, "-" * len(head)]
    for name, seeds in judged.items():
        cells = []
        for key, factor, digits in columns.values():
            mean, half = transfer.interval([factor * numbers[key] for numbers in seeds])
            spread = f" ±{half:.{digits}f}" if math.isfinite(half) and columns is LEARNED else ""
            cells.append(f"{f'{mean:.{digits}f}{spread}':>15}")
        lines.append(f"{name:14}" + "".join(cells))
    return lines


def every_seed(judged):
    """Lines: gain and forgetting of every single seed."""
    return [f"{name:14} gain % " + " ".join(f"{100 * n['gain']:6.1f}" for n in seeds)
            + "   forgets % " + " ".join(f"{100 * n['forgetting']:7.1f}" for n in seeds)
            for name, seeds in judged.items()]


def bounds(seeds, key):
    """(lower, upper) end of the 95% interval."""
    mean, half = transfer.interval([numbers[key] for numbers in seeds])
    return mean - half, mean + half


def verdicts(judged):
    """Lines: each target, met or missed, by the bad end of the interval. What was not run is left out."""
    lines, one_model = [], []
    if "naive" in judged:
        times = math.exp(min(n["first_domain_rise_nats"] for n in judged["naive"]))
        lines.append(f"naive: perplexity of the first domain times {times:.1f} at least (must be 2)  {met(times >= 2)}")
    for name, seeds in judged.items():
        if name not in REFERENCES + SEVERAL and len(seeds) > 1:
            low, high = bounds(seeds, "gain")[0], bounds(seeds, "forgetting")[1]
            one_model.append((low < 0.95, high, low, name))
    if one_model:
        short, high, low, name = min(one_model)
        lines.append(f"one set of weights, best: {name} forgets at most {high:.1%} (target 3%) at a gain of at least "
                     f"{low:.1%} (target 95%)  {met(not short and high <= 0.03)}")
    if len(seeds := judged.get("lora_per_task", [])) > 1:
        high, low = bounds(seeds, "forgetting")[1], bounds(seeds, "gain")[0]
        lines.append(f"LoRA-per-task, routed: forgets at most {high:.2%} (target 1%), gain at least {low:.1%} (target "
                     f"97%)  {met(high <= 0.01 and low >= 0.97)}")
    return lines


def met(whether):
    return "met" if whether else "MISSED"
