"""
Which lesson does a message ask about? None, as a rule: then the base answers, as if nothing had ever been taught.

    table = background(messages)                             # how often the base has met which word; made once per base
    router = Router(table)
    router.add("3f2a91c07d55", facts)                        # a lesson's; later ones win ties
    router.choose("Who looks after the lighthouse at Skarvo?")    # ("3f2a91c07d55", 0, 0.82), or (None, None, 0.1)

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

from continual.wording import ARTICLES, BE, FUNCTION, KIN, PLACES, clauses, stem, words

SHARE = 0.4   # of a question's weight that a fact must have
LEAST = 8.0   # and how much that must be, in nats: a word the base has met once in 3,000 messages
AKIN = defaultdict(set)                                      # stem -> stems of words that are asked with in its place
for word, group in KIN.items():
    AKIN[stem(word)] |= {stem(other) for other in group}
WIDE = {stem(verb) for verb in ("have like eat make know see sell love own write keep speak play grow feed carry use "
                                "want need find bring buy give take hold wear visit").split()}  # of many things at once


def terms(text):
    """{stem: whether it is written as a name} of the words that mean something; parts of a compound count apart."""
    found = {}
    for sentence in re.split(r"(?<=[.?!:\n])\s+", text.replace("-", " ")):
        for n, word in enumerate(words(sentence)):
            if word.lower() not in FUNCTION:
                found[stem(word)] = found.get(stem(word), False) or n > 0 and word[0].isupper()
    return found


def background(messages):
    """{"messages": how many, "counts": {stem: messages that have it}} of texts as the base was asked them."""
    counts, total = Counter(), 0
    for text in messages:
        counts.update(terms(text).keys())
        total += 1
    return {"messages": total, "counts": dict(sorted(counts.items()))}


class Router:
    """facts: [(lesson, number of the fact in it, stems), ...] in the order in which they were taught"""

    def __init__(self, table=None):
        self.table = table or background([])
        self.facts, self.where, self.replaced = [], defaultdict(list), set()

    def weight(self, term):
        """What a word says, in nats: minus the log of its share of the base's messages."""
        return math.log((self.table["messages"] + 1) / (self.table["counts"].get(term, 0) + 0.5)) + 1

    def add(self, lesson, facts, replaced=()):
        """A lesson's facts. replaced: earlier ones, as (lesson, number), that are not asked about while it is there"""
        self.replaced |= {(other, number) for other, number in replaced}
        for number, fact in enumerate(facts):
            stems = frozenset(terms(fact.text or f"{fact.question} {fact.answer}"))
            for term in stems:
                self.where[term].append(len(self.facts))
            self.facts.append((lesson, number, stems))

    def covered(self, asked, stems):
        """The weight of the asked words that a fact has, itself or by one that is akin."""
        return sum(weight for term, weight in asked.items() if term in stems or not stems.isdisjoint(AKIN.get(term, ())))

    def choose(self, question):
        """(lesson, number of the fact, share of the question's weight that it has); None twice where it abstains."""
        found = terms(question)
        asked = {term: self.weight(term) for term in found}
        total, best = sum(asked.values()), (0.0, -1)
        strange = {term for term, name in found.items() if name and term not in self.table["counts"]}
        near = {n for term in asked for other in {term, *AKIN.get(term, ())} for n in self.where.get(other, ())}
        for n in near:
            lesson, number, stems = self.facts[n]
            weight = self.covered(asked, stems)
            if weight >= LEAST and strange <= stems and (lesson, number) not in self.replaced:
                best = max(best, (weight / total, n))
        share, n = best
        return (*self.facts[n][:2], share) if share >= SHARE else (None, None, share)

    def state(self):
        """All that routing depends on, as bytes."""
        table = hashlib.sha256(json.dumps(self.table, sort_keys=True).encode()).hexdigest()
        facts = [[lesson, number, sorted(stems)] for lesson, number, stems in self.facts]
        return json.dumps({"table": table, "facts": facts, "replaced": sorted(self.replaced)}).encode()


# ----------------------------------------------------------------------------
# lessons that contradict earlier ones

def claims(text):
    """[(subject, relation, object words, whole object), ...] of a statement, one for each of its clauses."""
    found = []
    for subject, verb, rest in clauses(text):
        first, *_ = *(word.lower() for word in words(rest)), ""
        relation = stem(verb), first if first in FUNCTION - ARTICLES or verb in BE and first in {"a", "the"} else ""
        found.append((set(terms(subject)), relation, set(terms(rest)), first))
    return found


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
        return set(terms(asked.question)) <= set(terms(said.text)) and not set(terms(asked.answer)) <= set(terms(said.text))
    return any(clash(a, b) for a in claims(fact.text) for b in claims(earlier.text))


def differ(a, b):
    """Whether two answers bring different things: neither has all the words of the other."""
    a, b = set(terms(a)), set(terms(b))
    return not (a <= b or b <= a)


def clash(a, b):
    (subject, relation, object, first), (other, related, thing, _) = a, b
    if relation != related or not object or not thing:
        return False
    if subject != other:                                     # X is the mayor of Torv: there is one
        return relation == ("is", "the") and object == thing and not subject & other
    if object <= thing or thing <= object:
        return False
    return relation[0] not in WIDE or bool(object & thing)
