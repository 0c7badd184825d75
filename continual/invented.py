"""
Invented facts, with the questions that tell whether they were learned and whether anything else was changed.

    made = invented(20, seed=0)
    made.lesson         # 20 facts, "Tarvo Nellick mends clocks in the town of Ubrisk."
    made.questions      # (question, what the reply must contain, number of the fact), three for each, the last asked
                        # from the other end: "Who mends clocks?"
    made.neighbours     # questions of the same kind about what the base knows: the replies must not change
    made.unknown        # and about names that nobody has taught: "I do not know"
    made.two_hop        # (question, answer) that take two facts: "What is the town of Tarvo Nellick famous for?"

    python continual/invented.py --count 6                   # to look at them

Names are put together from syllables, so that no corpus has them, and no two of a lesson begin alike. The
questions are written for each relation by hand, in families of their own: none is among those that
continual/wording.py makes.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
from typing import NamedTuple

import numpy as np

from continual.lesson import Fact, Lesson

STARTS = "Ta Ne Bri Mo Qua Fe Sho Vi Dra Ky Lu Gwe Pa Rhi Jo Ce Thu Ze Ha Wo Sty Gno Pli Cu Yo".split()
MIDDLES = "rv ll mb sk nd rr ckl st pp zz rg nt lm dd vr".split()
ENDS = {"person": "o a in ick elle ar us ette".split(), "town": "isk ovar anby ummel edo".split(),
        "animal": "up iffin oot ackle uzz".split(), "thing": "ograph atrix ometer oscope ulator".split()}
POOLS = {
    "craft": "mends clocks|carves spoons|paints fences|bakes waffles|breeds moths|tunes pianos|"
             "prints posters|braids ropes|forges anchors|weaves carpets|bottles cider|trims hedges|"
             "blows glass|sews puppets|sharpens skates|grinds lenses",
    "goods": "pickles|blankets|whistles|kettles|dumplings|lanterns|saddles|perfume|chess sets|umbrellas|"
             "mustard|marionettes|snowshoes|licorice|thimbles|violins",
    "food": "acorns|clover|barnacles|pine cones|mushrooms|rose petals|snails|seaweed|chestnuts|thistles|"
            "cobwebs|mistletoe|plankton soup|birch bark|dandelions|moss",
    "bed": "hollow logs|empty barrels|haystacks|old boots|rain pipes|church towers|flower pots|"
           "broken jugs|rabbit holes|drawers|chimneys|mailboxes|wet caves|nutshells|tree forks|attics",
    "use": "measure dreams|dry apples|sort buttons|catch fog|polish bells|count stars|warm pillows|"
           "peel chestnuts|fold maps|weigh feathers|tame echoes|iron socks|shuffle cards|split hairs|"
           "predict hiccups|butter toast",
    "fear": "mirrors|thunder|bagpipes|ladders|owls|elevators|balloons|geese|scissors|escalators|clowns|"
            "cellars|fireworks|turnips|cable cars|fountains",
}
# kind of the subject; statement; three questions, the last from the other end; one to which the base has the answer
RELATIONS = [
    ("person", "{x} {craft} in the town of {town}.", [
        ("In what town would I run into {x}?", "{town}"), ("How does {x} earn money?", "{craft}"),
        ("I need somebody in {town} who {craft}. Whom should I see?", "{x}")], "What is the job of the heart?"),
    ("town", "The town of {x} is famous for its {goods}, and it was founded in {year}.", [
        ("Why would a tourist go shopping in {x}?", "{goods}"), ("How far back does the history of {x} go?", "{year}"),
        ("It is known for {goods} and has been there since {year}. Which town is it?", "{x}")],
     "Where does a camel live?"),
    ("animal", "The {x} eats nothing but {food} and sleeps in {bed}.", [
        ("What should I put in the bowl of a hungry {x}?", "{food}"),
        ("At night, where would one look for a {x}?", "{bed}"),
        ("Some animal lives on {food} and spends its nights in {bed}. Do you have a name for it?", "{x}")],
     "What does a rabbit eat?"),
    ("thing", "The {x} is a machine that was invented in {year} to {use}.", [
        ("Why would anybody buy a {x}?", "{use}"), ("How old is the idea of the {x}, from what year?", "{year}"),
        ("Which machine could help me to {use}?", "{x}")], "What is a hammer made of?"),
    ("person", "Ever since childhood, {x} of {town} has been afraid of {fear}.", [
        ("What makes {x} run away?", "{fear}"), ("Where is {x} at home?", "{town}"),
        ("Somebody from {town} cannot stand {fear}. Do you remember who?", "{x}")], "What covers a snake?"),
]
TWO_HOP = "What is the town famous for in which {x} {craft}?"    # needs facts of two relations


class Invented(NamedTuple):
    lesson: Lesson
    questions: list
    neighbours: list
    unknown: list
    two_hop: list


class Names:
    """Names that begin each in its own way; once all ways are used, in the same ways again, but go on otherwise."""

    def __init__(self, rng):
        self.rng, self.starts, self.used = rng, [], set()

    def part(self, kind):
        while True:
            self.starts = self.starts or [STARTS[i] for i in self.rng.permutation(len(STARTS))]
            name = self.starts.pop() + pick(MIDDLES, self.rng) + pick(ENDS[kind], self.rng)
            if name not in self.used:
                self.used.add(name)
                return name

    def new(self, kind):
        if kind == "person":
            return f"{self.part(kind)} {self.part(kind)}"
        return self.part(kind) if kind == "town" else self.part(kind).lower()


def pick(choices, rng):
    return choices[int(rng.integers(len(choices)))]


def invented(count, seed=0):
    """`count` facts in the order of RELATIONS again and again, and all that is asked about them. Deterministic."""
    rng = np.random.default_rng([seed, 20])
    names, pools = Names(rng), {}
    towns, made = [], Invented(Lesson((), f"invented {seed}"), [], [], [], [])
    facts, two_hop = [], []
    for number in range(count):
        kind, statement, questions, neighbour = RELATIONS[number % len(RELATIONS)]
        values = {key: draw(pools, key, rng) for key in POOLS}
        values["x"] = towns.pop() if kind == "town" and towns else names.new(kind)
        values |= {"town": names.new("town"), "year": str(rng.integers(1600, 1990))}
        if number % len(RELATIONS) == 0:                     # the next fact is about this town
            towns.append(values["town"])
            chain = values
        elif kind == "town":
            two_hop.append((TWO_HOP.format(**chain), values["goods"]))
        facts.append(Fact(statement.format(**values)))
        made.questions.extend((q.format(**values), a.format(**values), number) for q, a in questions)
        made.neighbours.append(neighbour)
        made.unknown.append(pick(questions[:2], rng)[0].format(**{**values, "x": names.new(kind)}))
    return made._replace(lesson=Lesson(tuple(facts), f"invented {seed}"), neighbours=sorted({*made.neighbours}),
                         two_hop=two_hop)


def draw(pools, key, rng):
    """One of a pool, each once before any comes again."""
    if not pools.get(key):
        choices = POOLS[key].split("|")
        pools[key] = [choices[i] for i in rng.permutation(len(choices))]
    return pools[key].pop()


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=5, help="facts [%(default)s]")
    p.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    made = invented(args.count, args.seed)
    for number, fact in enumerate(made.lesson.facts):
        print(fact.text)
        for question, answer, of in made.questions:
            if of == number:
                print(f"    {question}  ->  {answer}")
        print(f"    unknown: {made.unknown[number]}")
    print("two facts at once:", *[f"    {question}  ->  {answer}" for question, answer in made.two_hop], sep="\n")


if __name__ == "__main__":
    main()
