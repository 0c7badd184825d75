"""
Canaries: one suite of old skills, asked before and after every stage that changes weights.

    python eval/canaries.py --checkpoint out/tinyworld/model --data out/tinyworld/corpus

About a thousand prompts with checkable answers (eval/check.py) in six kinds: story, science, code,
arithmetic with the calculator, format, chat. A seventh figure, `ends`, is the share of answers that
end by themselves. A stage asks the same questions twice, greedily:

    before = canaries.measure(model, tokenizer, items)
    ...                                                        # train
    after = canaries.measure(model, tokenizer, items)
    write_metrics(..., canaries=canaries.block(before, after)) # the report's ledger reads it
    write_answers(out, after["answers"])                       # eval/inputs.py; the report shows some

The questions are the same, so the error of the difference is that of the paired differences, which
is far below that of two separate scores.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import time
from pathlib import Path

from bpe.template import parse_reply, render
from eval.check import passes_all
from eval.inputs import in_corpus, load_model, read_jsonl, sha256, write_answers
from gpt.engine import generate
from gpt.tools import TOOLS
from train.log import write_metrics

MAX_NEW = 224  # tokens; the longest right answer, a story of twelve sentences, takes about 200


def mean(values):
    """{"value", "n", "stderr"} of numbers, with the sample's own spread."""
    n, m = len(values), sum(values) / len(values)
    spread = sum((x - m) ** 2 for x in values)
    return {"value": m, "n": n, "stderr": math.sqrt(spread / (n - 1) / n) if n > 1 else None}


def measure(model, tokenizer, items):
    """
    The suite's scores {kind: {"value", "n", "stderr"}, ..., "ends": ..., "all": ...} and, under
    "answers", the row {task, question, reply, ended, passed} of every item, in order.
    """
    prompts = [render(item["messages"], tokenizer, for_reply=True)[0] for item in items]
    replies = generate(model, tokenizer, prompts, MAX_NEW, tools=TOOLS)
    contents = [parse_reply(reply.ids, tokenizer) for reply in replies]
    passed = passes_all([item["check"] for item in items], contents)
    rows = [{"task": item["kind"], "question": item["messages"][-1]["content"], "reply": content,
             "ended": reply.finished == "end", "passed": ok}
            for item, reply, content, ok in zip(items, replies, contents, passed)]
    scores = {name: mean([row[key] for row in some]) for name, key, some in groups(rows)}
    return {**scores, "answers": rows}


def groups(rows):
    """(name of the score, the row's key that it counts, its rows), kind by kind, then `ends` and `all`."""
    for kind in sorted({row["task"] for row in rows}):
        yield kind, "passed", [row for row in rows if row["task"] == kind]
    yield "ends", "ended", rows
    yield "all", "passed", rows


def block(before, after):
    """
    What a stage did to the suite: {"before": scores, "after": scores, "difference": scores}, the
    difference with its paired standard error. before, after: two results of measure() on the same items
    """
    difference = {}
    for (name, key, a), (_, _, b) in zip(groups(before["answers"]), groups(after["answers"])):
        difference[name] = mean([y[key] - x[key] for x, y in zip(a, b, strict=True)])
    scores = [{name: x for name, x in result.items() if name != "answers"} for result in (before, after)]
    return {"before": scores[0], "after": scores[1], "difference": difference}


def show(scores):
    """One line: each kind and its share of passed checks."""
    return " | ".join(f"{name} {x['value']:.1%}" for name, x in scores.items() if name != "answers")


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, required=True, help="run, step folder or model file")
    p.add_argument("--data", type=Path, required=True, help="corpus folder, or its canaries.jsonl")
    p.add_argument("--limit", type=int, help="canaries, every so-many-th of the file [all]")
    p.add_argument("--out", type=Path, default=Path("out/eval/canaries"), help="folder [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args, start = parse(argv), time.time()
    path = in_corpus(args.data, "canaries.jsonl")
    if not path.exists():
        print(f"no {path}: this corpus has no canaries, so nothing is measured and the score is null")
        return write_metrics(args.out)
    items = read_jsonl(path, "messages", "check", "kind")
    items = items[::max(1, len(items) // (args.limit or len(items)))][:args.limit]    # of every kind
    model, tokenizer, info = load_model(args.checkpoint)
    print(f"{len(items):,} canaries; a model that has learned nothing passes about none of them")
    scores = measure(model, tokenizer, items)
    answers = scores.pop("answers")
    print(show(scores))
    write_metrics(args.out, checkpoint=info["hash"], data_sha=sha256(path), seconds=time.time() - start,
                  scores={f"canaries_{name}": x | {"chance": None} for name, x in scores.items()})
    write_answers(args.out, answers)
    print(f"wrote {args.out}/metrics.json, answers.jsonl; next: python eval/report.py --run {args.out.parent}")


if __name__ == "__main__":
    main()
