"""
The draw of the next id: each cut against its definition, written here one row at a time, and against
transformers'; the frequencies of what is drawn; the extremes.
"""

import pytest
import torch

from gpt.sampling import Sampling, choose, cut, penalize


def likely(p, sampling):
    """The ids that are left, by the definitions, one row at a time."""
    order = p.argsort(descending=True).tolist()
    order = order[:sampling.top_k]
    if sampling.top_p:
        mass, n = 0.0, 0
        while mass < sampling.top_p * p[order].sum() and n < len(order):
            mass, n = mass + p[order[n]].item(), n + 1
        order = order[:n]
    return {i for i in order if p[i] >= (sampling.min_p or 0) * p.max()}


SAMPLINGS = [Sampling(1, *cuts) for cuts in [
    (1,), (3,), (99,), (None, 0.5), (None, 1.0), (None, 1e-9), (None, None, 0.2), (None, None, 1.0),
    (6, 0.8), (6, 0.8, 0.3)]]


def test_cuts():
    """All settings as rows of one batch; the order in which transformers applies them is ours."""
    p = torch.randn(len(SAMPLINGS), 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(1)
    left = cut(p, SAMPLINGS)
    for row, sampling in enumerate(SAMPLINGS):
        assert set(left[row].nonzero()[:, 0].tolist()) == likely(p[row], sampling), sampling
        assert torch.equal(left[row][left[row] > 0], p[row][left[row] > 0])


@pytest.mark.parametrize("sampling", [Sampling(0.7), Sampling(1.5, top_k=3), Sampling(1, top_p=0.7),
                                      Sampling(1, min_p=0.3)], ids=str)
def test_frequencies(sampling):
    """10,000 evenly spaced chances hit each id in proportion to its probability, to one hit."""
    logits = torch.tensor([[1.0, 2.0, -1.0, 0.5, 1.9]], dtype=torch.float64)
    p = cut((logits / sampling.temperature).softmax(1), [sampling])
    n = 10_000
    drawn = choose(logits.expand(n, 5), [sampling] * n, [(i + 0.5) / n for i in range(n)])
    torch.testing.assert_close(drawn.bincount(minlength=5) / n, (p / p.sum())[0].float(), rtol=0, atol=1.01 / n)


def test_extremes_of_sampling():
    logits = torch.tensor([[3.0, -float("inf"), 3.5, -200.0]])
    for chance in (0.0, 1 - 2**-24):
        for temperature in (1e-300, 1e-30, 1.0, 1e30):
            assert int(choose(logits, [Sampling(temperature)], [chance])) != 1
    assert choose(logits.expand(2, 4), [Sampling(1e-30), Sampling()], [0.0, 0.0]).tolist() == [2, 2]


@pytest.mark.parametrize("bad", [dict(temperature=-1), dict(temperature=float("nan")), dict(top_k=0), dict(top_p=0),
                                 dict(top_p=1.1), dict(min_p=-0.1), dict(repetition=0)], ids=str)
def test_sampling_that_cannot_be(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Sampling(**bad)


@pytest.mark.peer
def test_cuts_equal_transformers():
    transformers = pytest.importorskip("transformers")
    logits = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    for k, p, m in [(5, None, None), (None, 0.8, None), (None, None, 0.1), (20, 0.7, 0.05)]:
        want = logits
        for kind, value in (("TopK", k), ("TopP", p), ("MinP", m)):
            if value is not None:
                want = getattr(transformers, f"{kind}LogitsWarper")(value)(None, want)
        got = cut(logits.softmax(1), [Sampling(1, k, p, m)] * 20)
        assert torch.equal(got > 0, want > -float("inf"))


@pytest.mark.peer
@pytest.mark.parametrize("penalty", [1.3, 0.7])
def test_repetition_penalty_is_that_of_transformers(penalty):
    """Rows with and without it in one batch; an id that is in the text twice is penalized once."""
    transformers = pytest.importorskip("transformers")
    logits, texts = torch.randn(3, 9, generator=torch.Generator().manual_seed(0)), [[1, 2, 2], [0, 8, 8], [3, 4, 5]]
    want = transformers.RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor(texts), logits.clone())
    samplings = [Sampling(1, repetition=penalty), Sampling(1), Sampling(0, repetition=penalty)]
    got = penalize(logits, samplings, texts)
    assert torch.equal(got[[0, 2]], want[[0, 2]]) and torch.equal(got[1], logits[1])
    assert not torch.equal(got[0], logits[0])
    ids = choose(logits, samplings, [0.3, 0.3, 0.0], texts)
    assert int(ids[2]) == int(want[2].argmax()) and int(ids[1]) == int(choose(logits[1:2], [Sampling(1)], [0.3]))


def test_a_penalty_ends_a_loop():
    """A model that likes one id best says it for ever; with the penalty it goes through the others."""
    logits, texts = torch.tensor([[2.0, 1.9, 1.8, 1.7]]), [[]]
    for _ in range(4):
        texts[0] = texts[0] + choose(logits, [Sampling(repetition=2.0)], [0.0], texts).tolist()
    assert sorted(texts[0]) == [0, 1, 2, 3]
