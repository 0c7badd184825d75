"""
Word problems in GSM8K's form, with the calculator and without, answered once or several times.

    python eval/gsm8k.py --checkpoint out/tinyworld/model --data out/tinyworld/corpus
    python eval/gsm8k.py --checkpoint out/tinyworld/model --data test.jsonl --name gsm8k_first200 --limit 200
    python eval/gsm8k.py --checkpoint RUN --data test.jsonl --samples 8 --k 4 8                  # pass@1, 4 and 8
    python eval/gsm8k.py --checkpoint RUN --data test.jsonl --form plain --shots 5 --shots-from train.jsonl

A corpus folder means its arithmetic_test.jsonl, with and without the calculator, and
arithmetic_unseen.jsonl; one without unseen skeletons holds GSM8K itself, of which the first 200 are
asked. The question is the user's message, or in a plain text, for a base model, "Question: … Answer:" as in
lm-evaluation-harness, where there is no calculator. An answer is right if its number equals the reference's
(Cobbe et al. 2021, https://arxiv.org/abs/2110.14168), read in two ways: strict, after ####, which is
the score; lenient, the last number anywhere, which forgives the form. On the embedded corpus this is
TinyWorld arithmetic (GSM8K's form, synthetic), not GSM8K.

Without the calculator the engine writes nothing: after a call the model has to write the result
itself, between <RESULT> and </RESULT>, and whatever number it writes there stands. A killed run goes on
after the questions it has answered.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import re
import time
from pathlib import Path

from bpe.template import from_gsm8k, parse_reply, text_of
from eval import questions as forms
from eval.check import lenient, strict
from eval.generate import add_sampling, check_sampling, drawing, pass_scores, several
from eval.inputs import in_corpus, load_model, read_jsonl, resume, settings, sha256, unfinished, write_answers
from eval.tables import label
from gpt.engine import generate
from gpt.tools import TOOLS
from train.log import write_metrics


def ask(tokenizer, item, shots, form):
    """The ids up to where the answer begins; shots: items whose answers are shown before it."""
    if form == "chat":
        pairs = [(s["question"], from_gsm8k(s["answer"])) for s in shots]
        return forms.prompt(tokenizer, pairs, item["question"], form)
    pairs = [(f"Question: {s['question']}\nAnswer:", re.sub("<<.*?>>", "", s["answer"])) for s in shots]
    return forms.prompt(tokenizer, pairs, f"Question: {item['question']}\nAnswer:", form)


def judge(reply, want, tokenizer, form):
    """(parts, strictly right, leniently right) of a reply; a plain text is over where the next question begins."""
    parts = parse_reply(reply.ids, tokenizer)
    if form == "plain":
        parts = [{"type": "text", "text": re.split(r"\n*Question:", text_of(parts))[0]}]
    text = text_of(parts)
    return parts, strict(text) == want, lenient(text) == want


def solve(model, tokenizer, items, max_new, tools, shots=(), form="chat", samples=1, **how):
    """
    A row {question, answer, reply, ended, passed, lenient, right, right_lenient} for each item, `reply` as parts: the
    first sample's and what it passed, then how many of the samples are right. A question that fills the context
    gets no reply and is wrong. how: of the drawing, for generate()
    """
    def write(prompts):
        return generate(model, tokenizer, prompts, max_new, tools=tools, **how)

    replies, rows = several(write, [ask(tokenizer, i, shots, form) for i in items], samples, model.config.context), []
    for item, said in zip(items, replies):
        want = strict(item["answer"])
        judged = [judge(reply, want, tokenizer, form) for reply in said] or [([], False, False)]
        rows.append({"question": item["question"], "answer": str(want), "reply": judged[0][0],
                     "ended": bool(said) and said[0].finished == "end", "passed": judged[0][1],
                     "lenient": judged[0][2], "right": sum(j[1] for j in judged),
                     "right_lenient": sum(j[2] for j in judged)})
    return rows


def plan(args):
    """[(key of the score, file, tools)] of what the arguments ask for, and how many questions of each file."""
    name, unseen, limit, no_tool = args.name, args.unseen, args.limit, args.no_tool
    test, tools = in_corpus(args.data, "arithmetic_test.jsonl"), TOOLS if args.form == "chat" else None
    if args.data.is_dir():
        unseen, no_tool = args.data / "arithmetic_unseen.jsonl", args.form == "chat"
        if not unseen.exists():
            name, unseen, limit = "gsm8k_first200", None, min(limit or 200, 200)
    runs = [(name, test, tools)]
    runs += [(f"{name}_unseen", unseen, tools)] if unseen else []
    runs += [(f"{name}_no_tool", test, None)] if no_tool else []
    return runs, limit


def read(path, limit):
    """The file's items; exits naming the one whose answer has no number."""
    items = read_jsonl(path, "question", "answer")[:limit]
    for number, item in enumerate(items, 1):
        if strict(item["answer"]) is None:
            sys.exit(f"{path}, record {number}: the answer has no line '#### number'. Mend or remove it")
    return items


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, required=True, help="run, step folder or model file")
    p.add_argument("--data", type=Path, required=True, help="corpus folder, or jsonl of question and answer")
    p.add_argument("--unseen", type=Path, help="a second file, scored as NAME_unseen")
    p.add_argument("--no-tool", action="store_true", help="also without the calculator, scored as NAME_no_tool")
    p.add_argument("--name", default="gsm8k_tiny", help="key of the score [%(default)s]")
    p.add_argument("--limit", type=int, help="questions of each file [all]")
    p.add_argument("--max-new", type=int, default=160, help="tokens of an answer at most [%(default)s]")
    p.add_argument("--form", choices=forms.FORMS, default="chat", help="how a question is put [%(default)s]")
    p.add_argument("--shots", type=int, default=0, metavar="K", help="examples before each question [%(default)s]")
    p.add_argument("--shots-from", type=Path, metavar="FILE", help="items whose first K are the examples")
    add_sampling(p)
    p.add_argument("--out", type=Path, default=Path("out/eval/gsm8k"), help="folder [%(default)s]")
    args = check_sampling(p, p.parse_args(argv))
    if bool(args.shots) != bool(args.shots_from):
        p.error("--shots K and --shots-from FILE go together")
    return args


