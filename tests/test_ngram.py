"""
The n-gram opponent: equal to a second Kneser-Ney written with dictionaries, recursively, straight
from the formula; and a probability, whatever the context. Both are float64 sums of a few terms, so
1e-12 separates rounding from a wrong count.
"""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from makemore import ngram
from makemore.ngram import BOUNDARY, KneserNey


class Slow:
    """Interpolated modified Kneser-Ney, one token at a time; ids: list, d: discounts of each order."""

    def __init__(self, ids, order, vocab, d, continuation=True):
        grams = {n: Counter(tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)) for n in range(1, order + 1)}
        self.vocab, self.d, self.counts = vocab, d, {order: grams[order]}
        for n in range(1, order):
            longer = grams[n + 1]
            left = Counter(gram[1:] for gram in longer)              # after how many different tokens
            self.counts[n] = left if continuation else grams[n]
        self.after = {n: defaultdict(list) for n in self.counts}
        for n, counts in self.counts.items():
            for gram, c in counts.items():
                self.after[n][gram[:-1]].append(c)

    def prob(self, gram):
        """P(last token of gram | the ones before it)"""
        if not gram:
            return 1 / self.vocab
        n, below = len(gram), self.prob(gram[1:])
        counts = self.after[n].get(gram[:-1], [])
        if not counts:
            return below
        d = self.d[n - 1]
        kept = self.counts[n][gram] - d[min(3, self.counts[n][gram])]
        freed = sum(d[min(3, c)] for c in counts)
        return (kept + freed * below) / sum(counts)

    def logprob(self, ids, order):
        return np.log([self.prob(tuple(ids[max(0, i - order + 1) : i + 1])) for i in range(len(ids))])


def text(n, vocab, seed):
    """n ids that repeat themselves enough for counts of 1, 2, 3 and more at every order."""
    rng = np.random.default_rng(seed)
    words = [rng.integers(vocab, size=rng.integers(1, 5)) for _ in range(6)]
    return np.concatenate([words[i] for i in rng.integers(6, size=n)])[:n]


CASES = [(1, 5), (2, 5), (3, 7), (5, 300), (4, 2)]  # (order, vocab)


@pytest.mark.parametrize("order, vocab", CASES, ids=str)
def test_equals_the_slow_one(order, vocab):
    train, test = text(400, vocab, 0), text(200, vocab, 1)
    model = KneserNey(order, vocab).fit(train)
    slow = Slow(train.tolist(), order, vocab, model.discounts)
    np.testing.assert_allclose(model.logprob(test), slow.logprob(test.tolist(), order), rtol=0, atol=1e-12)


def test_has_teeth():
    """The same comparison turns down one that counts tokens where it should count their contexts."""
    train, test = text(400, 7, 0), text(200, 7, 1)
    model = KneserNey(3, 7).fit(train)
    wrong = Slow(train.tolist(), 3, 7, model.discounts, continuation=False)
    assert np.abs(model.logprob(test) - wrong.logprob(test.tolist(), 3)).max() > 1e-2


@pytest.mark.parametrize("order, vocab", CASES, ids=str)
def test_sums_to_one(order, vocab):
    """Over the vocabulary, after seen contexts, unseen ones, short ones, and with discounts that were moved."""
    train = text(400, vocab, 0)
    model = KneserNey(order, vocab).fit(train)
    model.tune(text(200, vocab, 1))
    for context in [[], train[:1], train[50:70], text(9, vocab, 2), [vocab - 1] * 8, train[-order:]]:
        ids = [[*context, w] for w in range(vocab)]
        total = sum(np.exp(model.logprob(row)[-1]) for row in ids)
        assert abs(total - 1) < 1e-12, context


def test_discounts_follow_the_paper():
    counts = np.repeat([1, 2, 3, 4, 9], [50, 20, 10, 6, 3])
    y = 50 / (50 + 2 * 20)
    np.testing.assert_allclose(ngram.discounts(counts), [0, 1 - 2*y*20/50, 2 - 3*y*10/20, 3 - 4*y*6/10])


def test_tuning_only_helps():
    train, held_out = text(400, 7, 0), text(300, 7, 1)
    model = KneserNey(4, 7).fit(train)
    before = -model.logprob(held_out).mean()
    after = model.tune(held_out)
    assert after <= before
    assert after == pytest.approx(-model.logprob(held_out).mean(), abs=1e-12)
    assert all((0 <= d).all() and (d <= [0, 1, 2, 3]).all() for d in model.discounts)


def test_probabilities_of_a_context_do_not_see_the_future():
    model, ids = KneserNey(4, 7).fit(text(400, 7, 0)), text(60, 7, 3)
    changed = ids.copy()
    changed[40:] = (changed[40:] + 1) % 7
    assert (model.logprob(ids)[:40] == model.logprob(changed)[:40]).all()


@pytest.mark.parametrize("order, ids", [(3, [0, 1]), (2, [0, 7]), (2, [0, -1])], ids=str)
def test_refuses_what_it_cannot_count(order, ids):
    with pytest.raises(ValueError):
        KneserNey(order, 7).fit(ids)


def test_script(tmp_path):
    """Both forms of file give the same ids; the figure is that of every byte of the test text."""
    docs = ["the cat sat on the mat " * 8 + tail for tail in ("once", "twice\u2028three times")] * 6
    (tmp_path / "a.txt").write_text("\n<|endoftext|>\n".join(docs), encoding="utf-8")
    lines = [json.dumps({"text": doc}, ensure_ascii=False) for doc in docs] + ['{"messages": []}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    ids = ngram.read(tmp_path / "a.jsonl")
    assert (ids == ngram.read(tmp_path / "a.txt")).all()
    assert (ids == BOUNDARY).sum() == len(docs)

    ngram.main(["--train", f"{tmp_path}/a.txt", "--test", f"{tmp_path}/a.jsonl", "--out", f"{tmp_path}/out"])
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text())["numbers"]
    assert numbers["test_bytes"] == sum(len(doc.encode()) for doc in docs)
    assert 0 < numbers["test_bits_per_byte"] < 0.5


@pytest.mark.parametrize("name, body", [
    ("no.txt", None), ("empty.txt", ""), ("chats.jsonl", '{"messages": []}'), ("bad.jsonl", '{"text": "a"}\n{')])
def test_a_file_of_no_use(tmp_path, name, body):
    if body is not None:
        (tmp_path / name).write_text(body)
    with pytest.raises(SystemExit, match=name) as e:
        ngram.read(tmp_path / name)
    assert "\n" not in str(e.value)
