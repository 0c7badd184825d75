"""
Fiction of the embedded corpus: stories of 5 to 12 sentences whose endings follow from what happened.

    from bpe import world_fiction
    world_fiction.story(random.Random(0))                          # Story(text, bits, facts)
    world_fiction.story(rng, hero="Tom", kind="fox", want="drum")  # as a user asks for it
    world_fiction.derivations(text)                                # [bits]: there is exactly one

A hero wants a thing and sets out for it. What stands in the way decides what helps. A friend whom the
hero helped comes back with it; one who was turned away has to be asked for pardon, or walks on. The
friend is of the other sex, and so is everybody named between the want and the ending: he and she
have one referent each. Words in world_words.py, sentences in world_sentences.py, probabilities and the
parser in world_grammar.py.
"""

from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from bpe import world_grammar as grammar
from bpe import world_sentences as s
from bpe import world_words as words

MALE = {"he": "he", "him": "him", "his": "his", "He": "He", "His": "His",
        "she": "she", "She": "She", "her": "her", "sex": "male"}
FEMALE = {"he": "she", "him": "her", "his": "her", "He": "She", "His": "Her",
          "she": "he", "She": "He", "her": "him", "sex": "female"}
HERO = {name: MALE for name in words.BOYS} | {name: FEMALE for name in words.GIRLS}
OTHER = {"male": words.GIRLS, "female": words.BOYS}  # sex of the hero -> names of the friend


def of_sex(table, sex):
    """The rows that a person of this sex can have: a boy is not called Anna."""
    return {word: row for word, row in table.items() if row.get("sex", sex) == sex}


HEROES = {None: HERO, "male": of_sex(HERO, "male"), "female": of_sex(HERO, "female")}
KINDS = {None: words.KIND, "male": of_sex(words.KIND, "male"), "female": of_sex(words.KIND, "female")}
MATES = {"male": dict.fromkeys(KINDS["female"], {}), "female": dict.fromkeys(KINDS["male"], {})}
TABLES = {
    **words.TABLES,
    "hero": lambda facts: HEROES[facts.get("sex")],
    "kind": lambda facts: KINDS[facts.get("sex")],
    "mate": lambda facts: MATES[facts["sex"]],
    "friend": lambda facts: OTHER[facts["sex"]],
    "barrier": lambda facts: words.TROUBLE[facts["trouble"]]["barrier"],
    "tool": lambda facts: words.TROUBLE[facts["trouble"]]["tool"],
}

EXTRAS = ["", "detail", "leave", "sight", "detail leave", "detail sight", "leave sight"]


def tell(t):
    """The story program: what happens, in order; t is a world_grammar.Teller."""
    t.tell(s.INTRO)
    extras = t.choose(EXTRAS)
    if "detail" in extras:
        t.tell(s.DETAIL)
    t.tell(s.WANT)
    t.tell(s.WHERE)
    if "leave" in extras:
        t.tell(s.LEAVE)
    if "sight" in extras:
        t.tell(s.SIGHT)
    t.choose([set_out_alone, meet_somebody])(t)


def set_out_alone(t):
    """The hero fails, then finds a tool or gets it from somebody who comes by."""
    solve = trouble(t)
    t.tell(s.FAIL)
    if t.choose(["find", "swap"]) == "find":
        t.tell(s.FIND)
        succeed(t, solve, s.END_ALONE, Who=t.facts["He"], who=t.facts["he"])
    else:
        t.tell(s.OFFER)
        t.tell(s.SWAP)
        succeed_together(t, solve)


def meet_somebody(t):
    """The hero helps somebody and is helped, or does not and has to ask for pardon or go without."""
    t.tell(s.MEET)
    need, answer = s.NEED[t.choose(list(s.NEED))], t.choose(["give", "refuse"])
    t.tell(need[answer])
    solve = trouble(t)
    if answer == "give":
        t.tell(s.RETURN)
        succeed_together(t, solve)
    elif t.choose(["pardon", "without"]) == "pardon":
        t.tell(s.SORRY)
        succeed_together(t, solve)
    else:
        for sentences in (s.FAIL, s.PASS, s.HOME, s.LESSON):
            t.tell(sentences)


def trouble(t):
    """What stands in the way. Returns the sentences about what helps."""
    t.facts["trouble"] = t.choose(list(s.PLOT))
    arrive, solve = s.PLOT[t.facts["trouble"]]
    t.tell(arrive)
    return solve


def succeed(t, solve, endings, **who):
    """The solution, the wanted thing, and an ending that knows the weather if it was told."""
    t.facts.update(who)
    t.tell(solve)
    t.tell(s.END + endings + (s.END_WEATHER if "after" in t.facts else []))


def succeed_together(t, solve):
    succeed(t, solve, s.END_TOGETHER, Who="They", who="they")


class Story(NamedTuple):
    text: str
    bits: float  # -log2 p(text) under tell(), nothing reserved or forced
    facts: dict  # hero, kind, want, place, obstacle, friend ("" where there is none), and every other


def reserved(kind, want):
    """Whether stories about this pair are held out; about one pair in twenty is."""
    return blake2b(f"{kind} {want}".encode(), digest_size=1).digest()[0] % 20 == 0


RESERVED = [(kind, want) for kind in words.KIND for want in words.WANT if reserved(kind, want)]


def check(forced, held):
    """ValueError if no story can keep the forced facts."""
    for fact, word in forced.items():
        if word not in {"hero": HERO, "kind": words.KIND, "want": words.WANT}[fact]:
            raise ValueError(f"no story about {fact} {word!r}: it is not in the tables")
    kind, want, hero = forced.get("kind"), forced.get("want"), forced.get("hero")
    if kind and hero and hero not in HEROES[words.KIND[kind].get("sex")]:
        raise ValueError(f"no story about a {kind} named {hero}")
    if kind and want and reserved(kind, want) != held:
        raise ValueError(f"{(kind, want)} is {'not ' if held else ''}reserved, but {held=}")


def story(rng, held=False, **forced):
    """
    A Story about a pair (kind, want) that is reserved iff held, drawn with a random.Random. Forced are
    any of hero=, kind= and want=, words of the tables; ValueError if no story can have them.
    """
    check(forced, held)
    sex = HERO.get(forced.get("hero"), {}).get("sex")
    pairs = held and [
        {"kind": kind, "want": want} for kind, want in RESERVED if kind in KINDS[sex]
        and forced.get("kind", kind) == kind and forced.get("want", want) == want]
    if pairs == []:
        raise ValueError(f"no reserved story about {forced}")
    while True:
        pair = rng.choice(pairs) if held else {}
        teller = grammar.sample(tell, TABLES, rng, forced | pair)
        if reserved(teller.facts["kind"], teller.facts["want"]) == held:
            facts = {"friend": "", **teller.facts, "obstacle": teller.facts["barrier"]}
            return Story(teller.text, teller.bits, facts)


def combination(facts):
    """What train and test must not share."""
    return " ".join(facts[key] for key in ("hero", "kind", "want", "place", "obstacle", "friend"))


def derivations(text):
    """The bits of every derivation of the text: [] if it is no story, one number if it is."""
    return grammar.derivations(tell, TABLES, text)
