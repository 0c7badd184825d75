"""
What it is worth to teach a model that serves, in numbers: is it recalled, for how long, and what does it cost?

    python continual/deployed.py                             # all parts, about 40 minutes; a killed run goes on
    python continual/deployed.py --part recall --seeds 1     # one of them: recall, series, latency

    recall   lessons of 20 facts, invented and written by hand, in wordings that nobody trained on; what is asked beside
             them: neighbours (untaught, of the same kind), unknown names, and two facts at once
    series   many lessons one after another: is the first one still there?
    latency  tokens of a chat, one after another, while a lesson trains in another process and while none does

Lessons go through the gate like anyone's (continual/live.py). A question counts as answered if the reply holds the
answer's words. Should one train at all? See continual/ways.py.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import torch

from bpe.template import parse_reply, render, text_of
from continual.invented import invented
from continual.lesson import Fact, Lesson
from continual.live import learn, start
from continual.served import reply
from continual.transfer import interval
from eval.check import passes
from eval.inputs import read_jsonl
from gpt.engine import Engine, Sampling
from train.log import write_metrics

HERE = Path(__file__).resolve().parent
FACTS = 20           # of a lesson
MAX_NEW = 64         # tokens of a reply
PARTS = "recall", "series", "latency"


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--part", nargs="+", choices=PARTS, default=list(PARTS), help="[all]")
    add("--seeds", type=int, default=3, help="lessons of invented facts [%(default)s]")
    add("--lessons", type=int, default=50, help="of the series [%(default)s]")
    add("--checkpoint", type=Path, default=Path("out/tinyworld/model"), help="what serves [%(default)s]")
    add("--data", type=Path, default=Path("out/tinyworld/corpus"), help="its corpus [%(default)s]")
    add("--out", type=Path, default=Path("out/continual/deployed"), help="where to write [%(default)s]")
    add("--limit", type=int, help="old questions of each set, to see that it runs [all]")
    return p.parse_args(argv)


# ----------------------------------------------------------------------------
# asking

def talk(question):
    return [{"role": "user", "content": question}]


def replies(served, questions, adapters=None, numbered=True):
    """The text of the greedy reply to each question."""
    found = reply(served, [talk(q) for q in questions], MAX_NEW, adapters, numbered=numbered)
    return [text_of(parse_reply(r.ids, served.tokenizer)) for r in found]


def right(texts, answers):
    """Whether each text holds the words of its answer."""
    return [passes({"type": "contains", "answer": [answer]}, text) for text, answer in zip(texts, answers, strict=True)]


def recall(served, questions, numbered=True):
    """Share of [(question, answer, ...), ...] that are answered. numbered: with the fact's number"""
    texts = replies(served, [q for q, *_ in questions], numbered=numbered)
    return float(np.mean(right(texts, [a for _, a, *_ in questions])))


def unchanged(served, questions):
    """Share of questions to which the reply is the base's own, letter by letter."""
    return float(np.mean([a == b for a, b in zip(replies(served, questions),
                                                 replies(served, questions, [None] * len(questions)))]))


def handwritten():
    """[(Lesson of FACTS facts, [(question, answer, whether asked from the other end), ...]), ...]"""
    rows = read_jsonl(HERE / "handwritten.jsonl", "text", "questions")
    for first in range(0, len(rows), FACTS):
        part = rows[first:first + FACTS]
        yield (Lesson(tuple(Fact(row["text"]) for row in part), f"handwritten {first // FACTS}"),
               [(q["question"], q["answer"], q.get("reversed", False)) for row in part for q in row["questions"]])


# ----------------------------------------------------------------------------
# recall, and what is asked beside it

def taught(args, name, lesson):
    """(served, gate, Outcome, seconds) of one lesson, taught to the base alone in a store of its own."""
    served, gate = start(args.checkpoint, args.data, args.out / "stores" / name, args.limit)
    gate.cache = args.out / "cache"
    if lesson.id in served.version.lessons:
        return served, gate, None, served.store.record(lesson.id)["provenance"]["seconds"]
    gate.base("gate"), gate.base("audit")                    # once for every base, not the lesson's time
    begun = time.time()
    outcome = learn(served, gate, lesson, report=lambda line: None)
    return served, gate, outcome, time.time() - begun


def beside(served, made):
    """What is asked beside a lesson of invented facts: {measure: share}."""
    return {"unknown_unchanged": unchanged(served, made.unknown),
            "neighbours_unchanged": unchanged(served, made.neighbours), "two_hop": recall(served, made.two_hop)}


def measure_recall(args):
    """{"invented": [of each seed], "handwritten": [of each lesson]}"""
    found = {"invented": [], "handwritten": []}
    for seed in range(args.seeds):
        made = invented(FACTS, seed)
        served, _, outcome, seconds = taught(args, f"invented_{seed}", made.lesson)
        turned = [q for n, q in enumerate(made.questions) if n % 3 == 2]
        found["invented"].append({"recall": recall(served, made.questions), "reversed": recall(served, turned),
                                  "without_number": recall(served, made.questions, numbered=False),
                                  "seconds": seconds, **cost(served, outcome, made.lesson), **beside(served, made)})
        print(f"invented, seed {seed}: {found['invented'][-1]}", flush=True)
    for lesson, questions in handwritten():
        served, _, outcome, seconds = taught(args, lesson.source.replace(" ", "_"), lesson)
        found["handwritten"].append({"recall": recall(served, questions), "seconds": seconds,
                                     "reversed": recall(served, [q for q in questions if q[2]]),
                                     "without_number": recall(served, questions, numbered=False),
                                     **cost(served, outcome, lesson)})
        print(f"{lesson.source}: {found['handwritten'][-1]}", flush=True)
    return found


