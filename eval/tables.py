"""
The report's words: the finding, its tables as rows of text, and the whole of report.md.
"""

import re

# key in report.json, its name for people, the least it should be
SCORES = [
    ("gsm8k_tiny", "TinyWorld arithmetic (GSM8K's form, synthetic)", 0.97),
    ("gsm8k_tiny_unseen", "TinyWorld arithmetic, skeletons never in train", 0.85),
    ("gsm8k_tiny_no_tool", "TinyWorld arithmetic without the calculator", None),
    ("science_choice", "Four-choice science", 0.95),
    ("gsm8k_first200", "GSM8K, first 200 test questions", None),
    ("gsm8k_first200_no_tool", "GSM8K, first 200, without the calculator", None),
]
VARIANTS = {"lenient": "last number counts", "reply": "by what it replies",
            "shown": "by likelihood, choices shown", "letter": "by likelihood of the letter",
            "text": "by likelihood, question alone", "length": "by likelihood per character, question alone",
            "without_near_duplicates": "no near duplicates of training",
            "without_overlap": "nothing that overlaps with training"}
SCORE_HEAD = "score", "value", "error", "items", "chance", "target"
BESIDE_HEAD = "measured beside the run", "finding"
FICTION_HEAD = "bits per byte of", "model", "floor", "over it", "over it, with the end"


def label(key):
    """What people call a score: the name of its key, or that of the key it is a variant of."""
    names = {key: name for key, name, _ in SCORES}
    if key in names:
        return names[key]
    if found := re.fullmatch(r"(.+)_pass_at_(\d+)", key):
        return f"{label(found[1])}: pass@{found[2]}"
    for variant, words in VARIANTS.items():
        if key.endswith(f"_{variant}"):
            return f"{label(key.removesuffix(f'_{variant}'))}: {words}"
    return key.replace("_", " ")


def percent(x):
    return "–" if x is None else f"{x:.1%}"


def duration(seconds):
    minutes, rest = divmod(round(seconds), 60)
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes} min {rest:02d} s"


def size(n_bytes):
    return "–" if n_bytes is None else f"{n_bytes / 1e9:.2f} GB"


def title(report):
    """The finding, in one sentence, from whatever this run has measured."""
    s, n, found = report["scores"], report["numbers"], []
    arithmetic = "gsm8k_first200" if s["gsm8k_tiny"] is None else "gsm8k_tiny"
    if s[arithmetic] is not None:
        found.append(f"solves {percent(s[arithmetic])} of {label(arithmetic)}")
    if s["science_choice"] is not None:
        found.append(f"picks {percent(s['science_choice'])} of science answers right")
    if "fiction_over_floor" in n:
        found.append(f"writes fiction {n['fiction_over_floor'] - 1:.1%} above the entropy of its world")
    if "fiction_below_ngram" in n:
        found.append(f"needs {n['fiction_below_ngram']:.1%} fewer bits per byte than an n-gram")
    *most, last = found or ["is trained, and no score is measured yet"]
    return f"A model that {', '.join(most)}{' and ' if most else ''}{last}, after {duration(report['total_seconds'])}"


def machine(report):
    return ", ".join(f"{key} {value}" for key, value in report["environment"].items() if value is not None)


def score_rows(report):
    """The rows below SCORE_HEAD: each score with a name, then every other one."""
    least = {key: least for key, _, least in SCORES}
    named = [key for key in least if key in report["details"]]
    for key in named + [key for key in report["details"] if key not in least]:
        x, want = report["details"][key], least.get(key)
        target = "" if want is None else f"{want:.0%} {'reached' if x['value'] >= want else 'missed'}"
        majority = f", majority {percent(x['majority'])}" if x.get("majority") else ""
        yield (label(key), percent(x["value"]), f"± {percent(x['stderr'])}", f"{x['n']:,}",
               percent(x.get("chance")) + majority, target)


def fiction_rows(report):
    """The rows below FICTION_HEAD."""
    n = report["numbers"]
    for key, name in (("fiction", "held-out stories"), ("fiction_heldout", "held-out combinations")):
        if f"{key}_bits_per_byte" not in n:
            continue
        beside = "–", "–", "–"
        if f"{key}_over_floor" in n:
            beside = (f"{n[f'{key}_floor_bits_per_byte']:.4f}", f"{n[f'{key}_over_floor'] - 1:+.1%}",
                      f"{n[f'{key}_with_end_over_floor'] - 1:+.1%}")
        yield name, f"{n[f'{key}_bits_per_byte']:.4f} ± {n[f'{key}_bits_per_byte_stderr'] or 0:.4f}", *beside
    if "ngram_bits_per_byte" in n:
        yield "held-out stories, by an n-gram", f"{n['ngram_bits_per_byte']:.4f}", "–", "–", "–"


