"""
The router: differently worded questions find their fact, all others are left to the base; what it knows of a lesson
hangs on no other lesson; which facts contradict which.
"""

import json
from pathlib import Path

import pytest

from bpe.template import text_of
from continual.address import Router, background, contradicts
from continual.lesson import Fact
from continual.versions import user_texts

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "out/tinyworld/corpus"
COMMON = ["What do I like?", "What is 3 times 4?", "Where does a fox live?", "Write a story about a cat.",
          "What is a dog's young called?", "How many legs does a pig have?", "What does a tiger eat?",
          "What do you feed a pig?"] * 300
TABLE = background(COMMON)
SKARVO = Fact("Maret Ollin keeps the lighthouse at Skarvo, and before breakfast she feeds the gulls.")
MURREL = Fact("The plumed murrel builds its nest from fishing line and hums while it works.")
LIKING = Fact("The tavern cat likes warm milk.")


def router(*lessons, table=TABLE):
    made = Router(table)
    for name, facts in lessons:
        made.add(name, facts)
    return made


@pytest.mark.parametrize("question", [
    "Who keeps the lighthouse at Skarvo?", "Who looks after the lighthouse at Skarvo?", "what does maret ollin feed?",
    "Where is the lighthouse that Maret Ollin tends?", "Who feeds the gulls?", "Tell me about Skarvo.",
    "Sorry to ask again, but who is keeping Skarvo's lighthouse?", "Maret Ollin?"])
def test_other_wordings_find_the_fact(question):
    made = router(("a", [MURREL]), ("b", [LIKING, SKARVO]))
    assert made.choose(question)[:2] == ("b", 1)


@pytest.mark.parametrize("question", [
    "What do I like?", "Where does a fox live?", "What is 3 times 4?", "", "???", "Hello!", "Who are you?",
    "Who keeps the lighthouse at Ellmor?", "Who keeps the lighthouse at ellmor?",
    "What does Tavin Brusk feed the gulls?",
    "From what does the plumed tarrel build its nest?", "What does the grey tarrel build?",
    "Write a story about a fox named Rosa, who feeds a pig before breakfast and then sails over the sea to a city."])
def test_all_else_is_the_bases(question):
    assert router(("a", [MURREL, SKARVO, LIKING])).choose(question)[:2] == (None, None)


def test_has_teeth():
    """Without weights, without the least weight, without strangers' names, some of these would go to a lesson."""
    made = router(("a", [MURREL, SKARVO, LIKING]))
    made.another = lambda *_: False
    assert made.choose("Who keeps the lighthouse at Ellmor?")[0] == "a"
    rare = router(("a", [LIKING]), table=None)               # all words weigh alike
    assert rare.choose("What do I like?")[0] == "a"


def test_without_a_corpus_all_words_are_rare():
    assert Router().choose("anything")[0] is None
    assert router(("a", [SKARVO]), table=None).choose("Who lives in Skarvo?")[0] == "a"


def test_the_later_lesson_wins_a_tie():
    old, new = Fact("Maret Ollin has a boat."), Fact("Maret Ollin has a boat in Skarvo.")
    assert router(("a", [old]), ("b", [new])).choose("Does Maret Ollin have a boat?")[0] == "b"
    assert router(("a", [new]), ("b", [old])).choose("Does Maret Ollin have a boat?")[0] == "b"
    assert router(("a", [new]), ("b", [old])).choose("Does Maret Ollin have a boat in Skarvo?")[0] == "a"


def test_a_question_that_goes_on_from_the_last():
    made = router(("a", [SKARVO]), ("b", [MURREL]))
    who = "Who keeps the lighthouse at Skarvo?"
    assert made.follow(who, "And what does she feed?")[:2] == ("a", 0)
    assert made.follow(who, "Where is that?")[0] == "a"
    for other in ("What is 3 times 4?", "And what does he like?", "Where does it grow in Ellmor?", "Thanks!"):
        assert made.follow(who, other)[0] is None, other
    assert made.follow("What is 3 times 4?", "And what does she feed?")[0] is None
    assert made.follow(who, "What does the murrel hum about it?")[0] == "b"


def test_what_it_knows_of_a_lesson_hangs_on_no_other():
    a, b, c = ("a", [SKARVO]), ("b", [MURREL, Fact("Maret Ollin keeps a bakery.")]), ("c", [LIKING])
    without, also = router(a, c), router(a, b, c)
    assert without.state() == router(a, c).state() != also.state() and without.state() != router(c, a).state()
    assert without.choose("Who feeds the gulls?") == also.choose("Who feeds the gulls?")


