"""
TinyWorld's plain logic: order by comparison, and / or / not, if-then, all and no.

    python bpe/world_logic.py                 # print ten problems

Every answer follows from the sentences before the question, or does not, and then it says so.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import random

from bpe.world_skeletons import HE, SHE

UNKNOWN = "I do not know. That does not follow."
ORDERS = [("taller", "tallest", "shorter", "shortest"), ("older", "oldest", "younger", "youngest"),
          ("faster", "fastest", "slower", "slowest"), ("richer", "richest", "poorer", "poorest"),
          ("stronger", "strongest", "weaker", "weakest"),
          ("louder", "loudest", "quieter", "quietest")]
STATES = [("lamp", "on", "off"), ("door", "open", "closed"), ("cup", "full", "empty"),
          ("soup", "hot", "cold"), ("road", "wet", "dry"), ("shop", "open", "closed"),
          ("room", "clean", "dirty"), ("box", "heavy", "light"), ("rope", "long", "short"),
          ("bread", "fresh", "stale"), ("knife", "sharp", "blunt"), ("window", "open", "closed"),
          ("radio", "on", "off"), ("bucket", "full", "empty"), ("towel", "wet", "dry"),
          ("path", "steep", "flat"), ("tank", "full", "empty"), ("stove", "hot", "cold")]
# invented kinds, so that only the rule can answer
GROUPS = """
blims drogs fenks glups hoxes jarns kwims lorbs mips norks plims quons rusks snivs trolts vexes wugs
yoks zimps brints
""".split()
TRAITS = ["have wings", "can swim", "eat grass", "sleep all day", "like music", "live in caves",
          "have stripes", "can climb", "fear water", "glow at night", "lay eggs", "carry shells"]


def order(rng):
    """Three people in a row, two neighbours compared; both directions of the word."""
    a, b, c = rng.sample(SHE + HE, 3)                     # a is the most
    up, most, down, least = rng.choice(ORDERS)
    facts = [rng.choice([f"{x} is {up} than {y}.", f"{y} is {down} than {x}."])
             for x, y in ((a, b), (b, c))]
    rng.shuffle(facts)
    ask = rng.randrange(4)
    question, answer, wrong = [
        (f"Who is the {most}?", f"{a} is the {most}.", f"{b} is the {most}."),
        (f"Who is the {least}?", f"{c} is the {least}.", f"{b} is the {least}."),
        (f"Is {a} {up} than {c}?", f"Yes, {a} is {up} than {c}.", f"No, {c} is {up} than {a}."),
        (f"Is {c} {up} than {a}?", f"No, {a} is {up} than {c}.", f"Yes, {c} is {up} than {a}."),
    ][ask]
    return f"{' '.join(facts)} {question}", answer, wrong, ("order", up, a, b, c, ask)


def connective(rng):
    """Two stated facts and a question that joins or negates them."""
    (x, *xs), (y, *ys) = rng.sample(STATES, 2)
    p, q, asked_p, asked_q = (rng.randrange(2) for _ in range(4))
    told = f"The {x} is {xs[p]}. The {y} is {ys[q]}."
    word = rng.choice(["and", "or", "not"])
    if word == "not":
        true, ask = p != asked_p, f"Is it true that the {x} is not {xs[asked_p]}?"
        because = f"The {x} is {xs[p]}."
    else:
        both = [p == asked_p, q == asked_q]
        true = all(both) if word == "and" else any(both)
        ask = f"Is it true that the {x} is {xs[asked_p]} {word} the {y} is {ys[asked_q]}?"
        because = f"The {x} is {xs[p]}, and the {y} is {ys[q]}."
    yes, no = f"Yes. {because}", f"No. {because}"
    key = "connective", word, x, y, p, q, asked_p, asked_q
    return f"{told} {ask}", *((yes, no) if true else (no, yes)), key


def implication(rng):
    """If p then q, told p, not p, q or not q: only the first and the last conclude."""
    (x, *xs), (y, *ys) = rng.sample(STATES, 2)
    p, q, case = rng.randrange(2), rng.randrange(2), rng.randrange(4)
    x_is, x_not = (f"the {x} is {xs[state]}" for state in (p, 1 - p))
    y_is, y_not = (f"the {y} is {ys[state]}" for state in (q, 1 - q))
    told, answer, wrong = [
        (x_is, f"Yes, {y_is}.", UNKNOWN), (x_not, UNKNOWN, f"No, {y_not}."),
        (y_is, UNKNOWN, f"Yes, {x_is}."), (y_not, f"No, {x_not}.", UNKNOWN)][case]
    ask = f"Is the {y} {ys[q]}?" if case < 2 else f"Is the {x} {xs[p]}?"
    question = f"If {x_is}, then {y_is}. T{told[1:]}. {ask}"
    return question, answer, wrong, ("implication", x, y, p, q, case)


def syllogism(rng):
    """All A are B, and all or no B have a trait: does it reach A, or come back?"""
    (a, b), trait, case = rng.sample(GROUPS, 2), rng.choice(TRAITS), rng.randrange(3)
    yes, no, back = f"Yes, all {a} {trait}.", f"No, no {a} {trait}.", f"Yes, all {b} {trait}."
    question, answer, wrong = [
        (f"All {a} are {b}. All {b} {trait}. Do all {a} {trait}?", yes, no),
        (f"All {a} are {b}. No {b} {trait}. Do any {a} {trait}?", no, yes),
        (f"All {a} are {b}. All {a} {trait}. Do all {b} {trait}?", UNKNOWN, back),
    ][case]
    return question, answer, wrong, ("syllogism", a, b, trait, case)


def problem(rng):
    """(question, answer, a wrong answer, key) drawn with `rng` (random.Random)."""
    return rng.choices([order, connective, implication, syllogism], [4, 3, 2, 2])[0](rng)


def main():
    rng = random.Random(0)
    for _ in range(10):
        question, answer, wrong, _ = problem(rng)
        print(f"{question}\n    {answer}    not: {wrong}")


if __name__ == "__main__":
    main()
