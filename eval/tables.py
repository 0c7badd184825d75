"""
The report's words: the finding, its tables as rows of text, and the whole of report.md.
"""

# key in report.json, its name for people, the least it should be
SCORES = [
    ("gsm8k_tiny", "TinyWorld arithmetic (GSM8K's form, synthetic)", 0.97),
    ("gsm8k_tiny_unseen", "TinyWorld arithmetic, skeletons never in train", 0.85),
    ("gsm8k_tiny_no_tool", "TinyWorld arithmetic without the calculator", None),
    ("science_choice", "Four-choice science", 0.95),
    ("gsm8k_first200", "GSM8K, first 200 test questions", None),
]
SCORE_HEAD = "score", "value", "error", "items", "chance", "target"
FICTION_HEAD = "bits per byte of", "model", "floor", "over it", "over it, with the end"


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
    if s["gsm8k_tiny"] is not None:
        found.append(f"solves {percent(s['gsm8k_tiny'])} of TinyWorld's word problems")
    if s["gsm8k_first200"] is not None and s["gsm8k_tiny"] is None:
        found.append(f"solves {percent(s['gsm8k_first200'])} of GSM8K's first 200")
    if s["science_choice"] is not None:
        found.append(f"picks {percent(s['science_choice'])} of science answers right")
    if "fiction_over_floor" in n:
        found.append(f"writes fiction {n['fiction_over_floor'] - 1:.1%} above the entropy of its world")
    if "fiction_below_ngram" in n:
        found.append(f"needs {n['fiction_below_ngram']:.1%} fewer bits per byte than an n-gram")
    *most, last = found or ["is trained, and no score is measured yet"]
    return f"A model that {', '.join(most)}{' and ' if most else ''}{last}, after {duration(report['total_seconds'])}"


def score_rows(report):
    """(name, value, error, items, chance, target) as text, for each score with a name, then every other one."""
    named = {key: (name, least) for key, name, least in SCORES}
    keys = [key for key in named if key in report["details"]]
    for key in keys + [key for key in report["details"] if key not in named]:
        x, (name, least) = report["details"][key], named.get(key, (key, None))
        target = "" if least is None else f"{least:.0%} {'reached' if x['value'] >= least else 'missed'}"
        yield name, percent(x["value"]), f"± {percent(x['stderr'])}", f"{x['n']:,}", percent(x.get("chance")), target


def fiction_rows(report):
    """(what, bits per byte, floor, over the floor, over the floor with the text's end) as text."""
    n = report["numbers"]
    for key, name in (("fiction", "held-out stories"), ("fiction_heldout", "held-out combinations")):
        if f"{key}_bits_per_byte" in n:
            floor = f"{key}_floor_bits_per_byte" in n
            yield (name, f"{n[f'{key}_bits_per_byte']:.4f} ± {n[f'{key}_bits_per_byte_stderr'] or 0:.4f}",
                   *((f"{n[f'{key}_floor_bits_per_byte']:.4f}", f"{n[f'{key}_over_floor'] - 1:+.1%}",
                      f"{n[f'{key}_with_end_over_floor'] - 1:+.1%}") if floor else ("–", "–", "–")))
    if "ngram_bits_per_byte" in n:
        yield "held-out stories, n-gram", f"{n['ngram_bits_per_byte']:.4f}", "–", "–", "–"


def ledger_rows(report):
    """One row a stage: its name and, for each kind, "after (difference ± error)"."""
    kinds = list(report["ledger"][0]["after"]) if report["ledger"] else []
    yield "stage", *kinds
    for entry in report["ledger"]:
        cells = []
        for kind in kinds:
            change = entry["difference"][kind]
            cells.append(f"{percent(entry['after'][kind]['value'])} "
                         f"({100 * change['value']:+.1f} ± {100 * (change['stderr'] or 0):.1f})")
        yield entry["stage"], *cells


def table(head, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def markdown(report):
    stages = [(s["name"], duration(s["seconds"]), size(s["peak_memory_bytes"])) for s in report["stages"]]
    stages.append(("all", duration(report["total_seconds"]), size(report["peak_memory_bytes"])))
    parts = [f"# {title(report)}", f"Run `{report['run']}`. "
             + ", ".join(f"{key} {value}" for key, value in report["environment"].items() if value is not None) + ".",
             "## Scores", table(SCORE_HEAD, score_rows(report))]
    if fiction := list(fiction_rows(report)):
        parts.append(table(FICTION_HEAD, fiction))
    if report["ledger"]:
        head, *rows = ledger_rows(report)
        parts += ["## What each stage gained and what it cost",
                  "Share of canaries passed after the stage, and the change in points with its paired standard error.",
                  table(head, rows)]
    parts += ["## Time and memory", table(("stage", "time", "peak memory"), stages), "## The command of every number",
              "\n".join(f"- {folder}: `{command}`" for folder, command in report["commands"].items())]
    return "\n\n".join(parts) + "\n"
