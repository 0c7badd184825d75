"""
Four-choice questions: what a chat model answers, and which choice it finds most probable.

    python eval/choice.py --checkpoint out/tinyworld/model --data out/tinyworld/corpus
    python eval/choice.py --checkpoint out/tinyworld/model --data ARC-Easy-Test.jsonl --name arc_easy --by text

Questions in ARC's form (Clark et al. 2018, https://arxiv.org/abs/1803.05457), put to the model as a
user's message, in five ways:
    reply   the choices stand in the question, as before a person; the model replies freely and greedily, and
            the one choice whose text its reply holds is its pick, or, where it holds none or several, the
            letter that it names. A reply that names no choice is wrong
    shown   the same question; the choice whose text has the highest log-likelihood as the answer
    letter  the same question; the most likely letter as the answer
    text    the question alone; the choice whose text has the highest log-likelihood as the answer
    length  the same, divided by the bytes of the choice (lm-evaluation-harness calls these acc and acc_norm)
A tie counts for the first choice. NAME is the accuracy of --by; the other ways stand beside it. A base
model does not reply: take `text` for one.

What needs no thought stands beside it: chance (1 / choices); the majority baseline, which always picks
the letter that is right most often in these very questions; and the shortest choice, which is what a
model that knows nothing finds likeliest.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import re
import time
from collections import Counter
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from bpe.template import parse_reply, render, text_of
from eval.check import letter
from eval.inputs import in_corpus, load_model, read_jsonl, sha256
from eval.perplexity import nats
from eval.tables import label
from gpt.engine import generate
from bpe.record import score
from train.log import write_metrics


WAYS = "reply", "shown", "letter", "text", "length"


def listed(question):
    """The question with its choices below, as the letter is asked for."""
    return "\n".join([question["stem"], *(f"{c['label']}. {c['text']}" for c in question["choices"])])


def ask(model, tokenizer, question, room=0):
    """The ids up to where the answer begins; exits if they and `room` more do not fit the context."""
    prompt, _ = render([{"role": "user", "content": question}], tokenizer, for_reply=True)
    if len(prompt) + room > model.config.context:
        sys.exit(f"a question and its answer take {len(prompt) + room} tokens, the model reads {model.config.context}. "
                 "Take a model with a longer context, or shorter questions")
    return prompt


def likelihoods(model, tokenizer, questions, shown=False):
    """ln p(text of the choice | question, its choices shown or not), summed over its tokens: floats for each"""
    rows = []
    for q in questions:
        for c in q["choices"]:
            answer = tokenizer.encode(c["text"])
            prompt = ask(model, tokenizer, listed(q) if shown else q["stem"], len(answer))
            rows.append((prompt + answer, len(prompt)))
    sums = iter([-x.sum().item() for x in nats(model, rows)])
    return [[next(sums) for _ in q["choices"]] for q in questions]


@torch.no_grad()
def letters(model, tokenizer, questions, batch=32):
    """ln p(letter | question and its choices): a list of floats for each question, which is read once."""
    out = []
    for some in (questions[i:i + batch] for i in range(0, len(questions), batch)):
        prompts = [torch.tensor(ask(model, tokenizer, listed(q))) for q in some]
        idx = pad_sequence(prompts, batch_first=True).to(next(model.parameters()).device)    # (B, T)
        logits, _ = model(idx)                                                               # (B, T, V)
        last = logits[range(len(some)), [len(p) - 1 for p in prompts]].log_softmax(dim=1)    # (B, V)
        for q, logp in zip(some, last.tolist()):
            out.append([logp[tokenizer.encode(c["label"])[0]] for c in q["choices"]])
    return out


def replies(model, tokenizer, questions, max_new=48):
    """What the model replies to each question with its choices, as text."""
    prompts = [ask(model, tokenizer, listed(q), 1) for q in questions]
    return [text_of(parse_reply(reply.ids, tokenizer)) for reply in generate(model, tokenizer, prompts, max_new)]


def named(reply, choices):
    """The index of the choice that a reply names, or None."""
    found = [i for i, c in enumerate(choices)
             if re.search(rf"(?<!\w){re.escape(c['text'])}(?!\w)", reply, re.IGNORECASE)]
    labels = [c["label"] for c in choices]
    return found[0] if len(found) == 1 else labels.index(x) if (x := letter(reply)) in labels else None


def picks(model, tokenizer, questions, said):
    """
    For each question the index it picks by each way: {"reply": [...], "text": [...], "length": ..., "shown": ...,
    "letter": ...}; None for a reply that names none. said: what replies() gave
    """
    text = likelihoods(model, tokenizer, questions)
    length = [[x / len(c["text"].encode()) for x, c in zip(logp, q["choices"])] for logp, q in zip(text, questions)]
    ways = {"text": text, "length": length, "shown": likelihoods(model, tokenizer, questions, shown=True),
            "letter": letters(model, tokenizer, questions)}
    reply = [named(text, q["choices"]) for text, q in zip(said, questions)]
    return {"reply": reply} | {way: [values.index(max(values)) for values in rows] for way, rows in ways.items()}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, required=True, help="run, step folder or model file")
    p.add_argument("--data", type=Path, required=True, help="corpus folder, or jsonl in ARC's form")
    p.add_argument("--name", default="science_choice", help="key of the score [%(default)s]")
    p.add_argument("--by", choices=WAYS, default="reply", help="the way that NAME stands for [%(default)s]")
    p.add_argument("--limit", type=int, help="questions [all]")
    p.add_argument("--out", type=Path, default=Path("out/eval/choice"), help="folder [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args, start = parse(argv), time.time()
    path = in_corpus(args.data, "questions_test.jsonl")
    if args.data.is_dir() and not path.exists():
        print(f"no {path}: this corpus has no questions, so nothing is measured and the score is null")
        return write_metrics(args.out)
    records = read_jsonl(path, "question", "answerKey")[:args.limit]
    labels = [[c["label"] for c in r["question"]["choices"]] for r in records]
    for number, r in enumerate(records, 1):
        if r["answerKey"] not in labels[number - 1]:
            sys.exit(f"{path}, record {number}: no choice has the label {r['answerKey']!r}. Mend or remove it")
    right = [names.index(r["answerKey"]) for names, r in zip(labels, records)]
    model, tokenizer, info = load_model(args.checkpoint)
    n, majority = len(records), Counter(right).most_common(1)[0][1]
    chance = sum(1 / len(names) for names in labels) / n
    sizes = [[len(c["text"].encode()) for c in r["question"]["choices"]] for r in records]
    shortest = sum((size[i] == min(size)) / size.count(min(size)) for size, i in zip(sizes, right))
    print(f"{n} questions; chance is {chance:.1%}, the most frequent letter {majority / n:.1%}, "
          f"the shortest choice {shortest / n:.1%}")

    questions = [r["question"] for r in records]
    said = replies(model, tokenizer, questions)
    picked, scores = picks(model, tokenizer, questions, said), {}
    for way in sorted(WAYS, key=lambda way: way != args.by):
        key = args.name if way == args.by else f"{args.name}_{way}"
        scores[key] = score(sum(a == b for a, b in zip(picked[way], right)), n, chance)
        print(f"{label(key)}: {scores[key]['value']:.1%} ± {scores[key]['stderr']:.1%}")
    write_metrics(args.out, checkpoint=info["hash"], data_sha=sha256(path), seconds=time.time() - start,
                  numbers={f"{args.name}_majority": majority / n, f"{args.name}_shortest": shortest / n}, scores=scores)
    with open(args.out / "picks.jsonl", "w", encoding="utf-8") as file:
        for i, r in enumerate(records):
            mine = {way: None if chosen[i] is None else labels[i][chosen[i]] for way, chosen in picked.items()}
            file.write(json.dumps({"id": r.get("id"), "answer": r["answerKey"], **mine, "said": said[i]}) + "\n")
    print(f"wrote {args.out}/metrics.json, picks.jsonl; next: python eval/report.py --run {args.out.parent}")


if __name__ == "__main__":
    main()
