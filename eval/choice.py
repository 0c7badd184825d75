"""
Four-choice questions, answered by likelihood: which choice does the model find most probable?

    python eval/choice.py --checkpoint out/tinyworld/model --data out/tinyworld/corpus
    python eval/choice.py --checkpoint out/tinyworld/model --data ARC-Easy-Test.jsonl --name arc_easy

Questions in ARC's form (Clark et al. 2018, https://arxiv.org/abs/1803.05457), put to the model as a
user's message, in three ways:
    text    the question alone; the choice whose text has the highest log-likelihood as the answer
    length  the same, divided by the bytes of the choice (lm-evaluation-harness calls it acc_norm)
    letter  the choices stand in the question; the most likely letter as the answer
A tie counts for the first choice. NAME is the accuracy of `text`; the others stand beside it.

What an answer would cost that nobody has to think about: chance (1 / choices), and the majority
baseline, which always picks the letter that is right most often in these very questions.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from bpe.template import render
from eval.inputs import in_corpus, load_model, read_jsonl, sha256
from eval.perplexity import nats
from eval.tables import label
from train.log import score, write_metrics


def listed(question):
    """The question with its choices below, as the letter is asked for."""
    return "\n".join([question["stem"], *(f"{c['label']}. {c['text']}" for c in question["choices"])])


def likelihoods(model, tokenizer, pairs):
    """ln p(answer | question) of (question, answer) texts, the answer in the assistant's turn: floats."""
    rows = []
    for question, answer in pairs:
        prompt, _ = render([{"role": "user", "content": question}], tokenizer, for_reply=True)
        rows.append((prompt + tokenizer.encode(answer), len(prompt)))
    longest = max(len(row) for row, _ in rows)
    if longest > model.config.context + 1:
        sys.exit(f"a question and its answer take {longest} tokens, the model reads {model.config.context}. "
                 "Take a model with a longer context, or shorter questions")
    return [-x.sum().item() for x in nats(model, rows)]


def answers(model, tokenizer, records):
    """For each record the index it picks by each way: {"text": [...], "length": [...], "letter": [...]}"""
    questions = [r["question"] for r in records]
    plain = iter(likelihoods(model, tokenizer, [(q["stem"], c["text"]) for q in questions for c in q["choices"]]))
    letter = iter(likelihoods(model, tokenizer, [(listed(q), c["label"]) for q in questions for c in q["choices"]]))
    picks = {"text": [], "length": [], "letter": []}
    for q in questions:
        logp = [next(plain) for _ in q["choices"]]
        by = {"text": logp, "letter": [next(letter) for _ in q["choices"]],
              "length": [x / len(c["text"].encode()) for x, c in zip(logp, q["choices"])]}
        for way, values in by.items():
            picks[way].append(values.index(max(values)))
    return picks


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, required=True, help="run, step folder or model file")
    p.add_argument("--data", type=Path, required=True, help="corpus folder, or jsonl in ARC's form")
    p.add_argument("--name", default="science_choice", help="key of the score [%(default)s]")
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
    chance = sum(1 / len(r["question"]["choices"]) for r in records) / n
    print(f"{n} questions; chance is {chance:.1%}, the most frequent place {majority / n:.1%}")

    picks = answers(model, tokenizer, records)
    scores = {}
    for way, key in (("text", args.name), ("length", f"{args.name}_length"), ("letter", f"{args.name}_letter")):
        scores[key] = score(sum(a == b for a, b in zip(picks[way], right)), n, chance)
        print(f"{label(key)}: {scores[key]['value']:.1%} ± {scores[key]['stderr']:.1%}")
    write_metrics(args.out, checkpoint=info["hash"], data_sha=sha256(path), seconds=time.time() - start,
                  numbers={f"{args.name}_majority": majority / n}, scores=scores)
    with open(args.out / "picks.jsonl", "w", encoding="utf-8") as file:
        for i, r in enumerate(records):
            mine = {way: labels[i][picks[way][i]] for way in picks}
            file.write(json.dumps({"id": r.get("id"), "answer": r["answerKey"], **mine}) + "\n")
    print(f"wrote {args.out}/metrics.json, picks.jsonl; next: python eval/report.py --run {args.out.parent}")


if __name__ == "__main__":
    main()
