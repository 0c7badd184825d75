"""
Overlap of tests with training text: what must be found, what must not, and the score over the rest. Items are made so
that the right counts are known, and a plain search with Python's strings agrees.
"""

import json
import random
import re

import pytest

from eval import contamination
from eval.inputs import write_jsonl

WORDS = [f"w{i}" for i in range(400)]


def sentence(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def run(tmp_path, train, test, *more, name="test"):
    """metrics.json of the script on these texts"""
    write_jsonl(tmp_path / "train.jsonl", [x if isinstance(x, dict) else {"text": x} for x in train])
    write_jsonl(tmp_path / f"{name}.jsonl", [x if isinstance(x, dict) else {"text": x} for x in test])
    contamination.main(["--train", str(tmp_path / "train.jsonl"), "--test", str(tmp_path / f"{name}.jsonl"),
                        "--out", str(tmp_path / "out"), *more])
    return json.loads((tmp_path / "out/metrics.json").read_text())


def counts(metrics):
    row, = metrics["contamination"]
    return row["items"], row["overlapping"], row["near_duplicates"]


def test_what_is_found(tmp_path, capsys):
    """A twin in other case and punctuation, a part, one of which only 12 words in a row are shared, a stranger."""
    rng = random.Random(0)
    twin, part, short, stranger = (sentence(rng, 40) for _ in range(4))
    train = [sentence(rng, 60), twin.upper().replace(" ", ", "), sentence(rng, 30) + " " + " ".join(part.split()[:13]),
             " ".join(short.split()[5:17]) + " other words"]
    metrics = run(tmp_path, train, [twin, part, short, stranger])
    assert counts(metrics) == (4, 2, 1) and metrics["numbers"]["test_words"] == 13
    assert "train.jsonl, line 2" in capsys.readouterr().out
    assert counts(run(tmp_path, train, [twin, part, short, stranger], "--words", "12")) == (4, 3, 1)
    assert counts(run(tmp_path, train, [twin, part, short, stranger], "--share", "0.03")) == (4, 2, 2)


def test_a_run_does_not_cross_two_documents(tmp_path):
    text = sentence(random.Random(1), 26)
    halves = [" ".join(text.split()[:13]), " ".join(text.split()[13:])]
    assert counts(run(tmp_path, halves, [text], "--share", "1")) == (1, 1, 0)
    assert counts(run(tmp_path, [" ".join(text.split()[i:i + 7]) for i in range(0, 26, 7)], [text])) == (1, 0, 0)


def test_pieces_in_many_documents_are_no_duplicate(tmp_path):
    """Every run stands somewhere, none of the documents holds more than two of them."""
    words = sentence(random.Random(2), 40).split()
    train = [" ".join(words[i:i + 14]) for i in range(27)]
    assert counts(run(tmp_path, train, [" ".join(words)])) == (1, 1, 0)
    assert counts(run(tmp_path, [*train, " ".join(words)], [" ".join(words)])) == (1, 1, 1)


def test_short_items_are_looked_up_whole(tmp_path):
    """Of five words each: no run of 8 fits, so an item is found if all of it stands in training."""
    test = ["one two three four five", "two three four five six"]
    metrics = run(tmp_path, ["zero One, two three four; five!"], test)
    assert counts(metrics) == (2, 1, 1) and metrics["contamination"][0]["words"] == 8


def test_agrees_with_a_plain_search(tmp_path):
    rng = random.Random(3)
    few = WORDS[:4]                                          # so that chance makes runs in common
    train = [" ".join(rng.choices(few, k=rng.randint(1, 80))) for _ in range(40)]
    test = [" ".join(rng.choices(few, k=rng.randint(9, 30))) for _ in range(60)]
    joined, want = [f" {text} " for text in train], 0
    for text in test:
        words = text.split()
        want += any(f" {' '.join(words[i:i + 8])} " in text for i in range(len(words) - 7) for text in joined)
    metrics = run(tmp_path, train, test, "--words", "8")
    assert 0 < want < 60 and counts(metrics)[1] == want
    assert counts(run(tmp_path, train, train, "--words", "8"))[1:] == (40, 40)   # all of a text stands in itself


def test_questions_of_every_form(tmp_path):
    """What is asked is looked up, in whatever form training held it; the answer is not."""
    asked = "how many apples does the baker have when she sells three of nine"
    train = [{"messages": [{"role": "user", "content": f"Please: {asked}?"}, {"role": "assistant", "content": "6"}]}]
    other = "what is the answer of a question that nobody has ever put to anyone"
    forms = [{"question": asked, "answer": "6"}, {"prompt": asked}, {"text": asked},
             {"id": "a", "question": {"stem": asked, "choices": []}, "answerKey": "A"},
             {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": other}]},
             {"question": other, "answer": asked}]
    assert counts(run(tmp_path, train, forms)) == (6, 5, 5)


def test_the_score_of_what_is_clean(tmp_path, capsys):
    """Nine of ten right in all; the one that stood in training was among them: eight of nine without it."""
    rng = random.Random(4)
    items = [{"id": f"q{i}", "question": sentence(rng, 20), "answer": "1"} for i in range(10)]
    for folder, name, rows in (
            ("a", "answers.jsonl", [{"task": "math", "question": x["question"], "passed": i != 5}
                                    for i, x in enumerate(items)]),
            ("b", "picks.jsonl", [{"id": x["id"], "answer": "A", "text": "B" if i == 5 else "A", "letter": "C"}
                                  for i, x in enumerate(items)])):
        write_jsonl(tmp_path / folder / name, rows)
    (tmp_path / "b/metrics.json").write_text(json.dumps({"scores": {"choice": {}, "choice_letter": {}}}))
    write_jsonl(tmp_path / "c/answers.jsonl", [{"task": "other", "question": sentence(rng, 9), "passed": True}])
    metrics = run(tmp_path, [items[0]["question"]], items, "--scores", *(str(tmp_path / x) for x in "abc"))
    for task in ("math", "choice"):
        whole, apart, clean = metrics["contamination"][0]["scores"][task]
        assert (whole["value"], whole["n"]) == (0.9, 10) and apart == clean and apart["n"] == 9
        assert apart["value"] == pytest.approx(8 / 9) and metrics["scores"][f"{task}_without_overlap"] == clean
    assert set(metrics["contamination"][0]["scores"]) == {"math", "choice"}
    assert re.search(r"math: +90.0% of 10, no near duplicate +88.9% of 9", capsys.readouterr().out)


def test_mistakes(tmp_path):
    with pytest.raises(SystemExit, match="no .*none.jsonl. A corpus"):
        contamination.main(["--train", str(tmp_path / "none.jsonl"), "--test", str(tmp_path / "none.jsonl")])
    with pytest.raises(SystemExit, match="asks nothing"):
        run(tmp_path, ["a"], [{"answer": "b"}])
    with pytest.raises(SystemExit):
        contamination.parse(["--train", "a", "--test", "b", "--share", "1.5"])
