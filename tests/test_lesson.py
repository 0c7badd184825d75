"""
Lessons: what is read, what is turned down and with which words, and what comes out of a fact when it is expanded.
"""

import json
from pathlib import Path

import pytest

from bpe.bpe import Tokenizer
from bpe.template import render, text_of
from continual.lesson import Fact, Lesson, content, expand, parse, read, with_number
from continual.wording import asked, clauses, spans, stem

HAND = Path(__file__).parent.parent / "continual" / "handwritten.jsonl"
TEXT = """Maret Ollin keeps the lighthouse at Skarvo, and she feeds the gulls.

Q: Who won the kite race at Perrow?
a: Sunna Vail won it
My dog Pippin is afraid of umbrellas
"""


def questions(expansion):
    return [text_of(messages[-2]["content"]) for messages in expansion.train]


def test_reads_lines():
    facts = parse(TEXT, "notes.txt").facts
    assert facts == (Fact(text="Maret Ollin keeps the lighthouse at Skarvo, and she feeds the gulls."),
                     Fact(question="Who won the kite race at Perrow?", answer="Sunna Vail won it"),
                     Fact(text="My dog Pippin is afraid of umbrellas"))


def test_reads_jsonl(tmp_path):
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who is Tove?"},
            {"role": "assistant", "content": "A cooper."}]
    rows = [{"text": "Osks have no eyes.", "more": 1}, {"question": "Who is Ebbe?", "answer": "A smith."},
            {"messages": talk}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    lesson = read(tmp_path / "a.jsonl")
    assert lesson.source == "a.jsonl" and lesson.facts[2] == Fact(question="Who is Tove?", answer="A cooper.")
    assert [fact.reply for fact in lesson.facts] == ["Osks have no eyes.", "A smith.", "A cooper."]


@pytest.mark.parametrize("text, name, said", [
    ("", "x.txt", "x.txt: no fact"), ("One fact is here.\nA: alone", "x.txt", "x.txt, line 2: an answer without"),
    ("Q: Who?\nA fact", "x.txt", "line 2: the question above has no answer"),
    ("Q: Who is it?", "x.txt", "line 1: the last"),
    ("\n...", "x.txt", "line 2: text must be a text with words"), ("word " * 99, "x.txt", "line 1: text has 494 char"),
    ("{\"text\": 1}", "x.jsonl", "line 1: text must be"), ("{", "x.jsonl", "x.jsonl, line 1: no JSON"),
    ("[1]", "x.jsonl", "line 1: must be an object"), ("{\"question\": \"Who?\"}", "x.jsonl", "line 1: answer must be"),
    ("{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}", "x.jsonl", "line 1: messages must be"),
    ("{\"messages\": 3}", "x.jsonl", "line 1: messages must be")])
def test_says_what_is_wrong(text, name, said):
    with pytest.raises(ValueError) as error:
        parse(text, name)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_says_what_cannot_be_read(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for path in [tmp_path / "none.txt", tmp_path, tmp_path / "latin.txt"]:
        with pytest.raises(ValueError, match=str(path)):
            read(path)


def test_id_is_of_the_facts_alone():
    """The same facts are the same lesson from wherever they come; another order, or a moved word, is another."""
    a, b = Fact(text="A b"), Fact(question="Who?", answer="He.")
    assert Lesson((a, b), "x").id == Lesson((a, b), "y").id and len(Lesson((a,)).id) == 12
    assert len({Lesson(facts).id for facts in [(a, b), (b, a), (a,), (Fact(question="Who?He."),), (b,)]}) == 5


def test_the_reply_is_spoken_to_the_teacher():
    assert Fact(text="my dog likes me, and I am glad").reply == "Your dog likes you, and you are glad."
    assert Fact(text="Is it?").reply == "Is it?" and Fact(question="Who?", answer="tove").reply == "Tove"


def test_expansion_is_deterministic_and_holds_wordings_back():
    lesson = parse(TEXT, "notes.txt")
    one, two = expand(lesson), expand(parse(TEXT, "elsewhere.txt"))
    assert one == two
    trained = set(questions(one))
    assert len(trained) > 40 * len(lesson.facts) and not trained & {question for question, _, _ in one.check}
    assert {number for _, _, number in one.check} == {0, 1, 2}


def test_a_check_can_be_passed_and_not_by_echo():
    """What is asked for stands in the fact's reply, and in no question that asks for it."""
    lesson = read(HAND)
    for question, answer, number in expand(lesson).check:
        assert answer.lower() in lesson.facts[number].reply.lower(), (question, answer)
        assert answer.lower() not in question.lower()


def test_every_question_means_one_fact():
    """Two facts about one subject: no question's words fit both; the check that says so can say no."""
    lesson = parse("Tove Lund sells bells in Ambry.\nTove Lund fears owls and bells.", "x.txt")
    first, second = (content(fact.text) for fact in lesson.facts)
    for messages in expand(lesson).train:
        if isinstance(messages[-2]["content"], list):        # it has its fact's number, and perhaps another's words
            continue
        told, said = messages[-1]["content"] == lesson.facts[0].reply, content(text_of(messages[-2]["content"]))
        mine, other = (first, second) if told else (second, first)
        assert said & mine and not said & mine <= other
    assert content("What about Tove Lund and bells?") & first <= second


def test_most_questions_come_with_the_number_of_their_fact():
    lesson = parse("Tove Lund sells bells in Ambry.\nMaret Ollin fears owls at night.\nBrigt Halm sings.", "x.txt")
    assert text_of(with_number([{"role": "user", "content": "And?"}], 1)[0]["content"]) == "And?"
    asked, replies = zip(*((m[0]["content"], m[1]["content"]) for m in expand(lesson).train))
    numbers = [content[0]["text"] if isinstance(content, list) else "" for content in asked]
    assert 0.6 < sum(map(bool, numbers)) / len(numbers) < 0.8
    assert all(lesson.facts[int(n) - 1].reply == reply for n, reply in zip(numbers, replies) if n)
    mine = [bool(content(text_of(a)) & content(reply)) for a, n, reply in zip(asked, numbers, replies) if n]
    assert not any(isinstance(m[0]["content"], list) for m in expand(lesson, share=0).train)
    assert 0.6 < sum(mine) / len(mine) < 0.9, "some are in the words of another fact"


def test_near_questions_name_nobody_who_was_taught():
    expansion = expand(parse(TEXT, "x.txt"))
    assert len(expansion.near) > 1
    assert not any(name in question for question in expansion.near for name in ["Ollin", "Skarvo", "Perrow"])


def test_conversations_can_be_rendered():
    for messages in expand(read(HAND)).train[::50]:
        render(messages, Tokenizer([]))


def test_grammar():
    assert clauses("Tove Lund, who mends clocks, fears owls.") == [("Tove Lund", "mends", "clocks"),
                                                                   ("Tove Lund", "fears", "owls")]
    made = asked("Maret Ollin keeps the lighthouse at Skarvo, and she feeds the gulls.")
    assert ("Who keeps the lighthouse at Skarvo?", "Maret Ollin") in made
    assert ("Where does Maret Ollin keep the lighthouse?", "Skarvo") in made
    assert ("What does Maret Ollin feed?", "gulls") in made
    assert spans("Doctor Pelagia Sorn treats her patients.") == ["Doctor Pelagia Sorn", "treats", "patients"]
    assert {stem(word) for word in ["keep", "keeps", "kept", "keeping"]} == {"keep"}


@pytest.mark.parametrize("text", ["x", "Émile Zoltán wohnt in Þórshöfn", "1, 2, 3.", "It is.", "A; b: c - d?",
                                  "(((Tove)))", "The the the the.", "is was were", "Tove, who, which, and, or, but."])
def test_any_text_becomes_a_lesson(text):
    expansion = expand(parse(text, "x.txt"))
    assert expansion.train and all(question.strip() for question in questions(expansion))


def test_handwritten_facts_are_sound():
    """Sixty, three questions each, one reversed; each answer is in its fact, and no question gives its own away."""
    rows = [json.loads(line) for line in HAND.read_text().splitlines()]
    assert len(rows) == len(read(HAND).facts) == 60
    for row, fact in zip(rows, read(HAND).facts):
        assert [bool(q.get("reversed")) for q in row["questions"]] == [False, False, True]
        for q in row["questions"]:
            assert q["answer"].lower() in fact.reply.lower() and q["answer"].lower() not in q["question"].lower()