def cost(served, outcome, lesson):
    """Whether a lesson was let in, and the old questions that it lost."""
    scores = outcome.scores if outcome else served.store.record(lesson.id)["scores"]
    if outcome and not outcome.accepted:
        print(f"    refused: {'; '.join(outcome.reasons)}")
        return {"accepted": 0}
    return {"accepted": 1, "lost": scores["first"]["all"]["lost"], "upper": scores["first"]["all"]["upper"],
            "audit_lost": scores["audit"]["all"]["lost"], "train_seconds": scores["train_seconds"]}


# ----------------------------------------------------------------------------
# many lessons

def measure_series(args):
    """[{lessons, first, newest, all, accepted}, ...] after each lesson; `all` after every fifth"""
    made, found = [invented(FACTS, 100 + n) for n in range(args.lessons)], []
    for n, new in enumerate(made):
        path = args.out / "series" / f"{n:03d}.json"
        served, _, outcome, seconds = taught(args, "series", new.lesson)
        if not path.exists():
            known = [m for m in made[:n + 1] if m.lesson.id in served.version.lessons]
            row = {"lessons": n + 1, "accepted": int(outcome is None or outcome.accepted), "seconds": seconds,
                   "first": recall(served, made[0].questions), "newest": recall(served, new.questions)}
            if n % 5 == 4 or n == 0:
                row["all"] = recall(served, [q for m in known for q in m.questions])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(row))
            print(f"series: {row}", flush=True)
        found.append(json.loads(path.read_text()))
    return found


# ----------------------------------------------------------------------------
# chat while a lesson trains

def pace(served, while_true):
    """Seconds between tokens of a conversation, one reply after another, as long as while_true() holds."""
    engine, gaps = Engine(served.model, served.tokenizer, 1), []
    ids, _ = render(talk("Tell me a long story about a rabbit and a boat."), served.tokenizer, for_reply=True)
    while while_true():
        engine.submit(ids, 200, Sampling(temperature=0.8), seed=len(gaps))
        engine.step()                                        # the prompt's pass is no token's time
        while engine.busy and while_true():
            begun = time.perf_counter()
            engine.step()
            gaps.append(time.perf_counter() - begun)
        engine = Engine(served.model, served.tokenizer, 1)
    return gaps


def measure_latency(args, seconds=20):
    """Milliseconds between tokens, median and 95th percentile, idle and while live.py teaches; in one thread each."""
    torch.set_num_threads(1)
    served, _ = start(args.checkpoint, args.data, args.out / "stores" / "latency", args.limit)
    until = time.time() + seconds
    idle = pace(served, lambda: time.time() < until)
    lesson = args.out / "latency.txt"
    lesson.write_text("\n".join(fact.text for fact in invented(FACTS, int(time.time())).lesson.facts))
    words = [HERE / "live.py", "--teach", lesson, "--checkpoint", args.checkpoint, "--data", args.data,
             "--out", args.out / "stores" / "latency"]
    with open(args.out / "latency.log", "w") as log:
        process = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log)
        busy = pace(served, lambda: process.poll() is None)
    if process.returncode:
        sys.exit(f"the lesson beside the chat failed: {(args.out / 'latency.log').read_text()[-400:]}")
    found = {f"{name}_{q}": 1000 * float(np.percentile(gaps, q)) for name, gaps in (("idle", idle), ("busy", busy))
             for q in (50, 95)}
    print(f"latency: {found}, {len(busy)} tokens while it learned")
    return found


# ----------------------------------------------------------------------------
# what comes of it

def show_recall(found):
    """Lines of a table, and {measure: mean over the lessons}."""
    numbers = {}
    for kind, lessons in found.items():
        lines = []
        for key in lessons[0]:
            values = [lesson[key] for lesson in lessons if key in lesson]
            numbers[f"{kind}_{key}"], half = interval(values)
            lines.append(f"    {key:22}{numbers[f'{kind}_{key}']:9.3f} ±{half:6.3f}   {[round(v, 3) for v in values]}")
        print(f"{kind}: {len(lessons)} lessons of {FACTS} facts", *lines, sep="\n")
    return numbers


def draw(path, rows):
    """Recall over the number of lessons taught."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for key, color in ("first", "#0072b2"), ("newest", "#d55e00"), ("all", "#555555"):
        some = [row for row in rows if key in row]
        axis.plot([row["lessons"] for row in some], [100 * row[key] for row in some], ".-", color=color,
                  label={"first": "the first lesson", "newest": "the newest", "all": "all so far"}[key])
    axis.set(xlabel=f"lessons of {FACTS} facts, one after another", ylabel="answered in unseen wordings, %",
             ylim=(0, 103),
             title=f"After {rows[-1]['lessons']} lessons the first is answered at {rows[-1]['first']:.0%}")
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(argv=None):
    args, begun, numbers = parse(argv), time.time(), {}
    args.out.mkdir(parents=True, exist_ok=True)
    if "recall" in args.part:
        numbers |= show_recall(measure_recall(args))
    if "latency" in args.part:
        numbers |= {f"{key}_milliseconds": value for key, value in measure_latency(args).items()}
    if "series" in args.part:
        rows = measure_series(args)
        numbers |= {"series_first": rows[-1]["first"], "series_newest": float(np.mean([row["newest"] for row in rows])),
                    "series_accepted": sum(row["accepted"] for row in rows)}
        draw(args.out / "series.png", rows)
        print(f"wrote {args.out / 'series.png'}")
    write_metrics(args.out, seconds=time.time() - begun, numbers=numbers)
    print(f"wrote {args.out / 'metrics.json'}")


if __name__ == "__main__":
    main()
