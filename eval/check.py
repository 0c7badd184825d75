"""
Does an answer pass its check? Six kinds of check, and how a number is read out of an answer.

    exact     the answer is this text                      {"type": "exact", "answer": "Paris"}
    number    the number after ####, or the last one       {"type": "number", "answer": "24"}
    contains  every string occurs, as whole words and in   {"type": "contains", "answer": ["iron"]}
              any case ("Cu" does not occur in "Mercury")
    choice    the letter at the front or after "is"        {"type": "choice", "answer": "B"}
    story     words that must occur, and how many          {"type": "story", "answer": ["Tom", "kite"],
              sentences                                     "sentences": [5, 12]}
    code      a function that returns these results,       {"type": "code", "name": "double",
              run in eval/sandbox.py                        "answer": [[[1], 2], [[3], 6]]}

An answer is a message's content: text, or parts of which calls and their results are not read here.
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from bpe.template import text_of
from eval import sandbox

NUMBER = r"(?:(?<![\w)])-)?(?:\d[\d,]*)?\.?\d+"  # a minus after a digit or a bracket subtracts


def value(digits):
    return Decimal(digits.replace(",", ""))


def strict(text):
    """
    The number after ####, or None: GSM8K's own rule, but 24.0 is 24 here.
    https://github.com/openai/grade-school-math, dataset.py, ANS_RE
    """
    found = re.search(rf"#### \$?({NUMBER})", text, re.ASCII)
    return value(found[1]) if found else None


def lenient(text):
    """The last number in the text, or None: what lm-evaluation-harness calls flexible-extract."""
    found = re.findall(NUMBER, text, re.ASCII)
    return value(found[-1]) if found else None


def letter(text):
    """The letter that an answer picks ("B", "(B)", "B. iron", "The answer is B."), or None."""
    found = (re.match(r"\s*\(?([A-Z])\)?(?:[.:)]|\s*$)", text)
             or re.search(r"\bis:? \(?([A-Z])\b", text))
    return found[1] if found else None


def count_sentences(text):
    """How many sentence ends there are; '"Help!" said Tom.' is one sentence."""
    return len(re.findall(r"[.!?][\"'”’]?(?=\s+[\"'“‘]?[A-Z]|\s*$)", text))


def is_story(text, words, least, most):
    found = {w.lower() for w in re.findall(r"\w+", text)}
    return all(w.lower() in found for w in words) and least <= count_sentences(text) <= most


def is_code(text, name, examples):
    """Whether the Python in the text, fenced or bare, gives every [arguments, result] of the examples."""
    fenced = re.search(r"```(?:python)?\n(.*?)(?:```|$)", text, re.DOTALL)
    got = sandbox.run(fenced[1] if fenced else text, name, [args for args, _ in examples])
    return got == [result for _, result in examples]


def passes(check, content):
    """True if the content passes; a check of unknown type raises ValueError."""
    kind, answer, text = check["type"], check["answer"], text_of(content).strip()
    if kind == "exact":
        return text == answer.strip()
    if kind == "number":
        got = strict(text)
        return (lenient(text) if got is None else got) == lenient(str(answer))
    if kind == "contains":
        return all(re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text, re.IGNORECASE) for part in answer)
    if kind == "choice":
        return letter(text) == answer
    if kind == "story":
        return is_story(text, answer, *check["sentences"])
    if kind == "code":
        return is_code(text, check["name"], answer)
    raise ValueError(f"no check of type {kind!r}: exact, number, contains, choice, story or code")


def passes_all(checks, contents):
    """passes() for each pair; the processes that code runs in go side by side."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(passes, checks, contents))
