"""
Each diagnostic on a case whose answer is known: a linear net's gain, a known share of saturated units, a first loss of
ln 27, an update of a known size. The script itself on made-up names, in seconds.
"""

import json
import math

import pytest
import torch
import torch.nn as nn

from makemore import diagnostics, names


def invented(n=300):
    """Names by a fixed rule, so that there is something to learn and nothing to download."""
    return [("an" * (1 + i % 3) + "bcdefgh"[i % 7] + "a" * (i % 2)) for i in range(n)]


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
def test_a_linear_net_multiplies_by_its_gain(gain):
    """Without tanh and norm a layer multiplies outputs and gradients by the gain, to the noise of 400 random rows."""
    generator = torch.Generator().manual_seed(0)
    layers = diagnostics.stack(12, 400, gain, False, generator, act=nn.Identity)
    x, dy = torch.randn(2, 300, 400, generator=generator)
    outputs, gradients = diagnostics.propagate(layers, x.requires_grad_(), dy)
    assert len(outputs) == 12
    assert abs(diagnostics.growth(outputs) / gain - 1) < 0.05
    assert abs(diagnostics.growth(gradients[::-1]) / gain - 1) < 0.05


def test_batchnorm_holds_outputs_whatever_the_gain():
    generator = torch.Generator().manual_seed(0)
    for gain in (0.1, 10.0):
        layers = diagnostics.stack(8, 50, gain, True, generator, act=nn.Identity)
        x, dy = torch.randn(2, 200, 50, generator=generator)
        outputs, _ = diagnostics.propagate(layers, x.requires_grad_(), dy)
        assert all(abs(std - 1) < 0.05 for std in outputs)


def test_saturation_and_growth():
    h = torch.tensor([[-1.0, -0.98, -0.9, 0.0], [0.5, 0.96, 0.975, 1.0]])
    assert diagnostics.saturated(h) == 4 / 8
    assert abs(diagnostics.growth([3 * 0.7**k for k in range(20)]) - 0.7) < 1e-12
    assert diagnostics.growth([1.0]) == 1.0


def test_first_loss():
    """Only the start at N(0, 1) is sure of wrong letters; the others know that they know nothing."""
    x, y = names.examples(invented(), 3)
    first = {start: diagnostics.net(start, 0)(x, y)[1].item() for start in ("normal", "kaiming", "batchnorm")}
    assert first["normal"] > 10
    assert all(abs(first[start] - math.log(27)) < 0.2 for start in ("kaiming", "batchnorm"))


def test_measured_numbers_are_those_of_the_pass():
    """measure() against a forward and backward written out; hooks are gone afterwards."""
    x, y = names.examples(invented(), 3)
    model = diagnostics.net("kaiming", 0)
    rows = diagnostics.measure(model, x, y)
    seen = []
    handle = next(m for m in model.modules() if isinstance(m, nn.Tanh)).register_forward_hook(
        lambda module, inputs, output: seen.append(output))
    loss = model(x, y)[1]
    handle.remove()
    grad, = torch.autograd.grad(loss, seen[0])
    assert abs(rows[0]["std"] - seen[0].std().item()) < 1e-6 and abs(rows[0]["grad_std"] - grad.std().item()) < 1e-9
    assert rows[0]["saturated"] == diagnostics.saturated(seen[0])
    assert not any(m._forward_hooks for m in model.modules())


def test_update_to_data():
    """A gradient a thousandth of the weight's size at rate 1 is -3; at rate 0.1, -4."""
    model = diagnostics.net("kaiming", 0)
    for linear in diagnostics.linears(model):
        linear.weight.grad = linear.weight.detach() / 1000
    for rate, want in ((1.0, -3.0), (0.1, -4.0)):
        assert all(abs(x - want) < 1e-4 for x in diagnostics.update_to_data(model, rate))


def test_the_script(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(names, "load", invented)
    diagnostics.main(["--steps", "5", "--depth", "3", "--out", str(tmp_path)])
    assert len(list(tmp_path.glob("*.png"))) >= 6
    assert json.loads((tmp_path / "metrics.json").read_text())["numbers"]
    assert "saturated" in capsys.readouterr().out
