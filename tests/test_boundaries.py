"""
What a stream is made of: texts cut into parts that share nothing, boundaries, and the reservoir that samples it fairly.
"""

import os

import numpy as np
import pytest
import torch

from bpe.splits import near_duplicates
from continual import boundaries, streams
from continual.boundaries import Surprise
from continual.replay import Reservoir

# ----------------------------------------------------------------------------
# streams

def novel(seed, paragraphs=1500):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 80, size=paragraphs)
    return "\n\n".join(" ".join(f"w{n}" for n in rng.integers(5000, size=length)) for length in lengths)


def test_stretches_cover_a_novel_exactly_once():
    book = novel(0)
    pieces = streams.passages(book)
    assert "".join(pieces).split() == book.split() and min(map(len, pieces[:-1])) > streams.LETTERS - 2
    parts = streams.stretches([book])
    assert sorted(sum(parts.values(), [])) == sorted(pieces)
    letters = {part: sum(map(len, found)) / len(book) for part, found in parts.items()}
    assert letters == pytest.approx({"train": 0.8, "valid": 0.1, "test": 0.1}, abs=0.03)
    assert not near_duplicates(parts["train"], parts["test"] + parts["valid"], share=0.1)
    assert near_duplicates(parts["train"] + parts["test"][:1], parts["test"]) == [len(parts["train"])], "teeth"


def test_training_gives_way_to_near_duplicates():
    """Of a text and its copy with a word changed, both are trained on, or both are not."""
    rng = np.random.default_rng(0)
    several = [" ".join(f"w{n}" for n in rng.integers(5000, size=60)) for _ in range(200)]
    parts = streams.apart(several + [text + " changed" for text in several], np.random.default_rng(1))
    held_out = parts["test"] + parts["valid"]
    assert len(held_out) == 80 and not near_duplicates(parts["train"], held_out, share=0.5)
    assert 200 < len(parts["train"]) < 320, "only those that had to"
    assert len(set(parts["train"]) | set(held_out)) == len(parts["train"]) + 80


def test_orders():
    """The reverse is among the four; the one that is tuned on is not the one that is reported."""
    for orders in streams.ORDERS.values():
        assert all(sorted(order) == sorted(orders[0]) for order in orders) and len(set(orders)) == len(orders)
    assert len(streams.ORDERS["embedded"]) >= 4 and streams.ORDERS["embedded"][0][::-1] in streams.ORDERS["embedded"]


@pytest.mark.data
@pytest.mark.skipif("DATA_MIRROR" not in os.environ, reason="no DATA_MIRROR")
@pytest.mark.parametrize("name", ["fiction", "science"])
def test_no_real_text_is_held_out_and_trained_on(name):
    parts = streams.domain("real", name)
    assert not near_duplicates(parts["train"], parts["test"] + parts["valid"], share=0.5)


# ----------------------------------------------------------------------------
# boundaries

def falling(rng, steps=150, noise=0.04):
    """Losses of a task that is being learned, with the noise of small batches."""
    t = np.arange(steps)
    return (2 + 4 * np.exp(-t / rng.uniform(5, 60))) * (1 + noise * rng.normal(size=steps))


def test_surprise_hardly_ever_errs():
    """
    1,000 falling noisy curves, each followed by another task's: a false alarm in at most one of fifty; a jump of
    1.5 nats above the last losses is found at once, in all but one of a hundred.
    """
    rng = np.random.default_rng(0)
    false = found = 0
    for _ in range(1000):
        surprise = Surprise()
        false += any([surprise(loss) for loss in falling(rng, steps=60)])
        found += len(surprise.last) == 10 and surprise(sum(surprise.last) / 10 + 1.5)
    assert false <= 20, f"{false} false alarms in 1,000 tasks"
    assert found >= 990, f"{found} of 1,000 jumps"


def test_surprise_by_hand():
    surprise = Surprise()
    assert not any(surprise(1.0) for _ in range(9)) and not surprise(50.0), "nothing is known yet"
    flat = Surprise()
    assert not any(flat(loss) for loss in [1.0] * 10 + [1.11])                    # six times two percent
    assert flat(1.5) and not any(flat(1.5) for _ in range(10)), "said once, then it is what one knows"


class Task:
    """A loader whose rows all say which task they are of, and which row they are."""
    def __init__(self, task):
        self.task, self.given = task, 0

    def next(self):
        self.given += 1
        row = torch.arange(8)[:, None] + 100 * self.given
        return tuple(torch.full((8, 5), self.task) + 10_000 * row for _ in range(4))


def shares(kind, tasks=3, steps=300):
    """{(task, task of a row): share}, and that rows are never torn apart."""
    found = torch.zeros(tasks, tasks)
    for task, _, b in boundaries.batches([Task(k) for k in range(tasks)], steps, kind, np.random.default_rng(0)):
        assert all(torch.equal(part, b[0]) for part in b) and (b[0] == b[0][:, :1]).all()
        for k in (b[0][:, 0] % 10_000).tolist():
            found[task, k] += 1 / (8 * steps)
    return found


def test_blurred_is_a_fifth_of_the_neighbours():
    assert torch.allclose(shares("blurred"), torch.tensor([[0.8, 0.2, 0], [0.1, 0.8, 0.1], [0, 0.2, 0.8]]), atol=0.03)
    for kind in ("given", "hidden"):
        assert torch.allclose(shares(kind), torch.eye(3), atol=1e-3)
    assert torch.allclose(shares("blurred", tasks=1), torch.eye(1), atol=1e-3), "one task has no neighbour"


def test_every_step_comes_in_order():
    at = [(task, n) for task, n, _ in boundaries.batches([Task(0), Task(1)], 3, "blurred", np.random.default_rng(0))]
    assert at == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]


# ----------------------------------------------------------------------------
# the reservoir

def test_the_reservoir_is_a_fair_sample():
    """Chi-square of how often each of 50 items stays, in 3,000 goes; one in 1,000 fair samples passes 85.4."""
    class Newest(Reservoir):
        def add(self, item):
            self.seen += 1
            self.items = [*self.items, item] if len(self.items) < 10 else [
                item if n == self.seen % 10 else old for n, old in enumerate(self.items)]

    class Hasty(Reservoir):
        def add(self, item):
            self.seen = min(self.seen, 14)                   # forgets how many it has seen
            super().add(item)

    def chi_square(kind):
        counts, rng = np.zeros(50), np.random.default_rng(0)
        for _ in range(3000):
            sample = kind(10, rng)
            for item in range(50):
                sample.add(item)
            assert len(set(sample.items)) == 10
            counts[sample.items] += 1
        return ((counts - 600)**2 / (600 * 0.8)).sum() * 49 / 50

    assert chi_square(Reservoir) < 85.4
    assert chi_square(Hasty) > 500 and chi_square(Newest) > 500
    few = Reservoir(10, np.random.default_rng(0))
    for item in "abc":
        few.add(item)
    drawn = few.draw(2) + few.draw(2) + few.draw(5)          # each once before any again, whatever is asked for at once
    assert all(sorted(drawn[i:i + 3]) == ["a", "b", "c"] for i in (0, 3, 6))
    assert Reservoir(10, np.random.default_rng(0)).draw(3) == []