def main(argv=None):
    args, start = parse(argv), time.time()
    runs, limit = plan(args)
    items = {path: read(path, limit) for _, path, _ in runs}
    shots = read(args.shots_from, args.shots) if args.shots else []
    model, tokenizer, info = load_model(args.checkpoint)
    print("chance is 0%: no guess hits a number")
    scores, answers, files = {}, [], [*items, *([args.shots_from] if args.shots else [])]
    for name, path, tools in runs:
        def work(some, first):
            return solve(model, tokenizer, some, args.max_new, tools, shots, args.form, args.samples,
                         **drawing(args, first))
        rows = resume(unfinished(args.out, name), settings(args, info, *files), items[path], work)
        answers += [{"task": name, **row} for row in rows]
        for key, column in ((name, "right"), (f"{name}_lenient", "right_lenient")):
            scores |= pass_scores(key, [row[column] for row in rows], args.samples, args.k)
        print(f"{label(name)}: {scores[name]['value']:.1%} ± {scores[name]['stderr'] or 0:.1%} of {len(rows):,}, "
              f"leniently {scores[name + '_lenient']['value']:.1%} | {time.time() - start:.0f} s")
    for key in sorted(key for key in scores if "_pass_at_" in key):
        print(f"{label(key)}: {scores[key]['value']:.1%} ± {scores[key]['stderr'] or 0:.1%}")
    write_metrics(args.out, checkpoint=info["hash"], data_sha=sha256(*files), seed=args.seed,
                  seconds=time.time() - start, scores=scores)
    write_answers(args.out, answers)
    for name, _, _ in runs:
        unfinished(args.out, name).unlink()
    print(f"wrote {args.out}/metrics.json, answers.jsonl; next: python eval/report.py --run {args.out.parent}")


if __name__ == "__main__":
    main()
