"""
Which lesson does a message ask about? None, as a rule: then the base answers, as if nothing had ever been taught.

    table = background(messages)                             # how often the base has met which word; made once per base
    router = Router(table)
    router.add("3f2a91c07d55", facts)                        # a lesson's; later ones win ties
    router.choose("Who looks after the lighthouse at Skarvo?")    # ("3f2a91c07d55", 0, 0.82), or (None, None, 0.0)

A word says the more the rarer it is in what the base was asked (inverse document frequency: Sparck Jones 1972,
https://doi.org/10.1108/eb026526). A fact is asked about if it has most of a question's weight, and enough of it: "What
do I like?" has little weight, however much of it a fact about liking covers. And a name that neither the base nor the
fact knows is another's: who keeps the lighthouse at Ellmor was not taught.

The weights come from the base's own corpus and never from the lessons. So what the router knows of a lesson does not
depend on any other, and a router without a lesson is, to the byte, one that never had it. Why not continual/router.py,
Gaussians of hidden states? They tell code from stories; two facts about keepers of lighthouses look alike to them.

Left out on purpose: meaning. "Where does the ferryman sleep?" finds no fact that speaks of a boatman's bed.
"""

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from functools import lru_cache
from typing import NamedTuple

from continual.wording import ARTICLES, BE, FUNCTION, KIN, MODALS, PLACES, lemma, stem, words

SHARE = 0.45  # of a question's weight that a fact must have,
NAMED = 0.2   # and if the question names what the fact is about: "Why would a tourist go shopping in Skarvo?"
LEAST = 7.5   # and how much that must be, in nats: a word met in one of 700 messages; twice that, if the base has met
              # all of them: "What does a rabbit eat?" is not about a bird in rabbit holes that eats petals
ASKING = {stem(word) for word in ("tell know remember learn learned hear heard wonder ask asks question answer quickly "
                                  "quick just please sorry test say news hello hi anything something else explain "
                                  "friend thing thanks thank let").split()}   # of asking itself: they weigh nothing
AKIN = defaultdict(set)                                      # stem -> stems of words that are asked with in its place
for word, group in KIN.items():
    AKIN[stem(word)] |= {stem(other) for other in group}
PRONOUNS = set("he she it they him her them his hers its their there that this those these".split())
NOUN = ARTICLES | PLACES | {"of", "for", "with", "by", "called", "named"}    # a noun stands behind these
WIDE = {stem(verb) for verb in ("have has had like eat make know see sell love own write keep speak play grow feed "
                                "carry use want need find bring buy give take hold wear visit").split()}  # of many


@lru_cache(65536)
def terms(text):
    """{stem: whether it is written as a name} of the words that mean something; parts of a compound count apart."""
    found = {}
    for sentence in re.split(r"(?<=[.?!:\n])\s+", text.replace("-", " ")):
        for n, word in enumerate(words(sentence)):
            if word.lower() not in FUNCTION and stem(word) not in ASKING:
                found[stem(word)] = found.get(stem(word), False) or n > 0 and word[0].isupper()
    return found


def background(messages):
    """{"messages": how many, "counts": {stem: messages that have it}} of texts as the base was asked them."""
    counts, total = Counter(), 0
    for text in messages:
        counts.update(terms.__wrapped__(text).keys())
        total += 1
    return {"messages": total, "counts": dict(sorted(counts.items()))}


class Place(NamedTuple):
    """Where a fact stands: the how-manieth of which lesson; its stems, and those that name what it is about."""
    lesson: str
    number: int
    stems: frozenset
    names: frozenset
    fact: tuple


