"""
TinyWorld's exercises in following a format: say it three times, only the words, in capitals.

    python bpe/world_format.py                # print one of each

A wrong reply has the right look and one slip: a word too few, two swapped, another case.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import random

from bpe import world_words
from bpe.world_turn import exact

GROUPS = {
    "fruits": "apple pear plum lemon orange cherry melon grape peach banana",
    "animals": "dog cat horse cow sheep rabbit tiger wolf bear fox",
    "tools": "hammer saw drill shovel rake axe knife broom ladder brush",
    "colours": "red green blue yellow white black brown pink grey purple",
    "clothes": "shirt coat hat scarf glove sock boot dress belt jacket",
    "drinks": "water milk tea coffee juice cocoa soda lemonade cider broth",
    "vehicles": "car bus train boat plane truck bike sled tram ship",
    "instruments": "piano drum flute violin guitar harp trumpet bell horn cello",
}
GROUPS = {name: words.split() for name, words in GROUPS.items()}
WORDS = sum(GROUPS.values(), [])
VOCABULARY = sorted({word for table in world_words.TABLES.values() for word in table} | set(WORDS))
COUNTS = {2: "two", 3: "three", 4: "four", 5: "five"}
JOINTS = {"commas": ", ", "semicolons": "; ", "slashes": "/", "plus signs": "+", "spaces": " "}
MARKS = {"quotation marks": '""', "square brackets": "[]", "round brackets": "()", "stars": "**"}


def swapped(words, rng):
    """The words (or letters), at least two of them different, with two in each other's place."""
    other = list(words)
    while other == list(words):
        i, j = rng.sample(range(len(words)), 2)
        other[i], other[j] = words[j], words[i]
    return other


def say(rng):
    word, n = rng.choice(WORDS), rng.choice(list(COUNTS))
    ask = rng.choice(["Say {w} {n} times.", "Write the word {w} {n} times.",
                      "Repeat {w} {n} times and say nothing else."])
    wrong = " ".join([word] * (n + rng.choice([-1, 1])))
    ask = ask.format(w=word, n=COUNTS[n])
    return exact("format", ask, " ".join([word] * n), wrong, ("say", word, n))


def capitals(rng):
    a, b = rng.sample(WORDS, 2)
    ask = rng.choice(["Write {} and {} in capital letters.", "Put {} and {} in upper case."])
    right, wrong = f"{a.upper()} AND {b.upper()}", f"{a.upper()} AND {b.title()}"
    return exact("format", ask.format(a, b), right, wrong, ("capitals", a, b))


def spell(rng):
    a, b = rng.sample(WORDS, 2)
    ask = rng.choice(["Spell {} and {} with hyphens.", "Spell the words {} and {}, with hyphens."])
    right, wrong = (f"{'-'.join(a)}, {'-'.join(letters)}" for letters in (b, swapped(b, rng)))
    return exact("format", ask.format(a, b), right, wrong, ("spell", a, b))


def reverse(rng):
    words = rng.sample(WORDS, 3)
    ask = rng.choice(["Say these words in reverse order: {}.", "Turn the order around: {}."])
    right = words[::-1]
    return exact("format", ask.format(", ".join(words)), ", ".join(right),
                 ", ".join(swapped(right, rng)), ("reverse", *words))


def members(rng):
    """Two of four words belong to the group; only they are to be named."""
    name, other = rng.sample(list(GROUPS), 2)
    inside, outside = rng.sample(GROUPS[name], 2), rng.sample(GROUPS[other], 2)
    words = rng.sample(inside + outside, 4)
    right = [word for word in words if word in inside]
    wrong = swapped([right[0], rng.choice(outside)], rng)
    ask = rng.choice(["Which of these are {g}: {w}? Answer with the words only.",
                      "Name only the {g}: {w}.", "Pick out the {g}, separated by a comma: {w}."])
    return exact("format", ask.format(g=name, w=", ".join(words)), ", ".join(right),
                 ", ".join(wrong), ("members", *words))


def dashes(rng):
    a, b, c = words = rng.sample(WORDS, 3)
    ask = rng.choice(["Make a list with dashes: {}, {} and {}.",
                      "Write {}, {} and {} as a list, one to a line, each after a dash."])
    right = "\n".join(f"- {word}" for word in words)
    wrong = "\n".join(f"- {word}" for word in swapped(words, rng))
    return exact("format", ask.format(a, b, c), right, wrong, ("dashes", *words))


def place(rng):
    words, first = rng.sample(WORDS, 4), rng.random() < 0.5
    ask = rng.choice(["Which word comes {}: {}? Answer in one word.",
                      "Give me only the {} of these words: {}."])
    right = words[0 if first else -1]
    wrong = rng.choice([word for word in words if word != right])
    ask = ask.format("first" if first else "last", ", ".join(words))
    return exact("format", ask, right, wrong, ("place", *words, first))


def count(rng):
    a = rng.randint(1, 90)
    numbers = [str(n) for n in range(a, a + rng.randint(4, 7))]
    if down := rng.random() < 0.3:
        numbers.reverse()
    ask = rng.choice(["Count from {} to {}.", "Write the numbers from {} to {}, with commas."])
    return exact("format", ask.format(numbers[0], numbers[-1]), ", ".join(numbers),
                 ", ".join(swapped(numbers, rng)), ("count", a, len(numbers), down))


def repeat(rng):
    words = rng.sample(WORDS, rng.randint(3, 5))
    ask = rng.choice(["Repeat exactly: {}", "Say this back to me, word for word: {}", "Copy: {}"])
    return exact("format", ask.format(" ".join(words)), " ".join(words),
                 " ".join(swapped(words, rng)), ("repeat", *words))


def echo(rng):
    """
    A long list to say back. No word of it can be guessed, so half of it can only be copied: the shortest
    way for a model to learn to copy, which names, numbers and the words of a user all depend on.
    """
    words = [rng.choice(VOCABULARY) if rng.random() < 0.8 else str(rng.randint(0, 999))
             for _ in range(rng.randint(6, 16))]
    ask = rng.choice(["Repeat exactly: {}", "Say this back to me, word for word: {}", "Copy: {}"])
    wrong = " ".join(swapped(words, rng))
    return exact("format", ask.format(" ".join(words)), " ".join(words), wrong, ("echo", *words))


def join(rng):
    a, b, c = words = rng.sample(WORDS, 3)
    name, other = rng.sample(list(JOINTS), 2)
    ask = rng.choice(["Join {}, {} and {} with {}.", "Write {}, {} and {} with {} between them."])
    return exact("format", ask.format(a, b, c, name), JOINTS[name].join(words),
                 JOINTS[other].join(words), ("join", *words, name))


def marks(rng):
    a, b = rng.sample(WORDS, 2)
    name, other = rng.sample(list(MARKS), 2)
    ask = rng.choice(["Put the words {} {} in {}.", "Write {} {} between {}."])
    (left, right), (wrong_left, wrong_right) = MARKS[name], MARKS[other]
    return exact("format", ask.format(a, b, name), f"{left}{a} {b}{right}",
                 f"{wrong_left}{a} {b}{wrong_right}", ("marks", a, b, name))


TASKS = [say, capitals, spell, reverse, members, dashes, place, count, repeat, echo, join, marks]


def main():
    rng = random.Random(0)
    for task in TASKS:
        turn = task(rng)
        print(f"{turn.ask}\n    {turn.reply!r}    not {turn.wrong!r}")


if __name__ == "__main__":
    main()
