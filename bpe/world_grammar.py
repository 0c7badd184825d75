"""
A grammar that is a program. A story is told once, in Python; the same telling samples a text, scores
it, and finds every way in which a given text could have come about.

    def toss(teller):
        teller.tell(["{+name} won.", "{+name} lost."])

    tables = {"name": {"Ada": {}, "Ben": {}}}
    sample(toss, tables, random.Random(0))      # a Sampler with .text "Ben lost." and .bits 2.0
    derivations(toss, tables, "Ada won.")       # [2.0]: one way to say it, with probability 1/4

All chance passes through Teller.choose, and each choice is uniform. So -log2 p(text) is the sum of
log2(number of options), provided that the text has exactly one derivation; derivations() shows whether
it has. With that the corpus knows its own entropy, a limit that no model of it can beat.

Templates   {x}         says the fact x
            {+t}        draws a word from table t that the story has not drawn yet; it becomes fact t
            {+t=x}      the same, and it becomes fact x
            {a x}, {A +t}   puts a or an before it
A table is a dict: word -> further facts that come with it. Or a function from the facts to such a dict.

Left out on purpose: weights (a flat choice is the easiest to learn) and recursion.
"""

import re
from functools import lru_cache
from math import log2
from typing import NamedTuple

SLOT = re.compile(r"\{(?:(a|A) )?(\+?)(\w+)(?:=(\w+))?\}")


class DeadEnd(Exception):
    """The telling cannot go on: no option fits the given text or the forced facts."""


class Slot(NamedTuple):
    article: str  # "a", "A" or ""
    table: str    # "" says a known fact, else draws from this table
    name: str     # of the fact


@lru_cache(maxsize=None)
def pieces(template):
    """The template as a tuple of literal strings and Slots."""
    found, end = [], 0
    for m in SLOT.finditer(template):
        article, plus, word, name = m.groups()
        found += [template[end:m.start()], Slot(article or "", word if plus else "", name or word)]
        end = m.end()
    return tuple(p for p in (*found, template[end:]) if p)


def phrase(article, word):
    """The word with its article; the tables hold no word such as hour or unicorn."""
    return f"{article}{'n' * (word[0] in 'aeiou')} {word}" if article else word


class Teller:
    """One run of a story program: the facts so far and the bits spent on choices."""

    def __init__(self, tables):
        self.tables, self.facts, self.used, self.bits = tables, {}, set(), 0.0
        self.started = False

    def choose(self, options, visible=None, name=None):
        """
        One of the options that are not used words, all equally likely; costs log2 of their number.
        visible(option) is text that follows at once if it is taken, name the fact that it becomes.
        """
        raise NotImplementedError

    def say(self, text):
        raise NotImplementedError

    def tell(self, templates):
        """Choose one of the templates and say it, with a space between two sentences."""
        template = self.choose(templates, self.opening)
        if self.started:
            self.say(" ")
        self.started = True
        for piece in pieces(template):
            if isinstance(piece, str):
                self.say(piece)
            elif piece.table:
                self.draw(*piece)
            else:
                self.say(phrase(piece.article, self.facts[piece.name]))

    def draw(self, article, table, name):
        """Say a new word of the table and remember it, and what comes with it, as facts."""
        rows = self.tables[table]
        if callable(rows):
            rows = rows(self.facts)
        word = self.choose(rows, lambda w: phrase(article, w), name)
        self.say(phrase(article, word))
        self.used.add(word)
        self.facts[name] = word
        self.facts.update(rows[word])

    def opening(self, template):
        """The text of the template up to its first drawn word."""
        text = " " if self.started else ""
        for piece in pieces(template):
            if isinstance(piece, str):
                text += piece
            elif piece.table:
                return text + piece.article
            else:
                text += phrase(piece.article, self.facts[piece.name])
        return text


class Sampler(Teller):
    """Draws each choice with rng, except facts that are forced; these cost the same bits."""

    def __init__(self, tables, rng, forced):
        super().__init__(tables)
        self.rng, self.forced, self.said = rng, forced, []

    def choose(self, options, visible=None, name=None):
        options = [option for option in options if option not in self.used]
        self.bits += log2(len(options))
        if name not in self.forced:
            return options[int(self.rng.random() * len(options))]
        if self.forced[name] not in options:
            raise DeadEnd
        return self.forced[name]

    def say(self, text):
        self.said.append(text)

    @property
    def text(self):
        return "".join(self.said)


class Parser(Teller):
    """
    Follows a given text: the choices of the script, each with its bits, then the first that fits. What
    else would have fitted is left in .untried, as scripts.
    """

    def __init__(self, tables, text, script):
        super().__init__(tables)
        self.text, self.position = text, 0
        self.script, self.taken, self.untried = script, [], []

    def choose(self, options, visible=lambda option: "", name=None):
        step = len(self.taken)
        if step < len(self.script):
            choice = self.script[step]
        else:
            fits = [option for option in options if option not in self.used
                    and self.text.startswith(visible(option), self.position)]
            if not fits:
                raise DeadEnd
            bits = log2(len(options) - sum(word in options for word in self.used))
            choice, *others = [(option, bits) for option in fits]
            self.untried += [[*self.taken, other] for other in others]
        self.taken.append(choice)
        self.bits += choice[1]
        return choice[0]

    def say(self, text):
        if not self.text.startswith(text, self.position):
            raise DeadEnd
        self.position += len(text)


def sample(program, tables, rng, forced={}):
    """A finished Sampler: .text, .bits, .facts. Forced facts must be possible, or it never returns."""
    while True:
        teller = Sampler(tables, rng, forced)
        try:
            program(teller)
            return teller
        except DeadEnd:
            continue


def derivations(program, tables, text):
    """The bits of every derivation of the text, depth first; each branch replays its script."""
    found, scripts = [], [[]]
    while scripts:
        teller = Parser(tables, text, scripts.pop())
        try:
            program(teller)
            if teller.position == len(text):
                found.append(teller.bits)
        except DeadEnd:
            pass
        scripts += teller.untried
    return found
