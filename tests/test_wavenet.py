"""
The causal convolution by hand against torch.nn.Conv1d, its causality, and the tree against the convolution.

In float64 two right answers differ by rounding alone (about 1e-15 a product, and sums of a few dozen), so 1e-12 still
rejects any wrong term. The upstream gradient is random.
"""

import json

import pytest
import torch

from bpe import datasets
from makemore import conv, names, wavenet
from makemore.conv import CausalConv1d, Convolve
from makemore.wavenet import WaveNet

# B, T, C, D, K, dilation: typical; all odd; one of each; two that look back beyond the beginning; a single position
SHAPES = [(4, 16, 8, 6, 2, 4), (3, 17, 5, 7, 3, 3), (1, 1, 1, 1, 1, 1), (2, 5, 3, 4, 3, 4), (2, 3, 2, 3, 5, 2),
          (2, 1, 3, 2, 2, 8)]


def draw(shape, seed=0):
    """x, w, b and an upstream gradient, all float64."""
    B, T, C, D, K, _ = shape
    g = torch.Generator().manual_seed(seed)
    normal = lambda *size: torch.randn(*size, generator=g, dtype=torch.float64)
    return normal(B, T, C), normal(K, C, D), normal(D), normal(B, T, D)


def theirs(shape):
    """y, dx, dw, db of torch.nn.Conv1d after zeros on the left; its channels are the second axis."""
    (x, w, b, dy), (B, T, C, D, K, dilation) = draw(shape), shape
    layer = torch.nn.Conv1d(C, D, K, dilation=dilation, dtype=torch.float64)
    layer.weight.data, layer.bias.data = w.permute(2, 1, 0).clone(), b.clone()
    x.requires_grad_()
    y = layer(torch.nn.functional.pad(x.mT, ((K - 1) * dilation, 0))).mT
    y.backward(dy)
    return {"y": y.detach(), "dx": x.grad, "dw": layer.weight.grad.permute(2, 1, 0), "db": layer.bias.grad}


def ours(shape, forward=conv.forward, backward=conv.backward):
    x, w, b, dy = draw(shape)
    return {"y": forward(x, w, b, shape[-1]), **dict(zip(["dx", "dw", "db"], backward(dy, x, w, shape[-1])))}


