"""
Teach the model that serves: a lesson goes in, is trained beside it, measured, and served or turned down.

    python continual/live.py --teach lesson.txt              # a fact a line, or Q: and A:; see continual/lesson.py
    python continual/live.py --teach lesson.txt --from "the call of Tuesday"      # where it was said
    python continual/live.py --list                          # versions, lessons, what each was taught from
    python continual/live.py --rollback 3                    # serve version 3 again, byte for byte; 0 is the base
    python continual/live.py --forget 3f2a                   # one lesson, its text and weights; the others stay

A chat that is running takes up the new version between two answers. Until the last line is written, a kill at any
instant leaves the served version as it was: everything is made beside it, and one rename decides.

    1  doubts     noise, wrong sums, what the base knows better: refused before any work (continual/doubts.py)
    2  teach      an adapter on the frozen base, with the base's own replies among the lesson's (continual/teach.py)
    3  gate       the lesson in other wordings; about 1,000 old questions, against the present and the first version
    4  store      a version: the list of lessons, one longer (continual/versions.py)

Everything is computed in one thread and at low priority, so that chat goes on, and so that a lesson gives the same
bytes on a machine with any number of cores.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import textwrap
import time
from pathlib import Path
from typing import NamedTuple

import torch

from bpe.template import text_of
from continual.doubts import doubts
from continual.gate import Gate, compare, judge, sets, suite
from continual.lesson import expand, read
from continual.served import Served
from continual.teach import own_replies, teach
from continual.versions import Store, StoreError
from eval import canaries
from eval.inputs import load_model, write_answers
from lora.peft_format import base_hash
from train.log import write_metrics

NEAR = 120  # of the lesson's questions about other names, which the base answers for replay


def start(checkpoint, data, out, limit=None, cache=None):
    """
    (Served, Gate) of a checkpoint, its corpus and the folder of its lessons; exits with one line if one is amiss.
    limit: old questions of each set at most;  cache: folder of the base's replies [in out]
    """
    if not (Path(data) / "canaries.jsonl").exists():
        sys.exit(f"no {data}/canaries.jsonl: without old questions nothing can be gated. DATA=tinyworld bash run.sh")
    model, tokenizer, _ = load_model(checkpoint)
    served = Served(model, tokenizer, Store(out, base_hash(model), data))
    return served, Gate(served, sets(data, limit), cache or Path(out) / "cache")


# ----------------------------------------------------------------------------
# one lesson

class Outcome(NamedTuple):
    accepted: bool
    reasons: list        # one line each
    scores: dict
    before: list         # rows of the gate's questions: of the version that served, and of what serves now
    after: list
    checked: list        # rows of the lesson's own questions
    version: object      # that serves now


def say(line):
    print(line, flush=True)                                  # while it goes on, into a file or a pipe too


def learn(served, gate, lesson, conversation="", report=say):
    """
    Teach a lesson (continual/lesson.py), if nothing speaks against it, and serve it; the Outcome. StoreError if it is
    taught already, or if another one is being written. conversation: where it is from, kept with it
    """
    model, tokenizer, store = served.base, served.tokenizer, served.store
    with store.writing():
        if lesson.id in served.version.lessons:
            raise StoreError(f"lesson {lesson.id} is taught already, since version {store.since(lesson.id)}")
        report(f"lesson {lesson.id}: {len(lesson.facts)} facts of {lesson.source}; it serves after version "
               f"{served.version.number}, if it does")
        reasons, scores = doubts(served, lesson, store.words()["counts"].keys())
        if reasons:
            return Outcome(False, reasons, {"refused_by": "doubts", **scores}, [], [], [], served.version)
        expansion = expand(lesson)
        near = [[{"role": "user", "content": question}] for question in expansion.near[:NEAR]]
        own = own_replies(model, tokenizer, gate.sets.replay, gate.cache) + own_replies(model, tokenizer, near)
        report(f"training on {len(expansion.train)} conversations, and on {len(own)} replies of the base's own")
        start = time.time()
        weights = teach(model, tokenizer, expansion.train, own, seed=int(lesson.id, 16) % 2**31, report=report)
        scores |= {"train_seconds": time.time() - start}
        before, _ = gate.rows("gate")
        with served.trial(lesson, weights):
            checked = gate.check(expansion.check)
            after, routed = gate.rows("gate")
            audit, audit_routed = gate.rows("audit")
        verdict = judge(gate.base("gate"), before, after, checked)
        scores |= {**verdict.scores, "audit": compare(gate.base("audit"), audit), "routed": routed,
                   "audit_routed": audit_routed}
        if not verdict.accepted:
            scores["refused_by"] = "recall" if verdict.reasons[0].startswith("not learned") else "canaries"
            return Outcome(False, verdict.reasons, scores, before, before, checked, served.version)
        provenance = {"file": lesson.source, "conversation": conversation, "seconds": time.time() - start}
        store.add(lesson, weights, expansion, scores, provenance)
        served.update()
        return Outcome(True, [], scores, before, after, checked, served.version)


# ----------------------------------------------------------------------------
# what a person reads

def told(outcome, lesson, width=100):
    """The Outcome in words: before and after, and what it cost."""
    lines, shown, scores = [], {}, outcome.scores
    for row in outcome.checked:                              # one question of each fact, a right reply if there is one
        if row["fact"] not in shown or row["passed"] > shown[row["fact"]]["passed"]:
            shown[row["fact"]] = row
    for row in list(shown.values())[:8]:
        before, now = (textwrap.shorten(text_of(row[key]), width - 12, placeholder=" ...")
                       for key in ("before", "reply"))
        lines += [textwrap.shorten(row["question"], width), f"    before  {before}",
                  f"    {'now  ' if outcome.accepted else 'tried'}   {now}" + ("" if row["passed"] else "   (wrong)")]
    if outcome.checked:
        lines.append(f"\nlearned     {scores['recall']:.0%} of {scores['checked']} questions, in wordings that it was "
                     "not trained on")
    for name, against in ("first", "the base"), ("previous", "the version before"), ("audit", "the base, by the audit"):
        if name in scores:
            x = scores[name]["all"]
            lines.append(f"old skills  {x['lost']} of {x['n']} questions lost, {x['won']} won against {against}: "
                         f"down by at most {100 * x['upper']:.1f} points (95%)")
    if outcome.accepted:
        version = outcome.version
        lines.append(f"served      as version {version.number}, lessons: {len(version.lessons)}; to undo it: "
                     f"--rollback {version.parent}, or --forget {lesson.id[:4]}")
    else:
        lines += [f"refused     {reason}" for reason in outcome.reasons]
        lines.append(f"unchanged   version {outcome.version.number} goes on serving")
    return "\n".join(lines)


def history(store):
    """The versions, a line each, and below the lessons of the one that serves."""
    served, lines = store.current(), []
    for version, gone in store.history():
        mark = "*" if version.number == served.number else " "
        note = f"   (cannot be served again: {', '.join(gone)} is forgotten)" if gone else ""
        lines.append(f"{mark} {version.number:3d}  {version.when or '-':20}  {len(version.lessons):3d} lessons  "
                     f"{version.what}{note}")
    for id in served.lessons:
        kept = store.record(id)
        facts, recall = kept["facts"], (kept["scores"] or {}).get("recall", float("nan"))
        source = ", ".join(filter(None, (kept["source"], (kept["provenance"] or {}).get("conversation"))))
        first = textwrap.shorten(" ".join(facts[0]).strip(), 50, placeholder=" ...")
        lines.append(f"      {id}  {len(facts):3d} facts, {recall:.0%} learned, from {source}: {first}")
    return "\n".join(lines)


# ----------------------------------------------------------------------------

def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--teach", type=Path, metavar="FILE", help="a lesson: .txt or .jsonl")
    what.add_argument("--list", action="store_true", help="versions and lessons")
    what.add_argument("--rollback", type=int, metavar="N", help="serve version N again")
    what.add_argument("--forget", metavar="ID", help="forget a lesson; the first letters of its id are enough")
    p.add_argument("--from", dest="conversation", default="", help="the conversation it is from: kept with the lesson")
    p.add_argument("--checkpoint", type=Path, default=Path("out/tinyworld/model"), help="what serves [%(default)s]")
    p.add_argument("--data", type=Path, default=Path("out/tinyworld/corpus"), help="its corpus [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/tinyworld/live"), help="folder of its lessons [%(default)s]")
    p.add_argument("--metrics", type=Path, help="folder for metrics.json and answers.jsonl (not known to --forget)")
    p.add_argument("--renew", action="store_true", help="for run.sh: lessons of another model are put aside, a lesson "
                   "that is taught already is measured again")
    p.add_argument("--limit", type=int, help="old questions of each set, to see that it runs [all]")
    return p.parse_args(argv)


def record(folder, outcome, lesson, gate, seconds):
    """metrics.json and answers.jsonl, for the report."""
    numbers = {key: x for key, x in outcome.scores.items() if isinstance(x, (int, float))}
    block = canaries.block(suite(outcome.before), suite(outcome.after)) if outcome.before else None
    write_metrics(folder, checkpoint=gate.hash, seconds=seconds, canaries=block,
                  numbers={"accepted": int(outcome.accepted), "facts": len(lesson.facts), **numbers})
    write_answers(folder, [{key: row[key] for key in ("task", "question", "reply", "ended", "passed")}
                           for row in outcome.checked])


def change(args):
    """--list, --rollback and --forget: they need the model's hash alone."""
    model, _, _ = load_model(args.checkpoint)
    store = Store(args.out, base_hash(model), args.data)
    if args.rollback is not None:
        store.rollback(args.rollback)
    if args.forget is not None:
        store.forget(args.forget)
    print(history(store))


