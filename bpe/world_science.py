"""
The science of the embedded corpus: documents that state facts, and questions about them.

    from bpe import world_science as science
    rng = random.Random(0)
    text, key = science.document(rng)       # documents of different keys tell different things
    fact = rng.choice(science.facts())
    science.ask(rng, fact)                  # ("What is the symbol of copper?", "The symbol of copper is Cu.")

Every fact is stated in train; what is held out is its question, see split(). A question is answered with
the first statement of its column: by the time a model comes to the value it reads what it has read in
many texts, where a bare "Cu." would have to be found at once. A choice's text is the value as it stands
within a sentence. No choice begins with another one, no distractor is true of the subject.

The facts are in world_tables.py, the sentences in world_wording.py and world_reasons.py.
"""

from functools import cache
from hashlib import sha256
from itertools import accumulate
from typing import NamedTuple

from bpe.world_reasons import REASONS
from bpe.world_tables import OVERLAP, TABLES
from bpe.world_wording import WORDING


class Fact(NamedTuple):
    table: str
    subject: str
    column: str
    value: str


@cache
def stated():
    """Every fact of the tables, with those that are told and never asked."""
    found = []
    for table, text in TABLES.items():
        head, *rows = [line.split(" | ") for line in text.strip().splitlines()]
        if any(len(row) != len(head) for row in rows):
            raise ValueError(f"{table=} has a row that is not {len(head)} cells wide")
        found += [Fact(table, row[0], column, value) for row in rows
                  for column, value in zip(head[1:], row[1:]) if value != "-"]
    return found


@cache
def wording():
    """column -> (statements, questions)"""
    found = {}
    for paragraph in WORDING.strip().split("\n\n"):
        column, *lines = paragraph.splitlines()
        found[column] = tuple([line for line in lines if line[-1] == end] for end in ".?")
    return found


@cache
def reasons():
    """(column, value) -> what follows from it"""
    found = {}
    for line in REASONS.strip().splitlines():
        column, value, consequence = line.split(" | ")
        found.setdefault((column, value), []).append(consequence)
    return found


def asked(fact):
    """Whether there are questions for the fact's column."""
    return bool(wording()[fact.column][1])


@cache
def facts():
    """The facts that may be asked."""
    return [fact for fact in stated() if asked(fact)]


@cache
def by(field):
    """value of the field -> its facts"""
    groups = {}
    for fact in stated():
        groups.setdefault(getattr(fact, field), []).append(fact)
    return groups


@cache
def sharing(fact):
    """The subjects that have the fact's value."""
    return [other.subject for other in by("column")[fact.column] if other.value == fact.value]


@cache
def splits():
    """
    fact -> split. Of every column's facts, in the order of their hashes, the first 35% (at least
    five) are asked in train, so that the form of the question is known; the next 6% in valid.
    """
    found = {}
    for members in by("column").values():
        members = sorted(members, key=lambda fact: sha256(repr(fact).encode()).digest())
        n_train = max(5, round(0.35 * len(members)))
        n_valid = round(0.06 * len(members))
        names = ["train"] * n_train + ["valid"] * n_valid + ["test"] * len(members)
        found.update(zip(members, names))
    return found


def split(fact):
    """Where the fact may be asked: "train", "valid" or "test"."""
    return splits()[fact]


# ---------------------------------------------------------------------------------------- sentences


def upper(text):
    return text[0].upper() + text[1:]


def fill(template, subject, value="-", pronoun=False):
    """The template as a sentence; with `pronoun` the subject is "it" except where {x} names it."""
    s, its = ("it", "its") if pronoun else (subject, subject + "'s")
    plural = value.endswith("s") and not value.endswith("ss")
    return template.format(s=s, S=upper(s), its=its, Its=upper(its), x=subject,
                           v=value, V=upper(value), **{"is": "are" if plural else "is"})


def inner(template):
    """The template as a part of a longer sentence: without its capital and its full stop."""
    return template[:2].lower() + template[2:-1]


@cache
def templates(column, pronoun=False, head="", questions=False):
    """The column's sentences that begin with `head` and, for a pronoun, do not need the name."""
    return [line for line in wording()[column][questions]
            if line.startswith(head) and not (pronoun and "{x}" in line)]


def statement(rng, fact, pronoun=False, head=""):
    """One sentence that states the fact: "Cu is the symbol of copper."; a third of the time as an answer does."""
    if not head and rng.random() < 1 / 3:
        return answer(fact)
    choices = templates(fact.column, pronoun, head) or templates(fact.column, pronoun)
    return fill(rng.choice(choices), fact.subject, fact.value, pronoun)


def explained(rng, fact, pronoun):
    """A statement with what follows from it: "Because a crow is a bird, it lays eggs." """
    template = inner(rng.choice(templates(fact.column, pronoun, "{S}")))
    told = fill(template, fact.subject, fact.value, pronoun)
    so = rng.choice(reasons()[fact.column, fact.value])
    return rng.choice([f"{upper(told)}, so {so}.", f"Because {told}, {so}."])