def scaling_finding(n):
    """What a sweep has found, from the numbers of eval/scaling.py; of a sweep too small for fits, less."""
    found = []
    if "extrapolation_error" in n:
        found.append(f"the larger model that no fit saw loses {n['held_out_loss_nats']:.3f} nats, as predicted to "
                     f"within {percent(n['extrapolation_error'])}")
    if "IsoFLOP_N" in n:
        found.append(f"at equal compute the best model grows as compute to the {n['IsoFLOP_N']:.2f} "
                     f"({n['IsoFLOP_N_low']:.2f} to {n['IsoFLOP_N_high']:.2f})")
    if "kaplan_alpha" in n:
        found.append(f"Kaplan's exponent of the size is {n['kaplan_alpha']:.3f} (published 0.076)")
    return "; ".join(found) or "runs, but too few for a law"


def beside_rows(report):
    """The rows below BESIDE_HEAD: what scaling, baselines and contamination say, where they have been run."""
    measured = report["beside"]
    if "scaling" in measured:
        yield "scaling laws", scaling_finding(measured["scaling"]["numbers"])
    if "baseline" in measured:
        bits = {key.removesuffix("_bits_per_byte"): x for key, x in measured["baseline"]["numbers"].items()
                if key.endswith("_bits_per_byte")}
        yield "equal compute, bits per byte", ", ".join(
            f"{name.replace('_', '-')} {x:.3f}" for name, x in sorted(bits.items(), key=lambda pair: -pair[1]))
    for row in measured.get("contamination", {}).get("contamination", []):
        text = (f"{row['near_duplicates']:,} of {row['items']:,} are near duplicates of training text, "
                f"{row['overlapping']:,} share {row['words']} words in a row")
        for task, (whole, _, clean) in row["scores"].items():
            text += f"; {label(task)} {percent(whole['value'])}, without those {percent(clean and clean['value'])}"
        yield f"contamination of {row['test'].replace('_', ' ')}", text


def ledger_head(report):
    return "canaries", "at first", *(f"after {entry['stage']}" for entry in report["ledger"])


def ledger_rows(report):
    """One row a kind: passed before the first stage, and after each stage with the change in points."""
    for kind, first in report["ledger"][0]["before"].items():
        cells = []
        for entry in report["ledger"]:
            change = entry["difference"][kind]
            cells.append(f"{percent(entry['after'][kind]['value'])} "
                         f"({100 * change['value']:+.1f} ± {100 * (change['stderr'] or 0):.1f})")
        yield kind, percent(first["value"]), *cells


def stage_rows(report):
    for stage in report["stages"]:
        yield stage["name"], duration(stage["seconds"]), size(stage["peak_memory_bytes"])
    yield "all", duration(report["total_seconds"]), size(report["peak_memory_bytes"])


def number_rows(report):
    for stage, numbers in report["stage_numbers"].items():
        for key, x in numbers.items():
            if isinstance(x, (int, float)):
                yield f"{stage}: {key.replace('_', ' ')}", f"{x:,}" if isinstance(x, int) else f"{x:.6g}"


def table(head, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def markdown(report):
    parts = [f"# {title(report)}", f"Run `{report['run']}`: {machine(report)}.",
             "## Scores", table(SCORE_HEAD, score_rows(report))]
    if fiction := list(fiction_rows(report)):
        parts.append(table(FICTION_HEAD, fiction))
    if beside := list(beside_rows(report)):
        parts.append(table(BESIDE_HEAD, beside))
    if report["ledger"]:
        parts += ["## What each stage gained and what it cost",
                  "Share of canaries passed, and the change in points with its paired standard error.",
                  table(ledger_head(report), ledger_rows(report))]
    parts += ["## Time and memory", table(("stage", "time", "peak memory"), stage_rows(report)),
              "## Every other number", table(("stage and number", "value"), number_rows(report)),
              "## The command of every number",
              "\n".join(f"- {folder}: `{command}`" for folder, command in report["commands"].items())]
    return "\n\n".join(parts) + "\n"
