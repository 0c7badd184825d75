"""
The episodes of TinyWorld's dialogues: a story, a question, a problem, an exercise, some talk.

Each takes a random.Random and the split `only`, and gives a list of turns (world_turn.py) whose
content belongs to that split.
"""

import re
from functools import cache

from bpe import world_arithmetic as arithmetic
from bpe import world_code as code
from bpe import world_fiction as fiction
from bpe import world_format as form
from bpe import world_logic as logic
from bpe import world_science as science
from bpe import world_talk as talk
from bpe.splits import drawn
from bpe.template import from_gsm8k
from bpe.world_grammar import phrase
from bpe.world_turn import Turn, contains, exact
from bpe.world_words import WANT

STORY_ASKS = [
    "Tell me a story about {hero}, {kind} who wants {want}.",
    "Write a story about {kind} named {hero} and {want}.",
    "Please make up a short story. {hero} is {kind} and wants {want}.",
    "I want to hear how {hero}, {kind}, looked for {want}.",
]
SHORT_ASKS = ["{} Answer with the bare value.", "{} Give only the answer.",
              "Reply with the answer alone: {}"]


def requested(facts):
    """What a user may ask of a story; train and test never share it."""
    return facts["hero"], facts["kind"], facts["want"]


def request(rng):
    """A hero, a kind and a thing to want that a story may have."""
    hero = rng.choice(list(fiction.HERO))
    kind, want = rng.choice(list(fiction.KINDS[fiction.HERO[hero]["sex"]])), rng.choice(list(WANT))
    return request(rng) if fiction.reserved(kind, want) else (hero, kind, want)


def story(rng, only):
    hero, kind, want = key = drawn(rng, only, request, tuple)
    text = fiction.story(rng, hero=hero, kind=kind, want=want).text
    ask = rng.choice(STORY_ASKS).format(hero=hero, kind=phrase("a", kind), want=phrase("a", want))
    other = rng.choice([word for word in WANT if word != want])
    check = {"type": "story", "answer": re.findall(r"\w+", " ".join(key)), "sentences": [5, 12]}
    return [Turn("story", ask, text, check, re.sub(rf"\b{want}\b", other, text), key)]


@cache
def askable(only):
    """The facts that the split may ask about."""
    return [fact for fact in science.facts() if science.split(fact) == only]


def untrue(rng, fact):
    """The fact with a value that its subject does not have."""
    return fact._replace(value=rng.choice(science.distractors(fact.column, fact.value)))


def open_question(rng, only):
    fact = rng.choice(askable(only))
    ask, reply = science.ask(rng, fact)
    value = science.upper(fact.value)
    return [contains("science", ask, reply, [value], science.answer(untrue(rng, fact)), fact, value)]


def choice_question(rng, only):
    """The reply says the fact and no letter: which line of the question it stood on is a harder thing to find."""
    fact = rng.choice(askable(only))
    values = science.options(rng, fact)
    lines = [f"{label}. {value}" for label, value in zip("ABCD", values)]
    wrong = fact._replace(value=rng.choice([value for value in values if value != fact.value]))
    ask, reply = science.ask(rng, fact)
    value = science.upper(fact.value)
    return [contains("science", "\n".join([ask, *lines]), reply, [value], science.answer(wrong), fact, value)]


def follow_up(rng, only):
    """Something about a subject, then questions that call it `it`; of train alone, as in science."""
    if only != "train":
        return small_talk(rng, only)
    talked = []
    while len(talked) < 2:
        subject = rng.choice(askable(only)).subject
        talked = science.follow_up(rng, subject)
    (ask, reply, _), *later = talked
    turns = [exact("chat", ask, reply, "I do not know.", (subject, ask))]
    for ask, reply, fact in later:
        wrong = science.answer(untrue(rng, fact), pronoun=True)
        turns.append(contains("chat", ask, reply, [science.upper(fact.value)], wrong, fact))
    return turns


def unknown(rng, only):
    """A question about something that does not exist."""
    ask, reply = drawn(rng, only, science.unknown, lambda item: item[0])
    wrong = f"I have heard of that. The answer: {science.upper(rng.choice(askable(only)).value)}."
    return [contains("chat", ask, reply, ["do not know"], wrong, ask)]


def word_problem(rng, only):
    p = arithmetic.problem(rng, only=only)
    return [calculated(rng, p.question, p.answer, p.key)]


def calculation(rng, only):
    question, answer, key = drawn(rng, only, arithmetic.calculation, lambda item: item[-1])
    return [calculated(rng, question, answer, key)]


def calculated(rng, question, answer, key):
    """The turn of an answer with GSM8K's marks; its wrong reply slips in one step."""
    parts = from_gsm8k(answer)
    result = [part["text"] for part in parts if part["type"] == "result"][-1]
    check = {"type": "number", "answer": result}
    wrong = from_gsm8k(arithmetic.slip(answer, rng))
    return Turn("arithmetic", question, parts, check, wrong, key)


def reasoning(rng, only):
    question, answer, wrong, key = drawn(rng, only, logic.problem, lambda item: item[-1])
    short = next((word for word in ("Yes", "No") if answer.startswith(word)), None)
    return [exact("logic", question, answer, wrong, key, short)]


def formatted(rng, only):
    """An exercise in format, or a question whose answer is to come without a sentence around it."""
    if rng.random() < 0.75:
        return [drawn(rng, only, lambda rng: rng.choice(form.TASKS)(rng), lambda turn: turn.key)]
    turn, = rng.choice([open_question, reasoning])(rng, only)
    if not turn.short:
        return formatted(rng, only)
    wrong = {"Yes": "No", "No": "Yes"}.get(turn.short) or science.upper(untrue(rng, turn.key).value)
    return [exact("format", rng.choice(SHORT_ASKS).format(turn.ask), turn.short, wrong, turn.key)]


def small_talk(rng, only):
    if only == "train" and rng.random() < 0.25:
        return talk.plain(rng)
    return drawn(rng, only, lambda rng: rng.choice(talk.EPISODES)(rng), lambda turns: turns[-1].key)


DOCSTRING = re.compile(r'    """.*?"""\n', re.DOTALL)
SPOTS = re.compile(r"\b\d+\b|'[a-z]+'|\b(?:sum|max|min|len|upper|lower)\b")
SWAPS = {"sum": "max", "max": "min", "min": "max", "len": "sum", "upper": "lower", "lower": "upper"}


def function(rng, only):
    """A request for a function; the wrong one differs in a number, a string or a name."""
    made = drawn(rng, only, code.function, lambda made: made.key)
    head, body = DOCSTRING.sub("", made.source).rstrip().split("\n", 1)
    spots = list(SPOTS.finditer(body))
    if not spots:
        return function(rng, only)
    spot = rng.choice(spots)
    old = spot[0]
    new = SWAPS.get(old) or (str(int(old) + 1) if old.isdigit() else old[:-1] + "s'")
    wrong = body[:spot.start()] + new + body[spot.end():]
    check = {"type": "code", "name": made.name, "answer": made.checks}
    return [Turn("code", made.instruction, f"{head}\n{body}", check, f"{head}\n{wrong}", made.key)]


def call(rng, only):
    """What does this function return? The wrong reply is what it returns for something else."""
    made = drawn(rng, only, code.function, lambda made: made.key)
    ask, reply = code.question(rng, made)
    others = [repr(result) for _, result in made.checks if repr(result) != reply]
    wrong = rng.choice(others) if others else "None"
    return [exact("code", ask, reply, wrong, made.key, reply)]
