"""
TinyWorld's arithmetic: word problems of two to four steps in GSM8K's form, true by construction.

    python bpe/world_arithmetic.py            # print five problems

GSM8K (Cobbe et al. 2021, https://arxiv.org/abs/2110.14168) marks each calculation <<48/2=24>>24
and ends on `#### 24`; so do these. A problem is a skeleton (world_skeletons.py), numbers and words.
Numbers are drawn until every operand has at most three digits and every result is whole, above one.

Ten skeletons are unseen: train never holds them. They are new compositions of steps that each occur
in train in others, so they ask whether the model composes, not whether it guesses a new word.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import random
import re
from collections import namedtuple

from bpe import world_skeletons as tables
from bpe.splits import split
from bpe.world_skeletons import KINDS, UNSEEN

# question, answer: str;  result: int;  key: (skeleton, calls), what train and test never share
Problem = namedtuple("Problem", "question answer result skeleton key")

SKELETONS = tables.SEEN + UNSEEN
OPERATORS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}


class Unfit(Exception):
    """These numbers have no whole result of the right size; draw others."""


def start(rng):
    """A start amount, of three digits as often as of fewer."""
    return rng.randint(100, 800) if rng.random() < 0.5 else rng.randint(6, 99)


def draw(letter, v, rng):
    """The operand that a letter of world_skeletons.py stands for, given the value so far."""
    if letter == "n":
        return start(rng)
    if letter == "a":
        return rng.randint(2, 99) if rng.random() < 0.7 else rng.randint(100, 400)
    if letter == "k":
        return rng.randint(2, 9)
    if letter == "m":
        return rng.randint(2, 9) if rng.random() < 0.5 else rng.randint(10, 60)
    if letter == "g":  # the next round hundred or two, or any number above
        return rng.choice([v - v % 100 + 100, v - v % 100 + 200, v + rng.randint(2, 300)])
    if letter == "s":
        fits = range(2, v - 1)
    if letter == "d":
        fits = [d for d in range(2, 26) if v % d == 0 and v // d > 1]
    if not fits:
        raise Unfit
    return rng.choice(fits)


def calculate(kinds, rng):
    """For each kind its operands by letter and its calls (expression, result); the last result."""
    v, steps = start(rng), []  # a first kind without a call just states v
    for kind in map(KINDS.get, kinds):
        numbers, calls = {"n": v, "v": v}, []
        for a, op, b in kind.calls.split():
            for letter in a + b:
                if letter not in numbers:
                    numbers[letter] = int(letter) if letter.isdigit() else draw(letter, v, rng)
            x, y = numbers[a], numbers[b]
            if max(x, y) > 999 or (op == "/" and x % y) or OPERATORS[op](x, y) < 2:
                raise Unfit
            numbers["r"] = v = OPERATORS[op](x, y)
            calls.append((f"{x}{op}{y}", v))
        steps.append((numbers, calls))
    return steps, v


def cast(rng):
    """The words of one problem, by their place in the wordings."""
    she = rng.random() < 0.5
    ours, theirs = (tables.SHE, tables.HE) if she else (tables.HE, tables.SHE)
    he, him, his = ("she", "her", "her") if she else ("he", "him", "his")
    other, third = rng.sample(theirs, 2)
    things, boxes = rng.choice(tables.THINGS), rng.choice(tables.BOXES)
    return {"who": rng.choice(ours), "he": he, "He": he.title(), "him": him, "his": his,
            "other": other, "third": third,
            "things": things, "thing": things[:-1], "boxes": boxes, "box": boxes[:-1],
            "gift": rng.choice(tables.GIFTS), "toy": rng.choice(tables.TOYS),
            "extra": rng.choice(tables.EXTRAS), "place": rng.choice(tables.PLACES),
            "friends": rng.choice(tables.FRIENDS)}


def problem(rng, skeleton=None, only=None):
    """
    One problem drawn with `rng` (random.Random): of the named skeleton or of any in train, and with
    the numbers of the split `only` or of any.
    """
    skeleton = skeleton or rng.choice(tables.SEEN)
    kinds = skeleton.split("-")
    while True:
        try:
            steps, result = calculate(kinds, rng)
        except Unfit:
            continue
        key = skeleton, tuple(call for _, calls in steps for call, _ in calls)
        if only in (None, split(key)):
            break
    words, asks, says = cast(rng), [], []
    for kind, (numbers, calls) in zip(map(KINDS.get, kinds), steps):
        asks.append(rng.choice(kind.asks).format(**words, **numbers))
        says += [line.replace("@", f"<<{call}={value}>>{value}").format(**words)
                 for line, (call, value) in zip(kind.says, calls)]
    if kind.gives != "end":
        asks.append(rng.choice(tables.ASKS[kind.gives]).format(**words))
    says.append(f"#### {result}")
    return Problem(" ".join(asks), "\n".join(says), result, skeleton, key)


# wordings of one calculation and the operator they ask for; {} and {} are its operands in order
SUMS = {
    "+": ["What is {} plus {}?", "Compute {} + {}.", "Add {} and {}.",
          "What is the sum of {} and {}?"],
    "-": ["What is {} minus {}?", "Compute {} - {}.", "Take {1} away from {0}.",
          "What is the difference between {} and {}?"],
    "*": ["What is {} times {}?", "Compute {} * {}.", "Multiply {} by {}.",
          "What is the product of {} and {}?"],
    "/": ["What is {} divided by {}?", "Compute {} / {}.", "Divide {} by {}.",
          "How many times does {1} go into {0}?"],
}
THEN = {"+": "Then add {}.", "-": "Then take away {}.", "*": "Then multiply by {}."}


def calculation(rng):
    """A bare calculation of one call, or two: (question, answer with marks, key)."""
    op = rng.choice(list(SUMS))
    x, y = sorted((start(rng), start(rng)), reverse=True)
    if op == "/":
        y = rng.randint(2, min(x, 60))
        x -= x % y
    result = OPERATORS[op](x, y)
    question = rng.choice(SUMS[op]).format(x, y)
    answer, calls = f"That is <<{x}{op}{y}={result}>>{result}.", [(x, op, y)]
    if 1 < result < 1000 and rng.random() < 0.25:
        op, y = rng.choice(list(THEN)), rng.randint(2, min(result, 99))
        calls.append((op, y))
        more = OPERATORS[op](result, y)
        question += " " + THEN[op].format(y)
        answer += f" Then it is <<{result}{op}{y}={more}>>{more}."
    return question, answer, ("calculation", *calls)


CALL = re.compile(r"<<(\d+)([-+*/])(\d+)=(\d+)>>\d+")


def slip(answer, rng):
    """The answer with one step's operator exchanged, and what follows worked out from there."""
    steps = CALL.findall(answer)
    at, new, calls = rng.randrange(len(steps)), {}, []
    for i, (x, op, y, result) in enumerate(steps):
        a, b = int(new.get(x, x)), int(new.get(y, y))
        if i == at:
            op = {"+": "-" if a > b else "*", "-": "+", "*": "+", "/": "*"}[op]
        elif op == "-" and a <= b or op == "/" and a % b:
            return slip(answer, rng)  # this slip leads nowhere; another does
        new[result] = value = str(OPERATORS[op](a, b))
        calls.append(f"<<{a}{op}{b}={value}>>{value}")
    if value == result:               # 2 + 2 for 2 * 2
        return slip(answer, rng)
    return re.sub(r"#### \d+", f"#### {value}", CALL.sub(lambda _: calls.pop(0), answer))


def main():
    rng = random.Random(0)
    for _ in range(5):
        p = problem(rng)
        print(f"[{p.skeleton}]\n{p.question}\n{p.answer}\n")


if __name__ == "__main__":
    main()
