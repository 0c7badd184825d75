"""
Questions with choices, read from every form they are published in, and the prompt that a model is given.

    {"question": {"stem": "…", "choices": [{"label": "A", "text": "…"}, …]}, "answerKey": "B"}     ARC's
    {"question": "…", "choices": ["…", …], "answer": 1}            MMLU's; the answer an index, a letter or the text
    question,first,second,third,fourth,B                           MMLU's csv files, which have no head

All become ARC's form. A prompt is put together in one of two:

    chat    the question is a user's message, the examples before it are turns of the same conversation
    plain   a text that goes on, for a model that was never taught to reply, as in lm-evaluation-harness:
            "Question: …\\nAnswer: …", an empty line between the examples
"""

import csv
import string
import sys

from bpe.template import render
from eval.inputs import read_jsonl

KNOWN = {"arc-easy": ("arc", "ARC-Easy-Test.jsonl"), "arc-challenge": ("arc", "ARC-Challenge-Test.jsonl")}
FORMS = "chat", "plain"


def listed(question):
    """The question with its choices below, as the letter is asked for."""
    return "\n".join([question["stem"], *(f"{c['label']}. {c['text']}" for c in question["choices"])])


def to_arc(record):
    """A record of any form in ARC's; ValueError with what is wrong."""
    question, choices, key = record["question"], record.get("choices"), record.get("answer", record.get("answerKey"))
    if isinstance(question, dict):
        choices = question.get("choices")
        if not isinstance(choices, list) or not choices or not all({"label", "text"} <= c.keys() for c in choices):
            raise ValueError("the question has no list of choices with label and text")
    elif not isinstance(choices, list) or not choices:
        raise ValueError("there is no list of choices")
    else:
        texts = [str(text) for text in choices]
        key = texts.index(key) if key in texts else key
        choices = [{"label": label, "text": text} for label, text in zip(string.ascii_uppercase, texts)]
        key = choices[key]["label"] if type(key) is int and 0 <= key < len(choices) else key
    if key not in [c["label"] for c in choices]:
        raise ValueError(f"no choice has the label {key!r}")
    stem = question["stem"] if isinstance(question, dict) else question
    return {"id": record.get("id"), "question": {"stem": stem, "choices": choices}, "answerKey": key}


def read(path):
    """The records of a file in ARC's form; exits naming file and record where one has another."""
    if path.suffix == ".csv":
        if not path.is_file():
            sys.exit(f"no {path}. Give a csv of MMLU's form, or a jsonl")
        with open(path, encoding="utf-8", newline="") as file:
            rows = [{"question": row[0], "choices": row[1:-1], "answer": row[-1].strip()} if len(row) > 3 else
                    sys.exit(f"{path}, record {n}: a question, its choices and a letter are needed, not {len(row)} "
                             "fields. Mend or remove it") for n, row in enumerate(csv.reader(file), 1)]
    else:
        rows = read_jsonl(path, "question")
    questions = []
    for number, row in enumerate(rows, 1):
        try:
            questions.append(to_arc(row))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            sys.exit(f"{path}, record {number}: {error}. Mend or remove it")
    return questions or sys.exit(f"{path} is empty. Make it again, or give another file")


def right(record):
    """The index of the right choice."""
    return [c["label"] for c in record["question"]["choices"]].index(record["answerKey"])


# ----------------------------------------------------------------------------
# prompts

def prompt(tokenizer, shots, question, form):
    """The ids up to where the answer begins. shots: [(question, answer), ...] as examples before it"""
    if form == "chat":
        turns = [text for shot in shots for text in shot] + [question]
        messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]
        return render(messages, tokenizer, for_reply=True)[0]
    return [tokenizer.specials["<|bos|>"], *tokenizer.encode(plain(shots, question))]


def plain(shots, question):
    return "\n\n".join([*(f"{q} {a}" for q, a in shots), question])


def row(tokenizer, shots, question, answer, form, context):
    """
    (ids of prompt and answer, where the answer begins). What is longer than context + 1 loses its beginning; a plain
    prompt is encoded together with its answer, as in the harness, since a merge may run across the border.
    """
    ids = prompt(tokenizer, shots, question, form)
    first = len(ids)
    if form == "chat":
        ids = ids + tokenizer.encode(answer)
    else:
        ids = ids[:1] + tokenizer.encode(f"{plain(shots, question)} {answer}")
    cut = max(0, len(ids) - context - 1)
    return ids[cut:], max(1, first - cut)
