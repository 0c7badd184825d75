"""
Invented facts: names and wordings of their own, answers that are in the facts, the same ones for the same seed.
"""

from bpe.template import text_of
from continual.invented import invented, main
from continual.lesson import expand
from continual.wording import words


def test_answers_are_in_the_facts_and_not_in_the_questions():
    made = invented(40, seed=1)
    assert len(made.lesson.facts) == 40 and len(made.questions) == 120
    for question, answer, number in made.questions:
        assert answer in made.lesson.facts[number].text and answer not in question and "{" not in question + answer
    assert all("{" not in text for text in made.unknown + made.neighbours)


def test_deterministic_and_disjoint():
    """The same seed, the same lesson; another seed has no subject in common with it."""
    one, two, other = invented(20, 5), invented(20, 5), invented(20, 6)
    assert one == two and one.lesson.id == two.lesson.id != other.lesson.id
    subjects = [{answer for _, answer, _ in made.questions[2::3]} for made in (one, other)]
    assert len(subjects[0]) == 20 and not subjects[0] & subjects[1]


def test_unknown_is_about_nobody_taught():
    made = invented(30, seed=2)
    taught = {word for fact in made.lesson.facts for word in words(fact.text)}
    for question in made.unknown:
        assert set(words(question)) - taught, question


def test_no_question_is_one_of_the_expanders():
    made = invented(20, seed=0)
    expansion = expand(made.lesson)
    theirs = {text_of(messages[-2]["content"]) for messages in expansion.train} | {item[0] for item in expansion.check}
    assert not theirs & {question for question, _, _ in made.questions}


def test_two_hop_takes_two_facts():
    made = invented(20, seed=0)
    assert len(made.two_hop) == 4
    for question, answer in made.two_hop:
        first, = [fact.text for fact in made.lesson.facts if set(words(fact.text)[:2]) <= set(words(question))]
        second = [fact.text for fact in made.lesson.facts if answer in fact.text and words(fact.text)[3] in first]
        assert answer not in first and len(second) == 1


def test_command(capsys):
    main(["--count", "3", "--seed", "4"])
    assert capsys.readouterr().out.count("->") == 10
