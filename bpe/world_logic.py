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
    question, answer = [
        (f"Who is the {most}?", f"{a} is the {most}."),
        (f"Who is the {least}?", f"{c} is the {least}."),
        (f"Is {a} {up} than {c}?", f"Yes, {a} is {up} than {c}."),
        (f"Is {c} {up} than {a}?", f"No, {a} is {up} than {c}."),
    ][ask]
    return f"{' '.join(facts)} {question}", answer, ("order", up, a, b, c, ask)


def connective(rng):
    """Two stated facts and a question that joins or negates them."""
    (x, *xs), (y, *ys) = rng.sample(STATES, 2)
    p, q, asked_p, asked_q = (rng.randrange(2) for _ in range(4))
    told = f"The {x} is {xs[p]}. The {y} is {ys[q]}."
    word = rng.choice(["and", "or", "not"])
    if word == "not":
        true, ask = p != asked_p, f"Is it true that the {x} is not {xs[asked_p]}?"
    else:
        both = [p == asked_p, q == asked_q]
        true = all(both) if word == "and" else any(both)
        ask = f"Is it true that the {x} is {xs[asked_p]} {word} the {y} is {ys[asked_q]}?"
    answer = f"{'Yes' if true else 'No'}. The {x} is {xs[p]}" \
             + ("." if word == "not" else f", and the {y} is {ys[q]}.")
    return f"{told} {ask}", answer, ("connective", word, x, y, p, q, asked_p, asked_q)


def implication(rng):
    """If p then q, told p, not p, q or not q: only the first and the last conclude."""
    (x, *xs), (y, *ys) = rng.sample(STATES, 2)
    p, q, case = rng.randrange(2), rng.randrange(2), rng.randrange(4)
    told, ask, answer = [
        (f"The {x} is {xs[p]}.", f"Is the {y} {ys[q]}?", f"Yes, the {y} is {ys[q]}."),
        (f"The {x} is {xs[1 - p]}.", f"Is the {y} {ys[q]}?", UNKNOWN),
        (f"The {y} is {ys[q]}.", f"Is the {x} {xs[p]}?", UNKNOWN),
        (f"The {y} is {ys[1 - q]}.", f"Is the {x} {xs[p]}?", f"No, the {x} is {xs[1 - p]}."),
    ][case]
    question = f"If the {x} is {xs[p]}, then the {y} is {ys[q]}. {told} {ask}"
    return question, answer, ("implication", x, y, p, q, case)


def syllogism(rng):
    """All A are B, and all or no B have a trait: does it reach A, or come back?"""
    (a, b), trait, case = rng.sample(GROUPS, 2), rng.choice(TRAITS), rng.randrange(3)
    question, answer = [
        (f"All {a} are {b}. All {b} {trait}. Do all {a} {trait}?", f"Yes, all {a} {trait}."),
        (f"All {a} are {b}. No {b} {trait}. Do any {a} {trait}?", f"No, no {a} {trait}."),
        (f"All {a} are {b}. All {a} {trait}. Do all {b} {trait}?", UNKNOWN),
    ][case]
    return question, answer, ("syllogism", a, b, trait, case)


def problem(rng):
    """(question, answer, key) drawn with `rng` (random.Random)."""
    return rng.choices([order, connective, implication, syllogism], [4, 3, 2, 2])[0](rng)


def main():
    rng = random.Random(0)
    for _ in range(10):
        question, answer, _ = problem(rng)
        print(f"{question}\n    {answer}")


if __name__ == "__main__":
    main()
