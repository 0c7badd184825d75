"""
Word problems in GSM8K's form, answered greedily, with the calculator and without.

    python eval/gsm8k.py --checkpoint out/tinyworld/model --data out/tinyworld/corpus
    python eval/gsm8k.py --checkpoint out/tinyworld/model --data test.jsonl --name gsm8k_first200 --limit 200

A corpus folder means its arithmetic_test.jsonl, with and without the calculator, and
arithmetic_unseen.jsonl; one without unseen skeletons holds GSM8K itself, of which the first 200 are
asked. The question is the user's message. An answer is right if its number equals the reference's
(Cobbe et al. 2021, https://arxiv.org/abs/2110.14168), read in two ways: strict, after ####, which is
the score; lenient, the last number anywhere, which forgives the form. On the embedded corpus this is
TinyWorld arithmetic (GSM8K's form, synthetic), not GSM8K.

Without the calculator the engine writes nothing: after a call the model has to write the result
itself, between <RESULT> and </RESULT>, and whatever number it writes there stands.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import time
from pathlib import Path

from bpe.template import parse_reply, render, text_of
from eval.check import lenient, strict
from eval.inputs import in_corpus, load_model, read_jsonl, sha256, write_answers
from eval.tables import label
from gpt.engine import generate
from gpt.tools import TOOLS
from bpe.record import score
from train.log import write_metrics


def solve(model, tokenizer, items, max_new, tools):
    """
    A row {question, answer, reply, ended, passed, lenient} for each item, `reply` as parts. A question
    that fills the context gets no reply and is wrong.
    """
    prompts = [render([{"role": "user", "content": i["question"]}], tokenizer, for_reply=True)[0] for i in items]
    fits = [len(prompt) < model.config.context for prompt in prompts]
    replies = iter(generate(model, tokenizer, [p for p, fit in zip(prompts, fits) if fit], max_new, tools=tools))
    rows = []
    for item, fit in zip(items, fits):
        reply = next(replies) if fit else None
        parts = parse_reply(reply.ids, tokenizer) if fit else []
        want, text = strict(item["answer"]), text_of(parts)
        rows.append({"question": item["question"], "answer": str(want), "reply": parts,
                     "ended": fit and reply.finished == "end", "passed": strict(text) == want,
                     "lenient": lenient(text) == want})
    return rows


def plan(args):
    """[(key of the score, file, tools)] of what the arguments ask for, and how many questions of each file."""
    name, unseen, limit, no_tool = args.name, args.unseen, args.limit, args.no_tool
    test = in_corpus(args.data, "arithmetic_test.jsonl")
    if args.data.is_dir():
        unseen, no_tool = args.data / "arithmetic_unseen.jsonl", True
        if not unseen.exists():
            name, unseen, limit = "gsm8k_first200", None, min(limit or 200, 200)
    runs = [(name, test, TOOLS)]
    runs += [(f"{name}_unseen", unseen, TOOLS)] if unseen else []
    runs += [(f"{name}_no_tool", test, None)] if no_tool else []
    return runs, limit


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, required=True, help="run, step folder or model file")
    p.add_argument("--data", type=Path, required=True, help="corpus folder, or jsonl of question and answer")
    p.add_argument("--unseen", type=Path, help="a second file, scored as NAME_unseen")
    p.add_argument("--no-tool", action="store_true", help="also without the calculator, scored as NAME_no_tool")
    p.add_argument("--name", default="gsm8k_tiny", help="key of the score [%(default)s]")
    p.add_argument("--limit", type=int, help="questions of each file [all]")
    p.add_argument("--max-new", type=int, default=160, help="tokens of an answer at most [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/eval/gsm8k"), help="folder [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args, start = parse(argv), time.time()
    runs, limit = plan(args)
    items = {path: read_jsonl(path, "question", "answer")[:limit] for _, path, _ in runs}
    for path, some in items.items():
        for number, item in enumerate(some, 1):
            if strict(item["answer"]) is None:
                sys.exit(f"{path}, record {number}: the answer has no line '#### number'. Mend or remove it")
    model, tokenizer, info = load_model(args.checkpoint)
    print("chance is 0%: no guess hits a number")
    scores, answers = {}, []
    for name, path, tools in runs:
        rows = solve(model, tokenizer, items[path], args.max_new, tools)
        answers += [{"task": name, **row} for row in rows]
        for key, column in ((name, "passed"), (f"{name}_lenient", "lenient")):
            scores[key] = score(sum(row[column] for row in rows), len(rows), 0.0)
        print(f"{label(name)}: {scores[name]['value']:.1%} ± {scores[name]['stderr']:.1%} of {len(rows):,}, "
              f"leniently {scores[name + '_lenient']['value']:.1%} | {time.time() - start:.0f} s")
    write_metrics(args.out, checkpoint=info["hash"], data_sha=sha256(*items), seconds=time.time() - start,
                  scores=scores)
    write_answers(args.out, answers)
    print(f"wrote {args.out}/metrics.json, answers.jsonl; next: python eval/report.py --run {args.out.parent}")


if __name__ == "__main__":
    main()
