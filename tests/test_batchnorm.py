"""
BatchNorm by hand against torch.nn.BatchNorm1d, and the net on it.

In float64 two right answers differ by rounding alone (about 1e-15 here), so 1e-12 still rejects any wrong formula.
"""

import pytest
import torch

from makemore import batchnorm
from makemore.batchnorm import BatchNorm

SHAPES = [(2, 1), (3, 5), (7, 4), (5, 3, 7), (1, 6, 2)]


def draw(shape, seed=0):
    """x off centre and not of unit size, gamma, beta and an upstream gradient, all float64."""
    g = torch.Generator().manual_seed(seed)
    C = shape[-1]
    normal = lambda *size: torch.randn(*size, generator=g, dtype=torch.float64)
    return 3 * normal(*shape) + 2, normal(C), normal(C), normal(*shape)


def theirs(x, gamma, beta, dy):
    """y, dx, dgamma, dbeta of torch.nn.BatchNorm1d, whose channels are the second axis."""
    norm = torch.nn.BatchNorm1d(x.shape[-1], dtype=torch.float64)
    norm.weight.data, norm.bias.data = gamma.clone(), beta.clone()
    x = x.clone().requires_grad_()
    y = norm(x.movedim(-1, 1)).movedim(1, -1)
    y.backward(dy)
    return {"y": y.detach(), "dx": x.grad, "dgamma": norm.weight.grad, "dbeta": norm.bias.grad}


def ours(x, gamma, beta, dy, backward=batchnorm.backward):
    y, saved = batchnorm.forward(x, gamma, beta, 1e-5)
    return {"y": y, **dict(zip(["dx", "dgamma", "dbeta"], backward(dy, saved)))}


def differ(a, b, tolerance=1e-12):
    return {name for name in a if not torch.allclose(a[name], b[name], rtol=tolerance, atol=tolerance)}


@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_backward_equal_torch(shape):
    assert not differ(ours(*draw(shape)), theirs(*draw(shape)))


def forgets_variance(dy, saved):
    xhat, scale, _, _ = saved
    over = tuple(range(dy.ndim - 1))
    return scale * (dy - dy.mean(over)), (dy * xhat).sum(over), dy.sum(over)


def forgets_both(dy, saved):
    xhat, scale, _, _ = saved
    over = tuple(range(dy.ndim - 1))
    return scale * dy, (dy * xhat).sum(over), dy.sum(over)


def averages_gamma(dy, saved):
    dx, dgamma, dbeta = batchnorm.backward(dy, saved)
    return dx, dgamma / len(dy), dbeta


def counts_one_less(dy, saved):
    xhat, scale, _, _ = saved
    N = dy.numel() // dy.shape[-1]
    _, dgamma, dbeta = batchnorm.backward(dy, saved)
    return scale * (dy - dbeta / N - xhat * dgamma / (N - 1)), dgamma, dbeta


@pytest.mark.parametrize("wrong,named", [(forgets_variance, "dx"), (forgets_both, "dx"), (counts_one_less, "dx"),
                                         (averages_gamma, "dgamma")])
def test_has_teeth(wrong, named):
    """Plausible mistakes are seen, and each at the gradient where it was made."""
    data = draw((7, 4))
    assert differ(ours(*data, backward=wrong), theirs(*data)) == {named}


@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3)])
def test_module_equals_torch_while_training_and_after(shape):
    """The same state_dict goes into both; after five batches the same state comes out, and the same evaluation."""
    mine, peer = BatchNorm(3).double(), torch.nn.BatchNorm1d(3).double()
    assert list(mine.state_dict()) == list(peer.state_dict())
    start = {**mine.state_dict(), "weight": torch.tensor([0.5, -2.0, 1.5]).double()}
    mine.load_state_dict(start), peer.load_state_dict(start)
    for seed in range(5):
        x, _, _, dy = draw(shape, seed)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        mine(a).backward(dy), peer(b.movedim(-1, 1)).movedim(1, -1).backward(dy)
        assert not differ({"dx": a.grad}, {"dx": b.grad})
    assert not differ(mine.state_dict(), {k: v.to(mine.state_dict()[k].dtype) for k, v in peer.state_dict().items()})
    assert not differ({"dgamma": mine.weight.grad, "dbeta": mine.bias.grad},
                      {"dgamma": peer.weight.grad, "dbeta": peer.bias.grad})
    mine.eval(), peer.eval()
    assert not differ({"y": mine(x)}, {"y": peer(x.movedim(-1, 1)).movedim(1, -1)})
    assert mine(x[:1]).shape == x[:1].shape, "in evaluation one example is enough"


def test_gradcheck():
    """Central differences, which know nothing of either formula."""
    x, gamma, beta, _ = draw((5, 2, 3))
    inputs = [z.requires_grad_() for z in (x, gamma, beta)]
    assert torch.autograd.gradcheck(lambda *z: batchnorm.Normalize.apply(*z, 1e-5)[0], inputs)


def test_shift_and_scale_of_the_input_change_nothing():
    x, gamma, beta, _ = draw((9, 4))
    y = batchnorm.forward(x, gamma, beta, 0.0)[0]
    assert torch.allclose(y, batchnorm.forward(100 * x - 7, gamma, beta, 0.0)[0], atol=1e-11)


def test_one_example_cannot_be_normalized():
    with pytest.raises(ValueError, match="one example"):
        BatchNorm(3)(torch.zeros(1, 3))