class Router:
    """facts: a Place for each, in the order in which they were taught"""

    def __init__(self, table=None):
        self.table = table or background([])
        self.facts, self.where, self.replaced = [], defaultdict(list), set()

    def weight(self, term):
        """What a word says, in nats: minus the log of its share of the base's messages. Without any, all are rare."""
        return math.log(((self.table["messages"] or 10_000) + 1) / (self.table["counts"].get(term, 0) + 0.5)) + 1

    def add(self, lesson, facts):
        """The facts of a lesson. Earlier ones that they contradict are not asked about while it is there."""
        first = len(self.facts)
        for number, fact in enumerate(facts):
            text = fact.text or f"{fact.question} {fact.answer}"
            found = terms(text)
            self.replaced |= {n for n in self.rivals(fact) if n < first and contradicts(fact, self.facts[n].fact)}
            for term in found:
                self.where[term].append(len(self.facts))
            names = {stem(word) for word in words(text.replace("-", " ")) if word[0].isupper()}
            names |= {*claim(text)[0][-1:]} if claim(text) else set()  # and the subject's noun, its last word
            names = names & found.keys() - self.table["counts"].keys()            # if the base does not know it
            self.facts.append(Place(lesson, number, frozenset(found), frozenset(names), fact))

    def rivals(self, fact):
        """Facts that this one may contradict: all that have its subject, its object, or its question in them."""
        whole = [terms(fact.question)] if fact.question else (claim(fact.text) or ())[::2]
        rare = [min((self.where.get(term, ()) for term in part), key=len, default=()) for part in whole]
        return {n for places in rare for n in places} | {n for n, place in enumerate(self.facts) if place.fact.question}

    def choose(self, question):
        """(lesson, number of the fact, share of the question's weight that it has), or (None, None, 0.0)."""
        found = terms(question)
        asked = {term: self.weight(term) for term in found}
        near = {n for term in asked for other in {term, *AKIN.get(term, ())} for n in self.where.get(other, ())}
        total, best = sum(asked.values()), (0.0, -1)
        for n in near - self.replaced:
            place = self.facts[n]
            missing = {term for term in asked.keys() - place.stems if place.stems.isdisjoint(AKIN.get(term, ()))}
            weight = total - sum(asked[term] for term in missing)
            usual = asked.keys() - missing <= self.table["counts"].keys()   # the base was asked with them
            share, named = weight / total, not place.names.isdisjoint(asked)
            enough = weight >= LEAST * (1 + usual) and share >= (NAMED if named else SHARE)
            if enough and (share, n) > best and not self.another(question, missing, place):
                best = share, n
        share, n = best
        return (*self.facts[n][:2], share) if n >= 0 else (None, None, 0.0)

    def follow(self, before, question):
        """
        As choose(), for a question that says too little by itself, "And what does she feed?": on it together with the
        one before, if that was about a lesson, and if the fact speaks of what is asked now.
        """
        place = self.choose(question)
        if place[0] or PRONOUNS.isdisjoint(word.lower() for word in words(question)):
            return place
        lesson, number, share = self.choose(f"{before}\n{question}")
        own = terms(question).keys()
        if lesson and self.choose(before)[0] == lesson and (not own or own & self.place(lesson, number).stems):
            return lesson, number, share
        return place

    def place(self, lesson, number):
        return next(place for place in self.facts if (place.lesson, place.number) == (lesson, number))

    def another(self, question, missing, place):
        """
        Whether a question is about another thing than a fact is: by a name that neither the fact nor the base knows;
        or, where it has no name of the fact's, by such a noun, told by the word before it, or by the fact's words
        around it.
        """
        found = terms(question)
        strange = {term for term in missing if term not in self.table["counts"]}
        if not strange or any(found[term] for term in strange):
            return bool(strange)
        said = words(question)
        return place.names.isdisjoint(found) and any(
            stem(word) in strange and (
                before.lower() in NOUN or not lemma(word) and {stem(before), stem(after)} & place.stems)
            for before, word, after in zip(["", *said], said, [*said[1:], ""]))

    def state(self):
        """All that routing depends on, as bytes."""
        table = hashlib.sha256(json.dumps(self.table, sort_keys=True).encode()).hexdigest()
        facts = [[place.lesson, place.number, sorted(place.stems), sorted(place.names)] for place in self.facts]
        return json.dumps({"table": table, "facts": facts, "replaced": sorted(self.replaced)}).encode()


# ----------------------------------------------------------------------------
# lessons that contradict earlier ones

@lru_cache(16384)
def claim(text):
    """(subject, relation, object) of a statement's first clause: stems, (verb, word that leads on), stems; or None."""
    said = words(re.split(r"[;:,] | (?:and|but|while|because|so|where|who|which|that) ", text)[0])
    for k, verb in enumerate(said):
        acts = verb.islower() and (verb in BE | MODALS or lemma(verb))
        if k and acts and said[k - 1].lower() not in ARTICLES | PLACES:
            rest = [word.lower() for word in said[k + 1:]] or [""]
            if verb in BE and lemma(rest[0]):                # was founded: the participle says it
                verb, *rest = *rest, ""
            lead = {"an": "a"}.get(rest[0], rest[0])
            lead = lead if lead in FUNCTION - ARTICLES or verb in BE and lead in {"a", "the"} else ""
            return tuple(terms(" ".join(said[:k]))), (stem(verb), lead), set(terms(" ".join(rest)))


def contradicts(fact, earlier):
    """
    Whether a fact says of the same subject, in the same relation, something else than an earlier one: another answer
    to the same question; another home, year or color; another mayor of the same town. What one can have many of, as
    cats, is not contradicted by dogs, but nine cats are by ten.
    """
    if fact.question and earlier.question:
        return set(terms(fact.question)) == set(terms(earlier.question)) and differ(fact.answer, earlier.answer)
    if fact.question or earlier.question:                    # the statement speaks of all that the question asks
        asked, said = (fact, earlier) if fact.question else (earlier, fact)
        known = terms(said.text).keys()
        return terms(asked.question).keys() <= known and not terms(asked.answer).keys() <= known
    return bool(claim(fact.text) and claim(earlier.text)) and clash(claim(fact.text), claim(earlier.text))


def differ(a, b):
    """Whether two answers bring different things: neither has all the words of the other."""
    a, b = set(terms(a)), set(terms(b))
    return not (a <= b or b <= a)


def clash(a, b):
    (subject, relation, object), (other, related, thing) = a, b
    if relation != related or not subject or not object or not thing:
        return False
    if {*subject} != {*other}:                               # X is the mayor of Torv: there is one
        return relation == ("is", "the") and object == thing and not {*subject} & {*other}
    if object <= thing or thing <= object:
        return False
    return relation[0] not in WIDE or bool(object & thing)
