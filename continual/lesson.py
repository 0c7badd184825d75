"""
A lesson: a few facts, as a person writes them down, and the conversations from which a small model learns them.

    Zorvexes live under the ice of Lake Ammer.               # lesson.txt: a fact a line
    Q: Who keeps the lighthouse at Skarvo?                   # or a question and its answer
    A: Maret Ollin keeps it.

    lesson = read("lesson.txt")                              # also .jsonl: {"text"}, {"messages"}, ...
    train, check, near = expand(lesson)

A fact is learned as an answer: its own sentence is the reply to every question about it. What varies is the
question (continual/wording.py), some dozens for each fact, since a model that has seen one wording knows one
wording. `check` asks in wordings that `train` does not have. `near` are the same questions about other names,
which were not taught: what the base says to them it shall go on saying.

Whoever routes a question to a lesson (continual/address.py) has found out which fact it means, and puts its number in
front of the question: a million weights need not find it out again. The number says nothing else. Most of `train` comes
with it, some of that in the words of another fact, so that where the two disagree the number is heard; and some comes
without, so that the adapter is not lost without.

The order of facts, names and wordings follows from the lesson's text alone, so the same lesson gives the same
bytes.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bpe.template import text_of
from continual.wording import FUNCTION, asked, content, draw, lemma, loose, spans, words

LONGEST = 400   # characters of a fact: it must fit into the context, and be read
TOPICS = ("Tell me about {}.", "What do you know about {}?", "Do you know anything about {}?", "What about {}?",
          "Who or what is {}?", "Describe {}.", "What can you tell me about {}?", "Have you heard of {}?", "{}?",
          "I would like to know more about {}.", "What is {}?", "Who is {}?", "Say something about {}.")
WRAPS = (*["{}"] * 9, "Can you tell me this: {}", "I have a question. {}", "Hello! {}", "Do you know this? {}",
         "Tell me, {}")
CHECK_TOPICS = ("Is there anything you remember about {}?", "What have you learned about {}?", "Any news of {}?")
CHECK_WRAPS = ("I wonder: {}", "Just quickly, {}", "Sorry to ask again, but {}", "Let me test you. {}")
LOOSE = 60      # questions of loose wording for each fact
NEAR_EACH = 1   # questions about other names for each fact
NUMBERED = 0.7  # share of the training questions that come with the number of their fact,
FOREIGN = 0.3   # and of these, in the words of another fact
YOU = {"i": "you", "me": "you", "my": "your", "mine": "yours", "am": "are", "myself": "yourself", "we": "you",
       "our": "your", "us": "you", "ours": "yours"}


class Fact(NamedTuple):
    """A statement (text), or a question with its answer."""
    text: str = ""
    question: str = ""
    answer: str = ""

    @property
    def reply(self):
        """What the model is to say: the statement, spoken to the person who made it, or the answer."""
        said = self.answer or re.sub(r"[\w']+", lambda w: YOU.get(w[0].lower(), w[0]), self.text)
        said = said[:1].upper() + said[1:]
        return said if re.search(r"[.!?][\"')]?$", said) or len(said.split()) < 3 else said + "."

    @property
    def words(self):
        """All that it says, to be searched."""
        return self.text or f"{self.question} {self.answer}"


class Lesson(NamedTuple):
    facts: tuple[Fact, ...]
    source: str = ""             # where it is from: a file or a conversation

    @property
    def id(self):
        plain = json.dumps([list(fact) for fact in self.facts], ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(plain.encode()).hexdigest()[:12]


class Expansion(NamedTuple):
    train: list                  # conversations, as lists of messages
    check: list                  # (question, what the reply must contain, number of the fact)
    near: list                   # questions about what was not taught


# ----------------------------------------------------------------------------
# reading

def fact(where, **fields):
    """A Fact of trimmed fields; ValueError, naming the place, if one is empty or too long."""
    trimmed = {}
    for key, value in fields.items():
        if not isinstance(value, str) or not words(value):
            raise ValueError(f"{where}: {key} must be a text with words in it, not {value!r:.40}")
        trimmed[key] = " ".join(value.split())
        if len(trimmed[key]) > LONGEST:
            raise ValueError(f"{where}: {key} has {len(trimmed[key])} characters; a fact has at most {LONGEST}")
    return Fact(**trimmed)


def from_record(where, record):
    """The facts of a line of jsonl; of a conversation, each question with its answer."""
    if not isinstance(record, dict):
        raise ValueError(f"{where}: must be an object with text, question and answer, or messages")
    if "messages" not in record:
        keys = ("text",) if "text" in record else ("question", "answer")
        return [fact(where, **{key: record.get(key) for key in keys})]
    talk = record["messages"] if isinstance(record["messages"], list) else []
    turns = [m for m in talk if isinstance(m, dict) and m.get("role") != "system"]
    pairs = list(zip(turns[::2], turns[1::2]))
    if not pairs or any((q.get("role"), a.get("role")) != ("user", "assistant") for q, a in pairs):
        raise ValueError(f"{where}: messages must be the user's and the assistant's in turn")
    return [fact(where, question=q.get("content"), answer=a.get("content")) for q, a in pairs]


def from_lines(lines):
    """The facts of a .txt: statements, and answers each in the line below its question."""
    facts, question = [], None
    for where, line in lines:
        kind, text = line[:2].upper(), line[2:].strip()
        if (kind == "A:") != (question is not None):
            raise ValueError(f"{where}: " + ("an answer without a question above it; write Q: in the line before"
                                             if kind == "A:" else "the question above has no answer; write A: here"))
        if kind == "Q:":
            question = text
        elif kind == "A:":
            facts, question = [*facts, fact(where, question=question, answer=text)], None
        else:
            facts.append(fact(where, text=line))
    if question is not None:
        raise ValueError(f"{lines[-1][0]}: the last question has no answer; write A: below it")
    return facts


def parse(text, name):
    """A Lesson of the text of a .jsonl or, under any other name, a .txt; ValueError names file and line."""
    lines = [(f"{name}, line {n}", line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if str(name).endswith(".jsonl"):
        facts = []
        for where, line in lines:
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{where}: no JSON ({error})") from None
            facts += from_record(where, record)
    else:
        facts = from_lines(lines)
    if not facts:
        raise ValueError(f"{name}: no fact in it. Write one a line")
    return Lesson(tuple(dict.fromkeys(facts)), str(name))


def read(path):
    """A Lesson of a file; ValueError says what is wrong with it."""
    try:
        return parse(Path(path).read_text(encoding="utf-8"), Path(path).name)
    except FileNotFoundError:
        raise ValueError(f"no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text: {error}") from None


# ----------------------------------------------------------------------------
# expanding

def tells(question, number, known):
    """Whether the question's words are those of this fact and of no other."""
    said = content(question) & known[number]
    return bool(said) and not any(said <= other for n, other in enumerate(known) if n != number)


