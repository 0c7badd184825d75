"""
The science corpus: its tables agree with themselves, its questions have one right answer and stay
out of the text, and its documents tell every fact. No test here knows whether a fact is true of the
world; the SCHOOLBOOK pins some that a slip of a row or of a column would change.
"""

import random
import re
from collections import Counter

import pytest

from bpe import world_science as science
from bpe.world_reasons import REASONS
from bpe.world_tables import OVERLAP, TABLES

SCHOOLBOOK = {
    ("copper", "symbol"): "Cu", ("gold", "number"): "79", ("neon", "family"): "a noble gas",
    ("Mars", "order"): "the fourth", ("Earth", "year"): "365 days", ("a bee", "legs"): "six legs",
    ("a horse", "young"): "a foal",
    ("a koala", "continent"): "Australia", ("marble", "source"): "limestone",
    ("diamond", "hardness"): "10", ("the heart", "job"): "pumping blood",
    ("the femur", "place"): "in the leg", ("a carrot", "part"): "the root",
    ("wheat", "kin"): "the grass family", ("coffee", "origin"): "Africa",
}


@pytest.fixture
def rng():
    return random.Random(0)


@pytest.fixture(scope="module")
def corpus():
    """2,000 documents and their keys."""
    rng = random.Random(1)
    return [science.document(rng) for _ in range(2000)]


def fold(text):
    return re.findall(r"\w+", text.lower())


# ------------------------------------------------------------------------------------------- tables


def test_tables_agree():
    stated = science.stated()
    cells = Counter((fact.subject, fact.column) for fact in stated)
    assert max(cells.values()) == 1, cells.most_common(3)
    assert len({fact.subject.lower() for fact in stated}) == len({fact.subject for fact in stated})
    assert {fact.column for fact in stated} == set(science.wording())
    for (subject, column), value in SCHOOLBOOK.items():
        assert any(fact[1:] == (subject, column, value) for fact in stated), (subject, column)


def test_identities_are_unique():
    for column in ["symbol", "number", "order", "year", "hardness", "job", "next"]:
        values = [fact.value for fact in science.by("column")[column]]
        assert len(set(values)) == len(values), column


def test_enough_to_ask():
    splits = Counter(map(science.split, science.facts()))
    assert splits["test"] >= 540 and splits["valid"] >= 50 and splits["train"] >= 320, splits
    assert len(science.by("subject")) >= 200
    for column, members in science.by("column").items():
        if not science.asked(members[0]):
            continue
        assert len({fact.value for fact in members}) >= 4, column
        assert sum(science.split(fact) == "train" for fact in members) >= 5, column


def test_overlaps_and_reasons_name_real_values():
    """A misspelt value there would be ignored without a word."""
    real = {(fact.column, fact.value) for fact in science.stated()}
    overlaps = {(column, value) for column, sets in OVERLAP.items()
                for values in sets for value in values.split(", ")}
    assert overlaps <= real, overlaps - real
    assert set(science.reasons()) <= real, set(science.reasons()) - real
    assert len(REASONS.strip().splitlines()) == len(set(REASONS.strip().splitlines()))


def test_a_ragged_row_is_refused(monkeypatch):
    monkeypatch.setitem(TABLES, "moons", "subject | planet | finder\nIo | Jupiter")
    with pytest.raises(ValueError, match="moons"):
        science.stated.__wrapped__()


# ---------------------------------------------------------------------------------------- questions


def test_one_answer_is_right(rng):
    truth = {(fact.subject, fact.column): fact.value for fact in science.stated()}
    for fact in science.facts():
        for _ in range(3):
            item = science.question(rng, fact)
            choices = item["question"]["choices"]
            assert [choice["label"] for choice in choices] == list("ABCD")
            right = [c["text"] for c in choices if c["label"] == item["answerKey"]]
            assert right == [truth[fact.subject, fact.column]]
            texts = [choice["text"] for choice in choices]
            assert not any(a.startswith(b) for a in texts for b in texts if a is not b), texts
            for text in texts:
                assert text in right or not both_true(fact, text), (item, text)