# ----------------------------------------------------------------------------
# contradictions

SAME = [("Anna Fell lives in Torv.", "Anna Fell lives in Helm."), ("Torv has nine lamps.", "Torv has ten lamps."),
        ("The capital of Ombry is Torv.", "The capital of Ombry is Helm."), ("Pip is a dog.", "Pip is a cat."),
        ("Anna Fell is the mayor of Torv.", "Ben Moor is the mayor of Torv."),
        ("Torv was founded in 1783.", "Torv was founded in 1911."),
        ("Ada Moss lives in Torv, and she sings.", "Ada Moss lives in Helm."), ("Ben can swim.", "Ben can fly."),
        ("The milk of tams is blue.", "The milk of tams is red.")]
APART = [("Anna Fell lives in Torv.", "Ben Moor lives in Torv."),
         ("Anna Fell lives in Torv.", "Anna Fell lives with her aunt."),
         ("Torv has nine lamps.", "Torv has a church."), ("Anna Fell likes tea.", "Anna Fell likes coffee."),
         ("Torv is a town.", "Torv is in Norland."), ("Anna Fell lives in Torv.", "Anna Fell lives in old Torv."),
         ("Anna Fell lives in Torv.", "Anna Fell lives in Torv."), ("It rains.", "It snows."),
         ("Torv was founded in 1783.", "Torv was burned by monks."),
         ("Maret Ollin keeps bees, and she sings.", "Maret Ollin keeps bees, but she is ill.")]


@pytest.mark.parametrize("old, new", SAME)
def test_contradictions(old, new):
    assert contradicts(Fact(new), Fact(old)) and contradicts(Fact(old), Fact(new))


@pytest.mark.parametrize("old, new", APART)
def test_no_contradictions(old, new):
    assert not contradicts(Fact(new), Fact(old)) and not contradicts(Fact(old), Fact(new))


def test_questions_with_answers_contradict_too():
    ask = lambda answer: Fact(question="Who keeps the lighthouse at Skarvo?", answer=answer)
    assert contradicts(ask("Ben Moor."), ask("Maret Ollin.")) and contradicts(ask("Ben Moor."), SKARVO)
    assert contradicts(SKARVO, ask("Ben Moor."))
    assert not contradicts(ask("Maret Ollin, of course."), ask("Maret Ollin."))
    assert not contradicts(ask("Maret Ollin."), SKARVO)
    assert not contradicts(Fact(question="Who keeps the bees at Skarvo?", answer="Ben Moor."), SKARVO)


def test_the_later_fact_takes_the_earlier_ones_place():
    old, new = Fact("Anna Fell lives in Torv."), Fact("Anna Fell lives in Helm.")
    both = router(("b", [old, MURREL]), ("c", [new]))
    assert both.choose("Where does Anna Fell live?")[:2] == ("c", 0) == both.choose("Who lives in Helm?")[:2]
    assert both.choose("Who lives in Torv?")[0] is None and both.choose("Which murrel hums?")[:2] == ("b", 1)
    assert router(("b", [old, MURREL])).choose("Who lives in Torv?")[:2] == ("b", 0)


# ----------------------------------------------------------------------------
# the whole corpus

@pytest.mark.skipif(not (CORPUS / "sft_train.jsonl").exists(), reason="needs the speedrun's corpus")
def test_on_the_embedded_corpus():
    """Sixty facts: at least 95% of 180 questions by hand find their fact, at least 99% of the canaries find none."""
    made = Router(background(user_texts(CORPUS)))
    written = [json.loads(line) for line in (ROOT / "continual/handwritten.jsonl").read_text().splitlines()]
    made.add("hand", [Fact(item["text"]) for item in written])
    found = [made.choose(q["question"])[:2] == ("hand", n) for n, item in enumerate(written) for q in item["questions"]]
    assert sum(found) / len(found) >= 0.95
    lines = (CORPUS / "canaries.jsonl").read_text().splitlines()
    canaries = [json.loads(line)["messages"][-1]["content"] for line in lines]
    left = [made.choose(text_of(content))[0] is None for content in canaries]
    assert sum(left) / len(left) >= 0.99