def put_aside(args):
    """Give the folder of another model's lessons another name; nothing is deleted."""
    try:
        Store(args.out, base_hash(load_model(args.checkpoint)[0]))
    except StoreError as error:
        aside = args.out.with_name(f"{args.out.name}_{time.strftime('%Y%m%d_%H%M%S')}")
        args.out.rename(aside)
        print(f"{error}\nThey are now in {aside}")


def measured(served, gate, lesson):
    """The Outcome of a lesson that is served already."""
    rows = {name: gate.rows(name)[0] for name in ("gate", "audit")}
    checked = gate.check(expand(lesson).check)
    scores = judge(gate.base("gate"), rows["gate"], rows["gate"], checked).scores
    scores["audit"] = compare(gate.base("audit"), rows["audit"])
    return Outcome(True, [], scores, gate.base("gate"), rows["gate"], checked, served.version)


def main(argv=None):
    args, begun = parse(argv), time.time()
    try:
        lesson = read(args.teach) if args.teach else None
    except ValueError as error:
        sys.exit(str(error))
    try:
        if not lesson:
            return change(args)
        torch.set_num_threads(1)
        os.nice(10)
        if args.renew:
            put_aside(args)
        served, gate = start(args.checkpoint, args.data, args.out, args.limit)
        known = args.renew and lesson.id in served.version.lessons
        outcome = measured(served, gate, lesson) if known else learn(served, gate, lesson, args.conversation)
    except StoreError as error:
        sys.exit(str(error))
    print("\n" + told(outcome, lesson))
    if args.metrics:
        record(args.metrics, outcome, lesson, gate, time.time() - begun)


if __name__ == "__main__":
    main()