def differ(a, b):
    return {name for name in a if not torch.allclose(a[name], b[name], rtol=0, atol=1e-12)}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_and_backward_equal_torch(shape):
    assert not differ(ours(shape), theirs(shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_module_sends_the_same_gradients(shape):
    (x, w, b, dy), (_, _, C, D, K, dilation) = draw(shape), shape
    layer = CausalConv1d(C, D, K, dilation).double()
    layer.weight.data, layer.bias.data = w, b
    x.requires_grad_()
    y = layer(x)
    y.backward(dy)
    assert not differ({"y": y, "dx": x.grad, "dw": layer.weight.grad, "db": layer.bias.grad}, theirs(shape))


def looks_ahead(x, w, b, dilation):
    """The convolution centred, as Conv1d(padding=...) gives it: right shape, and it sees what comes later."""
    right = (len(w) - 1) * dilation // 2
    x = torch.nn.functional.pad(x, (0, 0, 0, right))
    return conv.forward(x, w, b, dilation)[:, right:]


def forgets_the_flip(dy, x, w, dilation):
    dx, dw, db = conv.backward(dy, x, w.flip(0), dilation)
    return dx, dw.flip(0), db


def test_has_teeth():
    """The comparisons turn down a centred convolution, weights oldest last, and a wrong dilation, by name."""
    shape = SHAPES[1]
    assert differ(ours(shape, forward=looks_ahead), theirs(shape)) == {"y"}
    assert differ(ours(shape, backward=forgets_the_flip), theirs(shape)) == {"dx", "dw"}
    too_near = lambda dy, x, w, dilation: conv.backward(dy, x, w, dilation - 1)
    assert differ(ours(shape, backward=too_near), theirs(shape)) == {"dx", "dw"}


def leaks(f, T, C):
    """
    Pairs (input at, output at), the output the earlier, where f, (1, T, C) -> (1, T, D), lets the output know the
    input: found by changing the input, and by the gradient of the output. Both must be exactly nothing.
    """
    x = torch.randn(1, T, C, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, by_change, by_gradient = f(x), set(), set()
    for t in range(T):
        changed = x.clone()
        changed[:, t] += 1
        by_change |= {(t, s) for s in range(t) if not torch.equal(f(changed)[:, s], y[:, s])}
        leaf = x.clone().requires_grad_()
        dx, = torch.autograd.grad(f(leaf)[:, t].square().sum(), leaf)
        by_gradient |= {(s, t) for s in range(t + 1, T) if dx[:, s].any()}
    return by_change, by_gradient


@pytest.mark.parametrize("K, dilation", [(2, 1), (2, 4), (3, 2), (5, 3)])
def test_causal(K, dilation):
    """A change at t alters nothing before t, and no output's gradient reaches a later input."""
    w, b = torch.randn(K, 3, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    assert leaks(lambda x: Convolve.apply(x, w, b, dilation), T=13, C=3) == (set(), set())


def test_causality_has_teeth():
    """Both ways find every leak of a centred convolution: three inputs, of which the last comes two steps later."""
    w, b = torch.randn(3, 3, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    later = {(t + 2, t) for t in range(11)}
    assert leaks(lambda x: looks_ahead(x, w, b, 2), T=13, C=3) == (later, later)


def model(gated=True, layers=3):
    """Small, float64, with running statistics that are not 0 and 1."""
    torch.manual_seed(0)
    net = WaveNet(layers, n_embd=5, n_hidden=7, gated=gated).double()
    for layer in net.layers:
        layer.norm.running_mean.normal_()
        layer.norm.running_var.uniform_(0.5, 2)
    return net.eval()


@pytest.mark.parametrize("gated", [True, False])
def test_the_model_is_causal_and_sees_its_context(gated):
    """Output t depends on letters t - 7 to t, on every one of them, and on no other."""
    net, T, t = model(gated), 20, 13
    x = net.emb(torch.randint(27, (1, T))).detach().requires_grad_()
    h = x
    for layer in net.layers:
        h = layer.everywhere(h)
    dx, = torch.autograd.grad(h[:, t].square().sum(), x)
    assert dx[0].any(-1).tolist() == [t - 8 < s <= t for s in range(T)]


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_tree_is_the_convolution_where_it_is_needed(layers, gated):
    """Same weights: the tree's guess is the convolution's at the last position, and so are all gradients."""
    net = model(gated, layers)
    idx, y = torch.randint(27, (6, 2**layers)), torch.randint(27, (6,))
    tree, loss = net(idx, y)
    everywhere = net.everywhere(idx)
    assert everywhere.shape == (6, 2**layers, 27)
    assert (tree - everywhere[:, -1]).abs().max() < 1e-12
    want = torch.autograd.grad(torch.nn.functional.cross_entropy(everywhere[:, -1], y), list(net.parameters()))
    for (name, _), a, b in zip(net.named_parameters(), torch.autograd.grad(loss, list(net.parameters())), want):
        assert (a - b).abs().max() < 1e-12, name


def test_every_position_is_a_tree():
    """A whole name in one pass gives what one tree for each letter gives; other weights or dilations do not."""
    net = model()
    x, _ = names.examples(["isabella"], net.context)         # (9, 8)
    whole = torch.cat([x[0], x[1:, -1]])[None]               # (1, 16) "........isabella"
    assert (net.everywhere(whole)[0, 7:] - net(x)[0]).abs().max() < 1e-12
    net.layers[1].conv.dilation = 1
    assert (net.everywhere(whole)[0, 7:] - net(x)[0]).abs().max() > 1e-3


def test_the_lectures_model_has_its_number_of_weights():
    assert sum(p.numel() for p in WaveNet(gated=False).parameters()) == 76_579


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="8 leaves"):
        model()(torch.zeros(1, 9, dtype=torch.int64))
    with pytest.raises(ValueError, match="dilation=0"):
        CausalConv1d(2, 3, kernel=2, dilation=0)
    with pytest.raises(SystemExit, match="--batch 2"):
        wavenet.main(["--batch", "1"])


def test_script(tmp_path, monkeypatch, capsys):
    """Training lowers the loss, the same seed gives the same weights, and the model can be rebuilt from its file."""
    monkeypatch.setattr(names, "load", lambda: ["emma", "olivia", "ava", "isabella", "sophia", "mia", "ada"] * 20)
    args = ["--steps", "60", "--batch", "32", "--hidden", "16", "--rate", "0.02", "--out"]
    for run in ("a", "b"):
        wavenet.main(args + [str(tmp_path / run)])
    a, b = (json.loads((tmp_path / run / "metrics.json").read_text())["numbers"] for run in ("a", "b"))
    assert a == b and a["train_loss_nats"] < 1.5
    assert "uniform guess loses 3.2958" in capsys.readouterr().out
    saved = torch.load(tmp_path / "a" / "model.pt", weights_only=True)
    net = WaveNet(**saved["config"])
    net.load_state_dict(saved["weights"])
    assert saved["kind"] == "wavenet" and saved["context"] == net.context == 8
    train = names.split(names.load())[0]
    assert names.loss_of(net, *names.examples(train, 8)) == pytest.approx(a["train_loss_nats"], abs=1e-6)


@pytest.mark.data
def test_learns_real_names(tmp_path):
    """400 steps of a small model beat the bigram's 2.45 by far."""
    if datasets.here("names") == "no":
        pytest.skip("no DATA_MIRROR or cache with names")
    wavenet.main(["--steps", "400", "--hidden", "32", "--out", str(tmp_path)])
    numbers = json.loads((tmp_path / "metrics.json").read_text())["numbers"]
    assert numbers["dev_loss_nats"] < 2.3
