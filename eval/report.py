"""
One report of a run: report.json for machines, report.md and report.html for people.

    python eval/report.py --run out/tinyworld                  # writes out/tinyworld/report.*
    python eval/report.py --run out/tinyworld --out out        # the same into another folder

It reads what the stages left in the folders of the run and nothing else: done.json (time, memory),
metrics.json (numbers, scores, canaries), log.csv (curves), answers.jsonl (samples); and, of what is measured beside a
run, eval/scaling.py, eval/baseline.py and eval/contamination.py, their metrics.json in the run or in out/eval. What has
not been measured is null in report.json and left out of the pages. The plots need matplotlib.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import csv
import json
import shlex
from pathlib import Path

from eval import page, tables

ALWAYS = "gsm8k_tiny", "gsm8k_tiny_no_tool", "gsm8k_first200", "science_choice"
BESIDE = "scaling", "baseline", "contamination"
FICTION = "fiction_bits_per_byte", "fiction_floor_bits_per_byte"


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        sys.exit(f"{path} is no JSON: {error}. Remove {path.parent} and run again: bash run.sh")


def read_log(path):
    """Columns of a log.csv: {name: [number or None, ...]}"""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) if row[name] else None for row in rows] for name in (rows[0] if rows else [])}


def read_answers(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def beside(run):
    """{name: metrics.json} of BESIDE, from the run's own folder of that name or from eval/ beside the run."""
    paths = {name: [run / name / "metrics.json", run.parent / "eval" / name / "metrics.json"] for name in BESIDE}
    return {name: read_json(path) for name, some in paths.items() for path in some[::-1] if path.exists()}


def command(metrics):
    return shlex.join(["python", metrics["script"], *metrics["argv"]])


def gather(run):
    """Everything the report says, as one dict; folders in the order in which their stages finished."""
    stages = sorted((read_json(path) for path in run.glob("*/done.json")), key=lambda stage: stage["finished"])
    order = {stage["name"]: i for i, stage in enumerate(stages)}
    paths = sorted(run.glob("*/metrics.json"), key=lambda p: (order.get(p.parent.name, len(order)), p.parent.name))
    if not paths:
        sys.exit(f"no metrics.json in the folders of {run}. Run the stages first: bash run.sh")
    metrics, others = {path.parent.name: read_json(path) for path in paths}, beside(run)
    details, numbers = {}, {}
    for folder, m in metrics.items():
        details |= {key: {**x, "folder": folder} for key, x in m["scores"].items() if x}
        numbers |= m["numbers"]
    peaks = [x["peak_memory_bytes"] for x in (*stages, *metrics.values()) if x.get("peak_memory_bytes")]
    return {
        "schema": 1, "run": run.name,
        "total_seconds": sum(stage["seconds"] for stage in stages),
        "peak_memory_bytes": max(peaks, default=None),
        "stages": [{key: stage.get(key) for key in ("name", "seconds", "peak_memory_bytes")} for stage in stages],
        "scores": {**dict.fromkeys(ALWAYS), **{key: x["value"] for key, x in details.items()},
                   **{key: numbers.get(key) for key in FICTION}},
        "details": details, "numbers": numbers,
        "stage_numbers": {folder: m["numbers"] for folder, m in metrics.items() if m["numbers"]},
        "ledger": [{"stage": folder, **m["canaries"]} for folder, m in metrics.items() if m.get("canaries")],
        "beside": others, "commands": {folder: command(m) for folder, m in (metrics | others).items()},
        "environment": list(metrics.values())[-1]["environment"]}


def samples(run, each=2):
    """Saved answers by task: `each` that passed and `each` that did not, from all over the file."""
    tasks = {}
    for path in sorted(run.glob("*/answers.jsonl")):
        for row in read_answers(path):
            tasks.setdefault(row["task"], {True: [], False: []})[row["passed"]].append(row)
    return {task: [row for rows in by.values() for row in rows[::max(1, len(rows) // each)][:each]]
            for task, by in tasks.items()}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run", type=Path, default=Path("out/tinyworld"), help="folder of the run's stages [%(default)s]")
    p.add_argument("--out", type=Path, nargs="+", help="folders to write the three files into [the run's]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    report = gather(args.run)
    logs = {path.parent.name: read_log(path) for path in args.run.glob("*/log.csv")}
    html = page.render(report, logs, samples(args.run))
    for out in args.out or [args.run]:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
        (out / "report.md").write_text(tables.markdown(report), encoding="utf-8")
        (out / "report.html").write_text(html, encoding="utf-8")
        print(f"wrote {out}/report.md, report.html and report.json")
    print(tables.title(report))


if __name__ == "__main__":
    main()
