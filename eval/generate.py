"""
Any jsonl of prompts with a checker: what does the model write, and is it right?

    python eval/generate.py --checkpoint out/tinyworld/model --data out/tinyworld/corpus/canaries.jsonl --name canaries
    python eval/generate.py --checkpoint RUN --data HumanEval.jsonl --name humaneval --form plain --samples 20 --k 1 10

    {"prompt": "2+2?", "check": {"type": "number", "answer": "4"}}                    checks: eval/check.py
    {"messages": [...], "check": {...}}                                               a conversation
    {"task_id": "…", "prompt": "def f(x):…", "entry_point": "f", "test": "def check(candidate):…"}   HumanEval's

HumanEval's code runs in eval/sandbox.py, with limits on time and memory, no files and no network. Its tests are
assertions that run beside the code they judge (Chen et al. 2021: https://arxiv.org/abs/2107.03374), so a program
made to deceive could pass; one that a small model wrote does not. In a plain text the prompt is continued up to the
next top-level statement, section 2.2 there; in a chat the program is the reply's fenced block.

With --samples n the score is pass@1, the mean share of right samples, and each pass@k of --k stands beside it. A
killed run goes on after the prompts it has finished.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bpe.template import parse_reply, render, text_of
from eval import sandbox
from eval.canaries import mean
from eval.check import passes
from eval.inputs import load_model, read_jsonl, resume, settings, sha256, unfinished, write_answers
from eval.tables import label
from gpt.engine import generate
from gpt.sampling import Sampling
from gpt.tools import TOOLS
from train.log import write_metrics

STOPS = re.compile(r"\n(?=class |def |#|if |print|@|```)")   # where a continued function is over
KINDS = "exact", "number", "contains", "choice", "story", "code"


def pass_at_k(n, c, k):
    """
    The chance that of k samples at least one is right, estimated without bias from n of which c are:
    1 - C(n - c, k) / C(n, k). Chen et al. 2021, eq. 1: https://arxiv.org/abs/2107.03374
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be told from {n} samples")
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def pass_scores(name, counts, samples, ks, chance=0.0):
    """{name: pass@1, name_pass_at_k: ...} of how many of its samples each example has right."""
    values = {name if k == 1 else f"{name}_pass_at_{k}": [pass_at_k(samples, c, k) for c in counts]
              for k in sorted({1, *ks})}
    return {key: mean(some) | {"chance": chance} for key, some in values.items()}


def several(write, prompts, samples, context):
    """`samples` replies to each prompt, none to one that fills the context. write(prompts): a reply to each"""
    replies = iter(write([ids for ids in prompts if len(ids) < context for _ in range(samples)]))
    return [[next(replies) for _ in range(samples)] if len(ids) < context else [] for ids in prompts]


def drawing(args, first):
    """How samples are drawn, for generate(): prompt number `first` draws the same in whatever batch it stands."""
    if not args.temperature:
        return {}
    return {"sampling": Sampling(args.temperature), "seed": args.seed + first * args.samples}


def humaneval(item, text, form):
    """Whether the code that a model wrote for an item of HumanEval passes its test."""
    if form == "plain":
        source = item["prompt"] + STOPS.split(text)[0]
    else:
        fenced = re.search(r"```(?:python)?\n(.*?)(?:```|$)", text, re.DOTALL)
        source = fenced[1] if fenced else text
        source = source if f"def {item['entry_point']}" in source else item["prompt"] + source
    judge = f"\n{item['test']}\n\ndef passed():\n    check({item['entry_point']})\n    return 'passed'\n"
    return sandbox.run(source + judge, "passed", [[]]) == ["passed"]


def right(item, content, form):
    """Whether a reply, as parts, is right."""
    return humaneval(item, text_of(content), form) if "entry_point" in item else passes(item["check"], content)


def ask(item, tokenizer, form):
    """The ids up to where the reply begins."""
    if form == "plain":
        return [tokenizer.specials["<|bos|>"], *tokenizer.encode(item["prompt"])]
    return render(item.get("messages") or [{"role": "user", "content": item["prompt"]}], tokenizer, for_reply=True)[0]