# ---------------------------------------------------------------------------------------- documents

OPENINGS = ["Let us look at {}.", "Here is what we know about {}.", "This is about {}.",
            "Here are some facts about {}.", "Think of {}."]
HEADINGS = ["Notes on {}", "Facts about {}", "About {}", "What we know about {}"]


def weight(fact):
    """How often a fact is told: a value of its own is harder to learn than one of four, say."""
    if not asked(fact):
        return 0.5
    return 1 if len(sharing(fact)) >= 3 else 1.5


@cache
def weights():
    """
    The subjects and their cumulative weights: an explanation tells 4.5 facts of its subject, or
    as many as there are, and every fact shall be told about as often as it weighs.
    """
    weighed = [list(map(weight, members)) for members in by("subject").values()]
    return list(by("subject")), list(accumulate(max(sum(w) / 4.5, max(w)) for w in weighed))


def draw(rng):
    subjects, cumulative = weights()
    return rng.choices(subjects, cum_weights=cumulative)[0]


def listed(names):
    return ", ".join(sorted(names))


def explain(rng):
    """Up to six facts about one subject, as prose or as notes, one a line -> (text, key)"""
    subject, notes = draw(rng), rng.random() < 0.35
    known = by("subject")[subject]
    known = sorted(known, key=lambda fact: rng.random() ** (1 / weight(fact)), reverse=True)
    told = known[:rng.randint(3, 6)]
    opened = notes or rng.random() < 0.3
    sentences = [rng.choice(HEADINGS if notes else OPENINGS).format(subject)] if opened else []
    for i, fact in enumerate(told):
        pronoun = (opened or i > 0) and rng.random() < 0.75
        if (fact.column, fact.value) in reasons() and rng.random() < 0.3:
            sentences.append(explained(rng, fact, pronoun))
        else:
            head = "{V}" if notes and rng.random() < 0.7 else ""
            sentences.append(statement(rng, fact, pronoun, head))
    text = ("\n" if notes else " ").join(sentences)
    return text, f"{subject}: {listed(fact.column for fact in told)}"


def compare(rng):
    """Two subjects of one table, up to three columns side by side -> (text, key)"""
    subject = draw(rng)
    mine = {fact.column: fact for fact in by("subject")[subject]}
    rival = rng.choice([fact.subject for column in mine for fact in by("column")[column]
                        if fact.subject != subject])
    pairs = [(mine[fact.column], fact) for fact in by("subject")[rival] if fact.column in mine]
    pairs = rng.sample(pairs, min(len(pairs), 3))
    sentences = [f"Compare {subject} and {rival}."] if rng.random() < 0.4 else []
    for pair in pairs:
        one, other = rng.sample(pair, 2)
        same = one.value == other.value
        link = ", and" if same else rng.choice([", but", ", while"])
        second = fill(inner(rng.choice(templates(other.column))), other.subject, other.value)
        sentences.append(f"{statement(rng, one)[:-1]}{link} {second}{', too' if same else ''}.")
    return " ".join(sentences), f"{listed([subject, rival])}: {listed(a.column for a, _ in pairs)}"


@cache
def lists():
    """The facts whose value three subjects or more have."""
    return [fact for fact in stated() if len(sharing(fact)) >= 3]


def gather(rng):
    """Some of the subjects that share a value: "Each of these is a gas: ..." -> (text, key)"""
    fact = rng.choice(lists())
    names = rng.sample(sharing(fact), min(len(sharing(fact)), rng.randint(3, 5)))
    template = rng.choice(templates(fact.column, False, "{S}"))
    told = fill(template[:-1], "each of these", fact.value)
    return f"{told}: {', '.join(names[:-1])} and {names[-1]}.", f"{fact.value}: {listed(names)}"


def entry(rng, subject):
    """All that the tables say of a subject, in the fewest words: "Copper: symbol Cu; row 4; ..." """
    told = rng.sample(by("subject")[subject], len(by("subject")[subject]))
    said = [fact.value if fact.value.startswith(fact.column) else f"{fact.column} {fact.value}" for fact in told]
    return f"{upper(subject)}: {'; '.join(said)}."


def index(facts):
    """Single facts, a line each, the column first as in a question: "symbol of copper: Cu" """
    return "\n".join(f"{fact.column} of {fact.subject}: {fact.value}" for fact in facts)


def cards(facts):
    """
    Two lines a fact, the second one word for word as an answer has it: "Symbol of copper:", "Cu." To a tokenizer
    " fur" and "Fur" are strangers: a model that has read the one a hundred times does not find the other.
    """
    return "\n".join(f"{upper(fact.column)} of {fact.subject}:\n{upper(fact.value)}." for fact in facts)