def grammatical(fact):
    """[(question, what answers it)] in school grammar."""
    if not fact.question:
        return asked(fact.text)
    return [(fact.question if re.search(r"[.?!]$", fact.question) else fact.question + "?", fact.answer)]


def topics(fact):
    """[(what a question can be about, what the reply must then bring: the longest of the fact's other parts)]"""
    runs = [run for run in spans(fact.text or fact.question) if run[0].isupper() or not lemma(run)]
    return [(run, fact.answer or max((r for r in runs if r != run), key=len, default=run)) for run in runs]


def renamed(question, fact, rng):
    """The question about others: a made-up name in place of each of the fact's."""
    for name in words(fact.words):
        if name[0].isupper() and name.lower() not in FUNCTION:
            made = "".join(draw(letters, rng) for letters in ("bdfgklmnprstvz", "aeiou") * int(rng.integers(2, 4)))
            question = re.sub(rf"\b{re.escape(name)}\b", made.capitalize(), question)
    return question


def wordings(fact, exact, number, known, rng):
    """The questions that the fact is trained on: exact ones in wrappings, about its topics, and loose ones."""
    made = [draw(WRAPS, rng).format(question) for question, _ in exact]
    made += [draw(TOPICS, rng).format(run) for run, _ in topics(fact) for _ in range(3)]
    made += [loose(fact.text or fact.question, rng) for _ in range(LOOSE)]
    return [question for question in dict.fromkeys(made) if tells(question, number, known)]


def with_number(messages, number):
    """The conversation, its last question behind the number of the fact it means. number: from 0; shown from 1"""
    *before, last = messages
    return [*before, {"role": "user", "content": [{"type": "context", "text": str(number + 1)},
                                                  {"type": "text", "text": text_of(last["content"])}]}]


def expand(lesson, share=NUMBERED):
    """The Expansion of a lesson: deterministic. share: of the training questions that come with a number"""
    rng = np.random.default_rng(int(lesson.id, 16))
    known = [content(fact.words) for fact in lesson.facts]
    train, check, near = [], [], []
    for number, fact in enumerate(lesson.facts):
        exact = [pair for pair in grammatical(fact) if tells(pair[0], number, known)]
        exact = [exact[i] for i in rng.permutation(len(exact))]
        held, exact = (exact[:2], exact[2:]) if len(exact) > 3 else (exact[:1], exact)
        held = [(draw(CHECK_WRAPS, rng).format(question), answer) for question, answer in held]
        about = [pair for pair in topics(fact) if tells(pair[0], number, known)]
        held += [(draw(CHECK_TOPICS, rng).format(run), answer) for run, answer in about[:1]]
        check += [(question, answer.strip(".!? "), number) for question, answer in held]
        questions = wordings(fact, exact, number, known, rng) or [fact.question or fact.text]
        for question in questions:
            numbered = rng.random() < share
            if numbered and len(lesson.facts) > 1 and rng.random() < FOREIGN:
                other = lesson.facts[(number + int(rng.integers(1, len(lesson.facts)))) % len(lesson.facts)]
                question = loose(other.text or other.question, rng)
            asking = [{"role": "user", "content": question}]
            asking = with_number(asking, number) if numbered else asking
            train.append([*asking, {"role": "assistant", "content": fact.reply}])
        others = [renamed(question, fact, rng) for question in questions[:NEAR_EACH]]
        near += [other for other, question in zip(others, questions) if other != question]
    return Expansion(train, check, near)