def answer(model, tokenizer, items, first, args):
    """A row {task, question, reply, ended, passed, right} for each item: the first sample's, and how many are right."""
    def write(prompts):
        return generate(model, tokenizer, prompts, args.max_new, tools=TOOLS if args.form == "chat" else None,
                        **drawing(args, first))

    replies = several(write, [ask(item, tokenizer, args.form) for item in items], args.samples, model.config.context)
    contents = [[parse_reply(reply.ids, tokenizer) for reply in some] for some in replies]
    pairs = [(item, content) for item, some in zip(items, contents) for content in some]
    with ThreadPoolExecutor(os.cpu_count()) as pool:         # the processes that code runs in go side by side
        verdicts = iter(list(pool.map(lambda pair: right(*pair, args.form), pairs)))
    rows = []
    for item, some, said in zip(items, replies, contents):
        passed = [next(verdicts) for _ in said]
        question = item["prompt"] if "prompt" in item else item["messages"][-1]["content"]
        rows.append({"task": args.name, "question": question, "reply": said[0] if said else [],
                     "ended": bool(some) and some[0].finished == "end", "passed": passed[:1] == [True],
                     "right": sum(passed)})
    return rows


def read(path, form):
    """The file's items; exits naming the line of one that cannot be asked or judged."""
    items = read_jsonl(path)
    for number, item in enumerate(items, 1):
        problem = None
        if not isinstance(item, dict) or not ("prompt" in item or "messages" in item and form == "chat"):
            problem = "has no 'prompt'" + (" or 'messages'" if form == "chat" else "")
        elif "entry_point" in item:
            problem = None if "test" in item else "has an 'entry_point' and no 'test'"
        elif not isinstance(check := item.get("check"), dict) or "answer" not in check:
            problem = "has no 'check' with a type and an answer"
        elif check.get("type") not in KINDS:
            problem = f"has a check of type {check.get('type')!r}; there are {', '.join(KINDS)}"
        if problem:
            sys.exit(f"{path}, line {number} {problem}. Mend or remove that line")
    return items


def add_sampling(p):
    """The arguments of pass@k, which eval/gsm8k.py has too."""
    p.add_argument("--samples", type=int, default=1, help="replies to each prompt [%(default)s]")
    p.add_argument("--k", type=int, nargs="+", default=[], help="pass@k to report besides pass@1 [none]")
    p.add_argument("--temperature", type=float, help="of the sampling [0, greedy; with several samples 0.8]")
    p.add_argument("--seed", type=int, default=0, help="of the sampling [%(default)s]")


def check_sampling(p, args):
    if args.samples < 1 or not all(1 <= k <= args.samples for k in args.k):
        p.error(f"--k {' '.join(map(str, args.k))} needs as many --samples, and there are {args.samples}")
    args.temperature = (0.0 if args.samples == 1 else 0.8) if args.temperature is None else args.temperature
    if args.samples > 1 and not args.temperature:
        p.error("several samples at temperature 0 are all the same: give --temperature")
    return args


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, required=True, help="run, step folder or model file")
    p.add_argument("--data", type=Path, required=True, help="jsonl of prompts with checks, or of HumanEval's form")
    p.add_argument("--name", default="generate", help="key of the score [%(default)s]")
    p.add_argument("--form", choices=("chat", "plain"), default="chat", 
                   help="a message, or a text that goes on [%(default)s]")
    p.add_argument("--limit", type=int, help="prompts [all]")
    p.add_argument("--max-new", type=int, default=224, help="tokens of a reply at most [%(default)s]")
    add_sampling(p)
    p.add_argument("--out", type=Path, default=Path("out/eval/generate"), help="folder [%(default)s]")
    return check_sampling(p, p.parse_args(argv))


def main(argv=None):
    args, start = parse(argv), time.time()
    items = read(args.data, args.form)[:args.limit]
    model, tokenizer, info = load_model(args.checkpoint)
    kinds = Counter(item["check"]["type"] if "check" in item else "HumanEval" for item in items)
    print(f"{len(items):,} prompts ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}), "
          f"{args.samples} samples each; who knows nothing gets about none right")
    kept = unfinished(args.out, args.name)
    rows = resume(kept, settings(args, info, args.data), items,
                  lambda some, first: answer(model, tokenizer, some, first, args), batch=128)
    scores = pass_scores(args.name, [row["right"] for row in rows], args.samples, args.k, chance=None)
    for key, x in scores.items():
        print(f"{label(key)}: {x['value']:.1%} ± {x['stderr'] or 0:.1%} of {x['n']:,}")
    write_metrics(args.out, checkpoint=info["hash"], data_sha=sha256(args.data), seed=args.seed,
                  seconds=time.time() - start, scores=scores)
    write_answers(args.out, rows)
    kept.unlink()
    print(f"wrote {args.out}/metrics.json, answers.jsonl; next: python eval/report.py --run {args.out.parent}")


if __name__ == "__main__":
    main()
