"""
BM25 against its formula written out, and an index that forgets: equal to one that never had the passage.
"""

import math
import random

import pytest

from continual.bm25 import BM25, terms

TEXTS = {"a": "The cat sat on the mat.", "b": "A cat and another cat.", "c": "Dogs bark.",
         "d": "The dog and the cat bark."}


def index(texts=TEXTS, **options):
    made = BM25(**options)
    for key, text in texts.items():
        made.add(key, text)
    return made


def formula(query, text, texts, k1, b):
    """Robertson and Zaragoza's sum, from the texts themselves."""
    score, mean = 0.0, sum(len(terms(t)) for t in texts) / len(texts)
    for term in set(terms(query)):
        n, tf = sum(term in terms(t) for t in texts), terms(text).count(term)
        idf = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
        score += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(terms(text)) / mean))
    return score


@pytest.mark.parametrize("k1, b", [(1.2, 0.75), (0.5, 0.0), (2.0, 1.0)])
def test_scores_are_the_formulas(k1, b):
    found = dict((key, score) for score, key in index(k1=k1, b=b).search("Which cats were barking at the cat?", 10))
    for key, text in TEXTS.items():
        want = formula("Which cats were barking at the cat?", text, TEXTS.values(), k1, b)
        assert found.get(key, 0.0) == pytest.approx(want, abs=1e-12), key
    if b:
        other = dict((key, score) for score, key in index(k1=k1, b=0.3).search("cat", 10))
        assert other["a"] != pytest.approx(formula("cat", TEXTS["a"], TEXTS.values(), k1, b), abs=1e-3), "no teeth"


def test_by_hand():
    """One passage of mean length with the word once: tf's part is 1, so the score is its idf, log(1 + 2.5 / 1.5)."""
    made = index({"x": "red boat", "y": "blue house", "z": "old tree"})
    assert made.search("boats", 5) == [(pytest.approx(math.log(1 + 2.5 / 1.5)), "x")]


def test_the_best_come_first_and_equal_ones_by_key():
    made = index({"y": "red boat", "x": "red boat", "z": "red boat red"})
    assert [key for _, key in made.search("boat", 2)] == ["x", "y"]
    assert [key for _, key in made.search("red", 5)] == ["z", "x", "y"]
    assert made.search("green", 5) == [] == BM25().search("red", 5)


def test_what_is_removed_was_never_there():
    rng = random.Random(0)
    words = "ant bee cat dog elk fox gnu hen".split()
    texts = {f"p{i}": " ".join(rng.choices(words, k=rng.randint(1, 9))) for i in range(40)}
    made = index(texts)
    for key in rng.sample(list(texts), 20):
        made.remove(key)
        del texts[key]
    fresh = index(texts)
    assert vars(made) == vars(fresh)
    assert made.search("ant bee cat", 40) == fresh.search("ant bee cat", 40)
    with pytest.raises(KeyError):
        made.remove("p999")


def test_a_key_holds_one_passage():
    made = index({"a": "a red boat"})
    made.add("a", "a blue house")
    assert made.search("boat", 3) == [] and [key for _, key in made.search("house", 3)] == ["a"]
    assert vars(made) == vars(index({"a": "a blue house"}))