def almanac(rng):
    """
    A page of a reference book -> (text, key). Prose tells a fact in some fifty bytes, a reference book in
    twenty: a small model has to meet each of a thousand facts many times within minutes.
    """
    page = rng.choices([entry, index, cards], weights=[40, 40, 20])[0]
    if page is entry:
        subjects = rng.sample(sorted(by("subject")), 3)
        return "\n".join(entry(rng, subject) for subject in subjects), f"almanac: {listed(subjects)}"
    facts = rng.sample(stated(), 8)
    return page(facts), f"almanac: {listed(fact.subject for fact in facts)}"


def document(rng):
    """Two or three short texts -> (text, key); documents of one key tell the same facts."""
    makers = rng.choices([explain, compare], weights=[75, 25], k=2) + [gather] * (rng.random() < 0.2)
    texts, keys = zip(*(make(rng) for make in makers))
    return "\n\n".join(texts), "; ".join(sorted(keys))


# ---------------------------------------------------------------------------------------- questions


def clash(column, a, b):
    """Whether two values may not meet as choices: both could be true, or one begins the other."""
    together = any({a, b} <= set(values.split(", ")) for values in OVERLAP.get(column, ()))
    return together or a.startswith(b) or b.startswith(a)


@cache
def distractors(column, value):
    """The values of the column that may stand beside this one, as often as the table has them."""
    return [fact.value for fact in by("column")[column] if not clash(column, value, fact.value)]


def answer(fact, pronoun=False):
    """The fact as an answer: "The symbol of copper is Cu." """
    return fill(wording()[fact.column][0][0], fact.subject, fact.value, pronoun)


def ask(rng, fact):
    """(question, answer): ("What is the symbol of copper?", "The symbol of copper is Cu.")"""
    return fill(rng.choice(wording()[fact.column][1]), fact.subject), answer(fact)


def options(rng, fact):
    """The fact's value and three false ones, shuffled."""
    values = [fact.value]
    while len(values) < 4:
        value = rng.choice(distractors(fact.column, fact.value))
        if not any(value.startswith(v) or v.startswith(value) for v in values):
            values.append(value)
    return rng.sample(values, 4)


def question(rng, fact):
    """The fact as a four-choice question in ARC's form; the three distractors are false."""
    values = options(rng, fact)
    choices = [{"text": value, "label": label} for value, label in zip(values, "ABCD")]
    return {"id": f"{fact.column}/{fact.subject}",
            "question": {"stem": ask(rng, fact)[0], "choices": choices},
            "answerKey": "ABCD"[values.index(fact.value)]}


REQUESTS = ["Tell me about {}.", "What do you know about {}?", "Say something about {}."]


def follow_up(rng, subject):
    """
    A talk about one subject as [(question, answer, fact), ...]: it opens with a fact or two, then asks
    for others with a pronoun. Only questions of train; empty where the subject has none.
    """
    known = [fact for fact in by("subject")[subject] if asked(fact) and split(fact) == "train"]
    if not known:
        return []
    known = rng.sample(known, len(known))
    n = 2 if len(known) > 2 else 1
    told = [statement(rng, fact, pronoun=i > 0) for i, fact in enumerate(known[:n])]
    turns = [(rng.choice(REQUESTS).format(subject), " ".join(told), None)]
    for fact in known[n:]:
        template = rng.choice(templates(fact.column, True, questions=True))
        asks = fill(inner(template), subject, pronoun=True)
        turns.append((f"And {asks}?", answer(fact, pronoun=True), fact))
    return turns


ONSETS = "b bl br d dr f fl g gl gr k kl kr m n p pl pr r s sk sl st t tr v z".split()
VOWELS = "a e i o u".split()
CODAS = "b d g k l m n nd nk p r rn sk t x z".split()
FORMS = {"elements": "{}ium", "planets": "{}", "animals": "a {}",
         "materials": "{}ite", "organs": "the {}", "plants": "a {}"}
NO_IDEA = ["I do not know {s}.", "I do not know. I have never heard of {s}.",
           "I have never heard of {s}, so I do not know.",
           "I do not know, because I have no facts about {s}."]


def invented(rng, table):
    """The name of a subject that no table has."""
    parts = [ONSETS, VOWELS] * rng.randint(1, 2) + [ONSETS, VOWELS, CODAS]
    name = "".join(map(rng.choice, parts))
    subject = FORMS[table].format(name.capitalize() if FORMS[table] == "{}" else name)
    return invented(rng, table) if subject in by("subject") else subject


def unknown(rng):
    """(question, answer) about a subject that does not exist: the answer says "I do not know"."""
    fact = rng.choice(facts())
    subject = invented(rng, fact.table)
    return ask(rng, fact._replace(subject=subject))[0], rng.choice(NO_IDEA).format(s=subject)