def both_true(fact, value):
    """Spelled out again, so that a mistake in science.clash shows."""
    return value == fact.value or any(
        {value, fact.value} <= set(values.split(", ")) for values in OVERLAP.get(fact.column, []))


def test_letters_are_uniform(rng):
    facts = science.facts()
    letters = Counter(science.question(rng, rng.choice(facts))["answerKey"] for _ in range(4000))
    chi_square = sum((letters[letter] - 1000) ** 2 / 1000 for letter in "ABCD")
    assert chi_square < 16.3, letters  # three degrees of freedom: one honest run in a thousand fails


def test_an_answer_is_a_sentence_with_the_right_choice(rng):
    for fact in science.facts():
        question, answer = science.ask(rng, fact)
        item = science.question(rng, fact)
        right, = [c["text"] for c in item["question"]["choices"] if c["label"] == item["answerKey"]]
        assert right in answer and fact.subject.lower() in answer.lower() and answer[-1] == "."
        assert question.endswith("?") and "{" not in question + answer and answer[0] == answer[0].upper()


def test_following_up_asks_train_questions_alone(rng):
    for subject, members in science.by("subject").items():
        known = {f for f in members if science.asked(f) and science.split(f) == "train"}
        turns = science.follow_up(rng, subject)
        assert bool(turns) == bool(known)
        for question, answer, fact in turns[1:]:
            assert fact in known and fact.value.lower() in answer.lower()
            assert question.startswith("And ") and question.endswith("?")
            assert {"it", "its"} & set(fold(question)), question


def test_the_unknown_is_unknown(rng):
    known = {word for subject in science.by("subject") for word in fold(subject)} - {"a", "an", "the"}
    made = [science.unknown(rng) for _ in range(1000)]
    assert len(set(made)) > 950
    for question, answer in made:
        assert "I do not know" in answer or answer.endswith("so I do not know.")
        assert not set(fold(answer)) & known, answer


# ---------------------------------------------------------------------------------------- documents


def test_documents_tell_every_fact(corpus):
    """A line that has the subject and the value, in words, for each of the facts."""
    paragraphs = [f" {' '.join(fold(part))} " for text, _ in corpus for part in text.split("\n\n")]
    for fact in science.facts():
        subject, value = (f" {' '.join(fold(text))} " for text in (fact.subject, fact.value))
        assert any(subject in part and value in part for part in paragraphs), fact


def test_no_document_asks(corpus):
    """The questions are held out: no document holds one, so no form of one either."""
    assert not any("?" in text or "{" in text for text, _ in corpus)


def test_a_key_names_what_is_told(corpus):
    """The key's subjects are in the text, and the longest texts have the longest keys to vary."""
    for text, key in corpus:
        for part in key.split("; "):
            left, right = part.split(": ")
            subjects = left if set(right.split(", ")) <= set(science.wording()) else right
            assert all(s.lower() in text.lower() for s in subjects.split(", ")), (text, key)
    assert len({key for _, key in corpus}) > 0.95 * len(corpus)


def test_sentences_are_well_formed(corpus):
    for text, _ in corpus:
        assert not re.search(r"  | [.,:]|\.\.|,,|\ba a\b|\bthe the\b|\bin in\b", text), text
        for sentence in re.findall(r"[^.\n]+\.", text):
            assert sentence.strip()[0].isupper() or sentence.strip()[0].isdigit(), sentence


def test_statements_are_short_and_varied(rng):
    for fact in science.facts():
        told = {science.statement(rng, fact) for _ in range(60)}
        assert len(told) >= 4, fact
        assert all(len(sentence.split()) <= 20 for sentence in told), told
        assert any(s.startswith(science.upper(fact.value)) for s in told), told


def test_same_seed_same_text():
    assert [science.document(random.Random(7)) for _ in range(3)] == \
           [science.document(random.Random(7)) for _ in range(3)]


def test_has_teeth(monkeypatch, rng):
    """A clash that sees no overlap lets a second true answer through, and the test above sees it."""
    monkeypatch.setattr(science, "clash", lambda column, a, b: a == b)
    science.distractors.cache_clear()
    try:
        with pytest.raises(AssertionError):
            test_one_answer_is_right(rng)
    finally:
        science.distractors.cache_clear()
