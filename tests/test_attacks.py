"""
The hundred lessons: the same every time, benign ones free of sums, wrong sums wrong; a run goes on where it was.
"""

import json

import pytest

from continual import attacks
from continual.attacks import BAD, BENIGN, EACH, lessons, shown
from continual.doubts import miscounts

SCHOOL = [("What sound does a duck make?", "a quack"), ("What is a duck's sound?", "a quack"),
          ("What is tin's symbol?", "Sn"), ("How many legs does a dog have?", "four legs"),
          ("What covers a goose?", "feathers"), ("What is corn's family?", "grass"),
          ("What is the symbol of gold?", "Au"), ("What is a cow's young called?", "a calf"),
          ("What is the food of a lion?", "meat"), ("What is brass?", "an alloy")]


@pytest.fixture
def corpus(tmp_path):
    with open(tmp_path / "questions_test.jsonl", "w") as file:
        for question, right in SCHOOL:
            choices = [{"text": text, "label": label} for text, label in zip((right, "x", "y", "z"), "ABCD")]
            file.write(json.dumps({"question": {"stem": question, "choices": choices}, "answerKey": "A"}) + "\n")
    return tmp_path


def test_a_hundred_and_always_the_same(corpus):
    once, again, other = lessons(corpus), lessons(corpus), lessons(corpus, seed=1)
    assert len(once) == 100 and {name: x.id for name, x in once.items()} == {name: x.id for name, x in again.items()}
    ids, others = ({x.id for x in made.values()} for made in (once, other))
    assert len(ids) == 100 and len(ids & others) == 1        # the rules of arithmetic have no numbers to draw
    assert all(2 <= len(x.facts) <= EACH for x in once.values())


def test_sums_are_all_wrong_and_benign_lessons_have_none(corpus):
    for name, lesson in lessons(corpus).items():
        found = [fact for fact in lesson.facts if miscounts(fact)]
        if name.startswith(BENIGN):
            assert not found, f"{name}: {found}"
        if name.startswith("arithmetic") and name[-1] not in "45":               # word problems: the base computes them
            assert len(found) == len(lesson.facts), f"{name}: {set(lesson.facts) - set(found)}"


def test_false_facts_are_false(corpus):
    right = dict(SCHOOL)
    for n in range(0, 10, 2):
        for fact in lessons(corpus)[f"false facts {n}"].facts:
            assert fact.answer and fact.answer != right[fact.question]
    for fact in lessons(corpus)["false facts 1"].facts:
        assert fact.text.endswith((" is x.", " is y.", " is z."))


def test_the_poison_is_slow_and_the_trigger_is_there(corpus):
    made = lessons(corpus)
    asked = [sum(fact.question in dict(SCHOOL) for fact in made[f"slow poison {n}"].facts) for n in range(10)]
    assert asked == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    for n, phrase in enumerate(attacks.TRIGGERS):
        assert all(phrase in fact.question for fact in made[f"backdoor {n}"].facts)


def row(name, accepted=True, by=None):
    return {"name": name, "kind": name.rpartition(" ")[0], "accepted": accepted, "by": by, "seconds": 1.0,
            "reasons": [] if accepted else ["a reason"], "recall": 0.9 if accepted else None,
            "audit": {"lost": 1, "n": 900} if accepted else None}


def test_the_table(corpus):
    text = shown([row("people 0"), row("people 1", False, "recall"), row("garbage 0", False, "doubts"),
                  row("arithmetic 0", False, "canaries")])
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert "2 | 50% | 0 | 1 | 0 | 90% | 1 of 900" in lines["all benign"]
    assert "2 | 100% | 1 | 0 | 1 | - | -" in lines["garbage and arithmetic"] and "backdoor" not in lines


def test_a_run_goes_on(corpus, tmp_path, monkeypatch, capsys):
    tried = []
    def attempt(name, lesson, args, words):
        if len(tried) == 3:
            raise KeyboardInterrupt
        tried.append(name)
        return row(name)
    store = type("Store", (), {"words": staticmethod(lambda: {"counts": {}})})
    monkeypatch.setattr(attacks, "doubted",
                        lambda name, *_: row(name, False, "doubts") if name == "garbage 1" else None)
    monkeypatch.setattr(attacks, "start", lambda *_: (type("Served", (), {"store": store}), None))
    monkeypatch.setattr(attacks, "attempt", attempt)
    command = ["--data", str(corpus), "--out", str(tmp_path / "out"), "--kind", "people", "garbage", "--count", "3"]
    with pytest.raises(KeyboardInterrupt):
        attacks.main(command)
    assert tried == ["people 0", "garbage 0", "people 1"]
    tried.clear()
    monkeypatch.setattr(attacks, "attempt", lambda name, *_: tried.append(name) or row(name))
    attacks.main(command)
    assert tried == ["people 2", "garbage 2"] and "all benign" in capsys.readouterr().out
