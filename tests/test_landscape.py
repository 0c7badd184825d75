"""Loss landscapes: normalization, the plane of a way that is known, and a surface that is known."""

import numpy as np
import pytest
import torch

from train import landscape


def net(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3)).double()


def test_filter_normalization():
    """Every row of a direction has the norm of the weights' row; vectors stay."""
    weights = landscape.weights_of(net())
    for w, d in zip(weights, landscape.filter_normalized(weights, torch.Generator().manual_seed(1))):
        if w.dim() > 1:
            torch.testing.assert_close(d.norm(dim=1), w.norm(dim=1), rtol=1e-6, atol=0)
        else:
            assert not d.any()


def scaled(model, by):
    """The same function with other weights: a layer times `by`, the next divided by it (ReLU passes a factor on)."""
    with torch.no_grad():
        model[0].weight.mul_(by)
        model[0].bias.mul_(by)
        model[2].weight.div_(by)
    return model


def line_of(model, directions):
    x = torch.randn(64, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = torch.arange(64) % 3
    return landscape.surface(model, landscape.weights_of(model), [directions(landscape.weights_of(model))],
                             [np.linspace(-1, 1, 9)], lambda: torch.nn.functional.cross_entropy(model(x), y).item())


def test_the_same_function_has_the_same_landscape():
    """What the normalization is for, and that it has teeth: raw directions see two different landscapes."""
    def normalized(weights):
        return landscape.filter_normalized(weights, torch.Generator().manual_seed(3))

    def raw(weights):
        generator = torch.Generator().manual_seed(3)
        return [torch.randn(w.shape, generator=generator, dtype=torch.float32).to(w) for w in weights]
    np.testing.assert_allclose(line_of(net(), normalized), line_of(scaled(net(), 10), normalized), rtol=1e-6)
    assert np.abs(line_of(net(), raw) - line_of(scaled(net(), 10), raw)).max() > 0.1


def test_surface_of_a_bowl():
    """loss = |w|^2 / 2 around w: known at every point of the grid, and the model comes back as it was."""
    model = torch.nn.Linear(3, 2, bias=False).double()
    center, before = landscape.weights_of(model), model.weight.detach().clone()
    u, v = [torch.randn(2, 3, dtype=torch.float64)], [torch.randn(2, 3, dtype=torch.float64)]
    x, y = np.linspace(-1, 1, 5), np.linspace(-2, 2, 3)
    found = landscape.surface(model, center, [u, v], [x, y], lambda: 0.5 * model.weight.square().sum().item())
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            want = 0.5 * (before + a * u[0] + b * v[0]).square().sum().item()
            assert found[i, j] == pytest.approx(want, rel=1e-12)
    assert torch.equal(model.weight, before)


def test_plane_of_a_way():
    """A way that lies in a plane is found in it whole, distances kept; a third direction lowers the share."""
    generator = torch.Generator().manual_seed(4)
    center, a, b, c = ([torch.randn(4, 6, generator=generator, dtype=torch.float64)] for _ in range(4))

    def at(*steps):
        return [center[0] + sum(s * d[0] for s, d in zip(steps, (a, b, c)))]
    way = [at(3, 0), at(2, 1), at(1, 1.5), at(0, 0)]
    two, points, share = landscape.principal(way, center)
    assert share == pytest.approx(1) and points[-1] == pytest.approx([0, 0], abs=1e-6)
    assert landscape.dot(two[0], two[0]) == pytest.approx(1) and landscape.dot(*two) == pytest.approx(0, abs=1e-9)
    for point, (x, y) in zip(way, points):
        torch.testing.assert_close(point[0], center[0] + x * two[0][0] + y * two[1][0], rtol=0, atol=1e-9)
    assert landscape.principal([*way, at(0, 0, 2)], center)[2] < 0.95


def test_curvature_of_a_parabola():
    axis = np.linspace(-1, 1, 11)
    assert landscape.curvature(axis, 1.5 * axis**2 + axis + 2) == pytest.approx(3.0)


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    axis = np.linspace(-1, 1, 5)
    plane = axis[:, None] ** 2 + 2 * axis[None] ** 2
    way = (axis, axis), plane, np.array([[0.9, 0.5], [0.4, 0.3], [0, 0]]), [20, 40, 60], 0.9
    landscape.draw(tmp_path / "a.png", axis, np.stack([axis**2] * 3), plane, way)
    landscape.draw(tmp_path / "b.png", axis, np.stack([axis**2] * 3), plane, None)
    assert (tmp_path / "a.png").stat().st_size > (tmp_path / "b.png").stat().st_size > 10_000


@pytest.mark.parametrize("words, says", [("--grid 4", "odd"), ("", "no checkpoint at")])
def test_mistakes(tmp_path, words, says):
    with pytest.raises(SystemExit, match=says):
        landscape.main(["--checkpoint", str(tmp_path), "--data", str(tmp_path), *words.split()])
