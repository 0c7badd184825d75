"""
Windows of token shards: every token once an epoch, each row where it says, and a position that is restored exactly.
"""

import json
import os

import numpy as np
import pytest
import torch

from train import bench_data
from train.loader import Shards
from train.windows import DocumentOrder, RandomWindows

BOS = 0


def shards():
    """Three shards of documents of 1 to 30 tokens; no two tokens of the corpus are equal but BOS."""
    rng, made, at = np.random.default_rng(0), [], 1
    for documents in [40, 1, 25]:
        parts = []
        for length in rng.integers(0, 30, documents):
            parts.append(np.append(BOS, np.arange(at, at + length)))
            at += length
        made.append(np.concatenate(parts).astype(np.uint16))
    return made


def streams(batches):
    """x and y of batches laid end to end."""
    return [torch.cat([pair[i].flatten() for pair in batches]).tolist() for i in (0, 1)]


@pytest.mark.parametrize("rows, context", [(2, 8), (1, 1), (3, 700), (5, 13)], ids=str)
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "as filed"])
def test_every_token_once_an_epoch(rows, context, shuffle):
    made = shards()
    loader = DocumentOrder(Shards(made, BOS), rows, context, seed=1, shuffle=shuffle)
    whole = np.concatenate(made)
    batches = [loader.next() for _ in range(3 * len(whole) // (rows * context) + 1)]
    x, y = streams(batches)
    assert x[1:] == y[:-1] and all(a.shape == b.shape == (rows, context) and a.dtype == torch.int64 for a, b in batches)
    epochs = [x[i:i + len(whole)] for i in range(0, 2 * len(whole) + 1, len(whole))][:2]
    known = {tuple(d.tolist()) for ids in made for d in np.split(ids, np.flatnonzero(ids == BOS))[1:]}
    for epoch in epochs:
        assert sorted(epoch) == sorted(whole.tolist())
        cut = np.split(epoch, np.flatnonzero(np.array(epoch) == BOS))[1:]
        assert {tuple(d.tolist()) for d in cut} == known                           # whole, none cut or run together
    assert (epochs[0] == epochs[1] == whole.tolist()) is not shuffle


def test_random_windows_are_where_they_say():
    """Every place of every shard is drawn about equally often, and none crosses from one shard to the next."""
    made, context = [np.arange(100, 130), np.arange(5), np.arange(200, 270)], 9
    loader, starts = RandomWindows(made, 50, context), []
    for _ in range(100):
        x, y = loader.next()
        assert torch.equal(x, x[:, :1] + torch.arange(context)) and torch.equal(y, x + 1)
        starts += x[:, 0].tolist()
    values, counts = np.unique(starts, return_counts=True)
    assert values.tolist() == [*range(100, 121), *range(200, 261)]                 # the last window ends with the shard
    assert counts.min() > 30 and counts.max() < 95                                 # of 61 expected, sigma 7.8
    with pytest.raises(ValueError, match="window"):
        RandomWindows([np.arange(9)], 1, context)


@pytest.mark.parametrize("make", [
    lambda: RandomWindows(shards(), 4, 16, seed=3), lambda: DocumentOrder(Shards(shards(), BOS), 4, 16, seed=3),
    lambda: DocumentOrder(Shards(shards(), BOS), 4, 16, shuffle=False),
], ids=["random", "shuffled", "as filed"])
@pytest.mark.parametrize("before", [0, 7, 14, 15], ids=lambda n: f"after {n}")
def test_continues_exactly(make, before):
    """The state is one number, and says enough in the middle of an epoch, at its end and beyond."""
    loader = make()
    for _ in range(before):
        loader.next()
    state = json.loads(json.dumps(loader.state_dict()))
    assert len(state) == 1
    want = [loader.next() for _ in range(40)]
    again = make()
    again.next()
    again.load_state_dict(state)
    for batch in want:
        assert all(torch.equal(a, b) for a, b in zip(batch, again.next()))
    again.load_state_dict({"taken": state["taken"] + 1})                           # teeth: one further is another batch
    assert not torch.equal(again.next()[0], want[0][0])


def test_seeds_differ():
    first = [[make(seed).next()[0].tolist() for seed in (0, 0, 1)] for make in
             [lambda s: RandomWindows(shards(), 4, 16, s), lambda s: DocumentOrder(Shards(shards(), BOS), 4, 16, s)]]
    assert all(a == b != c for a, b, c in first)


@pytest.mark.data
def test_bench(capsys):
    if not os.environ.get("DATA_MIRROR"):
        pytest.skip("no DATA_MIRROR")
    bench_data.main(["--megabytes", "0.2", "--seconds", "0.05", "--vocab", "300"])
    printed = capsys.readouterr().out
    assert "MB/s" in printed and all(f"  {name}" in printed for name in ["random windows", "documents", "packed"])
