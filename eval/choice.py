"""
Multiple choice: what a chat model answers, and which choice a model finds most probable.

    python eval/choice.py --checkpoint out/tinyworld/model --data out/tinyworld/corpus
    python eval/choice.py --checkpoint out/tinyworld/pretrain/run --data arc-easy --form plain       # a base model
    python eval/choice.py --checkpoint RUN --data test.csv --form plain --by letter --shots 5 --shots-from dev.csv

Questions of every form that eval/questions.py reads, put to the model as a user's message (--form chat) or as a text
that goes on (--form plain, lm-evaluation-harness's prompt for ARC), in up to five ways:
    reply   the choices stand in the question, as before a person; the model replies freely and greedily, and
            the one choice whose text its reply holds is its pick, or, where it holds none or several, the
            letter that it names. A reply that names no choice is wrong. In a chat alone
    shown   the same question; the choice whose text has the highest log-likelihood as the answer
    letter  the same question; the most likely letter as the answer, as MMLU is asked
    text    the question alone; the choice whose text has the highest log-likelihood as the answer
    length  the same, divided by the characters of the choice (the harness calls these acc and acc_norm)
A tie counts for the first choice. NAME is the accuracy of --by; the other --ways stand beside it. Whatever is longer
than the context loses its beginning, as in the harness. The last line above is how MMLU is asked.

What needs no thought stands beside it: chance (1 / choices); the majority baseline, which always picks
the letter that is right most often in these very questions; and the shortest choice, which is what a
model that knows nothing finds likeliest. A prompt is read once for all its choices (eval/shared.py), and a run that
is killed goes on after the questions it has answered.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import re
import time
from collections import Counter
from pathlib import Path

from bpe.record import score
from bpe.template import parse_reply, text_of
from eval import questions as forms
from eval.check import letter
from eval.inputs import in_corpus, load_model, locate, resume, settings, sha256, unfinished, write_jsonl
from eval.questions import listed, right
from eval.shared import answer_nats
from eval.tables import label
from gpt.engine import generate
from train.log import write_metrics

WAYS = "reply", "shown", "letter", "text", "length"


def ask(question, way, form):
    """What is asked: the question alone or with its choices, in a plain text with the words around it."""
    if form == "chat":
        return listed(question) if way in ("shown", "letter") else question["stem"]
    return f"{listed(question)}\nAnswer:" if way in ("shown", "letter") else f"Question: {question['stem']}\nAnswer:"


def answers(question, way):
    return [c["label" if way == "letter" else "text"] for c in question["choices"]]


def examples(records, way, form):
    """Records as [(what is asked, the right answer), ...], to stand before a question."""
    return [(ask(r["question"], way, form), answers(r["question"], way)[right(r)]) for r in records]


def ln_p(model, tokenizer, questions, way, form="chat", shots=()):
    """ln p(answer | what is asked) of each choice, summed over its tokens: a list of floats for each question"""
    before, groups = examples(shots, way, form), []
    for q in questions:
        groups.append([forms.row(tokenizer, before, ask(q, way, form), answer, form, model.config.context)
                       for answer in answers(q, way)])
        if way == "letter":       # the first token of a letter, whatever the tokenizer makes of it
            groups[-1] = [(ids[:first + 1], first) for ids, first in groups[-1]]
    return [[-x for x in some] for some in answer_nats(model, groups)]


def likelihoods(model, tokenizer, questions, shown=False, form="chat", shots=()):
    """ln p(text of the choice | question, its choices shown or not), summed over its tokens: floats for each"""
    return ln_p(model, tokenizer, questions, "shown" if shown else "text", form, shots)


def letters(model, tokenizer, questions, form="chat", shots=()):
    """ln p(letter | question and its choices): a list of floats for each question"""
    return ln_p(model, tokenizer, questions, "letter", form, shots)


def replies(model, tokenizer, questions, max_new=48, shots=()):
    """What the model replies to each question with its choices, as text."""
    before, room = examples(shots, "shown", "chat"), max(1, model.config.context - max_new)
    prompts = [forms.prompt(tokenizer, before, listed(q), "chat")[-room:] for q in questions]
    return [text_of(parse_reply(reply.ids, tokenizer)) for reply in generate(model, tokenizer, prompts, max_new)]


def named(reply, choices):
    """The index of the choice that a reply names, or None."""
    found = [i for i, c in enumerate(choices)
             if re.search(rf"(?<!\w){re.escape(c['text'])}(?!\w)", reply, re.IGNORECASE)]
    labels = [c["label"] for c in choices]
    return found[0] if len(found) == 1 else labels.index(x) if (x := letter(reply)) in labels else None


def picks(model, tokenizer, questions, said, ways=WAYS, form="chat", shots=()):
    """
    For each question the index it picks by each of the ways: {"reply": [...], "text": [...], ...}; None for a reply
    that names none. said: what replies() gave
    """
    values = {}
    if {"text", "length"} & {*ways}:
        values["text"] = likelihoods(model, tokenizer, questions, False, form, shots)
        values["length"] = [[x / max(1, len(c["text"])) for x, c in zip(logp, q["choices"])]
                            for logp, q in zip(values["text"], questions)]
    if "shown" in ways:
        values["shown"] = likelihoods(model, tokenizer, questions, True, form, shots)
    if "letter" in ways:
        values["letter"] = letters(model, tokenizer, questions, form, shots)
    picked = {way: [row.index(max(row)) for row in rows] for way, rows in values.items() if way in ways}
    if "reply" in ways:
        picked["reply"] = [named(text, q["choices"]) for text, q in zip(said, questions)]
    return picked


def answer(model, tokenizer, records, ways, form, shots):
    """A row {id, answer, each way's letter, said} for each record, as picks.jsonl has it."""
    questions = [r["question"] for r in records]
    said = replies(model, tokenizer, questions, shots=shots) if "reply" in ways else [None] * len(records)
    picked, rows = picks(model, tokenizer, questions, said, ways, form, shots), []
    for i, r in enumerate(records):
        names = [c["label"] for c in r["question"]["choices"]]
        mine = {way: None if chosen[i] is None else names[chosen[i]] for way, chosen in picked.items()}
        rows.append({"id": r["id"], "answer": r["answerKey"], **mine, "said": said[i]})
    return rows


def baselines(records):
    """(chance, majority, shortest): what is right without any thought, as shares of the records."""
    n, keys = len(records), [right(r) for r in records]
    sizes = [[len(c["text"].encode()) for c in r["question"]["choices"]] for r in records]
    shortest = sum((size[i] == min(size)) / size.count(min(size)) for size, i in zip(sizes, keys))
    return sum(1 / len(size) for size in sizes) / n, Counter(keys).most_common(1)[0][1] / n, shortest / n


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, required=True, help="run, step folder or model file")
    p.add_argument("--data", type=Path, required=True, help=f"corpus folder, {', '.join(forms.KNOWN)}, jsonl or csv")
    p.add_argument("--name", help="key of the score [science_choice, or the set's]")
    p.add_argument("--form", choices=forms.FORMS, default="chat", help="how a question is put [%(default)s]")
    p.add_argument("--by", choices=WAYS, help="the way that NAME stands for [reply, in a plain text: text]")
    p.add_argument("--ways", choices=WAYS, nargs="+", help="the ways to be tried [all; in a plain text all but reply]")
    p.add_argument("--shots", type=int, default=0, metavar="K", help="examples before each question [%(default)s]")
    p.add_argument("--shots-from", type=Path, metavar="FILE", help="questions whose first K are the examples")
    p.add_argument("--limit", type=int, help="questions [all]")
    p.add_argument("--out", type=Path, default=Path("out/eval/choice"), help="folder [%(default)s]")
    args = p.parse_args(argv)
    args.by = args.by or ("reply" if args.form == "chat" else "text")
    args.ways = args.ways or [way for way in WAYS if args.form == "chat" or way != "reply"]
    args.ways = [args.by, *(way for way in args.ways if way != args.by)]
    args.name = args.name or (str(args.data).replace("-", "_") if str(args.data) in forms.KNOWN else "science_choice")
    if args.form == "plain" and "reply" in args.ways:
        p.error("a plain text gets no reply: take --form chat, or other --ways")
    if bool(args.shots) != bool(args.shots_from):
        p.error("--shots K and --shots-from FILE go together")
    return args


