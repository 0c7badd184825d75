"""The router's counts: exact to add and to take away, far from everything it abstains."""

import math

import torch

from continual.router import READ, Router

V = 40


def texts(name, n=60, T=READ, seed=0):
    """Token ids, most of them from a third of the vocabulary that is the task's own."""
    generator = torch.Generator().manual_seed(ord(name) + 1000 * seed)
    own = torch.randint(10 * "abcd".index(name), 10 * "abcd".index(name) + 10, (n, T), generator=generator)
    other = torch.randint(0, V, (n, T), generator=generator)
    return torch.where(torch.rand(n, T, generator=generator) < 0.7, own, other)


def taught(*names):
    router = Router(V)
    for name in names:
        for part in texts(name).split(7):
            router.add(name, part)
    return router


def test_removed_is_never_added():
    """To the bit, whichever of the tasks goes, and whenever it came."""
    for gone in "abc":
        router, never = taught(*"abc"), taught(*(name for name in "abc" if name != gone))
        assert router.chances()[0] != never.chances()[0]
        router.remove(gone)
        assert router.chances()[0] == never.chances()[0] and torch.equal(router.chances()[1], never.chances()[1])


def test_likelihoods_by_hand():
    """Two tasks, three tokens, counts plus one: the chance of each choice is a product that one can write down."""
    router = Router(3)
    router.add("a", torch.tensor([[0, 0, 0, 1]]))
    router.add("b", torch.tensor([[2, 2]]))
    names, chances = router.chances()
    assert names == ["a", "b"]
    expected = torch.tensor([[4 / 7, 2 / 7, 1 / 7], [1 / 5, 1 / 5, 3 / 5]], dtype=torch.float64).log()
    torch.testing.assert_close(chances, expected, rtol=0, atol=1e-12)
    # 0 1 1 2: 4 * 2 * 2 * 1 / 7^4 = .0067 against 3 / 5^4 = .0048; 0 2 2 1: 8 / 7^4 = .0033 against 9 / 5^4 = .0144
    assert router.choose(torch.tensor([[0, 1, 1, 2], [0, 2, 2, 1]]), far=math.inf) == ["a", "b"]


def test_right_and_abstains():
    router = taught(*"abc")
    assert router.choose(texts("b", 200, seed=1)) == ["b"] * 200
    assert router.choose(texts("d", 50)) == [None] * 50
    assert None not in router.choose(texts("d", 50), far=math.inf)


def test_reads_no_further_than_it_says():
    """What is scored must not help to choose: tokens beyond READ change nothing."""
    router = taught(*"abc")
    both = torch.cat([texts("a", 20, seed=2), texts("c", 20, T=200)], dim=1)
    assert router.choose(both) == ["a"] * 20
