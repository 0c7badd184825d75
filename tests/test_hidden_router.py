"""The router's sums: exact to add and to take away, and far from everything it abstains."""

import torch

from continual.hidden_router import HiddenRouter

G = torch.Generator().manual_seed(0)


def texts(center, n=60, channels=6):
    return center + torch.randn(n, channels, generator=G, dtype=torch.float64)


def taught(*names):
    """A router of tasks whose centers lie on different axes, in three portions each."""
    router = HiddenRouter()
    for name in names:
        center = 8 * torch.eye(6, dtype=torch.float64)["abc".index(name)]
        generator = torch.Generator().manual_seed(ord(name))
        for _ in range(3):
            router.add(name, center + torch.randn(40, 6, generator=generator, dtype=torch.float64))
    return router


def test_removed_is_never_added():
    """To the bit, in every statistic and every distance, whichever of the tasks goes, and whenever it came."""
    x = texts(0)
    for gone in "abc":
        router, never = taught(*"abc"), taught(*(name for name in "abc" if name != gone))
        assert not torch.equal(router.distances(x)[1][:, :2], never.distances(x)[1])
        router.remove(gone)
        assert router.distances(x)[0] == never.distances(x)[0]
        assert torch.equal(router.distances(x)[1], never.distances(x)[1])


def test_portions_equal_the_whole():
    """Means and covariance from sums are those of all texts at once, float64 to 1e-12."""
    own = {"a": texts(3), "b": texts(-1, 40)}
    router = HiddenRouter(ridge=0.0)
    for name, x in own.items():
        for part in x.split(7):
            router.add(name, part)
    _, means, factor = router.gaussians()
    centered = torch.cat([x - x.mean(0) for x in own.values()])
    torch.testing.assert_close(means, torch.stack([x.mean(0) for x in own.values()]), rtol=0, atol=1e-12)
    torch.testing.assert_close(factor @ factor.T, centered.T @ centered / 100, rtol=0, atol=1e-12)


def test_right_and_abstains():
    router = taught(*"abc")
    eye = 8 * torch.eye(6, dtype=torch.float64)
    assert sum(name == "b" for name in router.choose(texts(eye[1], 200))) >= 196
    assert router.choose(texts(40 * eye[5], 20)) == [None] * 20
    assert router.choose(texts(40 * eye[5], 20), far=float("inf")) != [None] * 20