def main(argv=None):
    args, start = parse(argv), time.time()
    path = in_corpus(locate(args.data, forms.KNOWN), "questions_test.jsonl")
    if args.data.is_dir() and not path.exists():
        print(f"no {path}: this corpus has no questions, so nothing is measured and the score is null")
        return write_metrics(args.out)
    records, files = forms.read(path)[:args.limit], [path, args.shots_from][:1 + bool(args.shots)]
    shots = forms.read(args.shots_from)[:args.shots] if args.shots else []
    if len(shots) < args.shots:
        sys.exit(f"{args.shots_from} has {len(shots)} questions for --shots {args.shots}. Ask for fewer")
    model, tokenizer, info = load_model(args.checkpoint)
    chance, majority, shortest = baselines(records)
    print(f"{len(records):,} questions; chance is {chance:.1%}, the most frequent letter {majority:.1%}, "
          f"the shortest choice {shortest:.1%}")

    kept, scores = unfinished(args.out, args.name), {}
    rows = resume(kept, settings(args, info, *files), records,
                  lambda some, first: answer(model, tokenizer, some, args.ways, args.form, shots))
    for way in args.ways:
        key = args.name if way == args.by else f"{args.name}_{way}"
        scores[key] = score(sum(row[way] == row["answer"] for row in rows), len(rows), chance) | {"majority": majority}
        print(f"{label(key)}: {scores[key]['value']:.1%} ± {scores[key]['stderr']:.1%}")
    write_metrics(args.out, checkpoint=info["hash"], data_sha=sha256(*files), seconds=time.time() - start,
                  numbers={f"{args.name}_majority": majority, f"{args.name}_shortest": shortest}, scores=scores)
    write_jsonl(args.out / "picks.jsonl", rows)
    kept.unlink()
    print(f"wrote {args.out}/metrics.json, picks.jsonl; next: python eval/report.py --run {args.out.parent}")


if __name__ == "__main__":
    main()
