"""
GPT-2 in numpy against the same GPT-2 in torch, float64: the loss, every gradient by name, ten steps of AdamW.

Two right answers differ by rounding alone, about 1e-14 through two blocks, so 1e-10 still convicts a wrong term.
All parameters are random, norms' weights too: ones and zeros would hide what multiplies by them.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt import manual
from gpt import model as reference

SHAPES = {"typical": (13, 8, 2, 2, 12), "nothing even": (7, 5, 3, 3, 9), "smallest": (3, 1, 1, 1, 4)}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)   # vocabulary, context, layers, heads, width


def pair(shape, B=3):
    """The model twice with the same random weights, and a batch; a window shorter than the context where it can be."""
    rng = np.random.default_rng(0)
    ours = manual.GPT(*shape, rng, dtype=np.float64)
    for p in ours.p.values():
        p += rng.normal(0, 0.3, p.shape)
    theirs = reference.GPT(reference.GPTConfig(shape[1], shape[0], *shape[2:])).double()
    weights = {name: torch.from_numpy(p.copy()) for name, p in ours.p.items()}
    theirs.load_state_dict(weights | {"lm_head.weight": weights["transformer.wte.weight"]})
    idx, targets = rng.integers(shape[0], size=(2, B, max(1, shape[1] - 1)))
    return ours, theirs, idx, targets


def differences(ours, theirs):
    """{name: largest difference of the gradients}"""
    return {name: np.abs(ours.g[name] - p.grad.numpy()).max() for name, p in theirs.named_parameters()}


def both(shape):
    ours, theirs, idx, targets = pair(shape)
    _, loss = ours.forward(idx, targets)
    ours.backward()
    want = theirs(torch.from_numpy(idx), torch.from_numpy(targets))[1]
    want.backward()
    assert abs(loss - want.item()) < 1e-12
    return ours, theirs


@shapes
def test_every_gradient_is_torchs(shape):
    ours, theirs = both(shape)
    assert set(ours.g) == {name for name, _ in theirs.named_parameters()} == set(ours.p)
    for name, error in differences(ours, theirs).items():
        assert error < 1e-10, f"d{name} is off by {error}"


def adds_once(dx, idx, rows):
    """The tempting line."""
    dtable = np.zeros((rows, dx.shape[-1]))
    dtable[idx] += dx
    return dtable


MISTAKES = {
    "embedding: a token that occurs twice counts once": ("embedding_backward", lambda right: adds_once),
    "linear's bias: mean in place of sum": ("linear_backward", lambda right: lambda dy, x, w: (
        *right(dy, x, w)[:2], right(dy, x, w)[2] / dy.shape[1])),
    "layernorm: the deviation taken for a constant": ("layernorm_backward", lambda right: lambda dy, saved, w: (
        saved[1] * (dy * w - (dy * w).mean(-1, keepdims=True)), *right(dy, saved, w)[1:])),
    "attention: softmax without its row sums": ("attention_backward", lambda right: lambda dy, saved:
                                                right(dy, (*saved[:3], saved[3] * 1.01))),
    "gelu: slope of the inner function forgotten": ("gelu_backward", lambda right: lambda dy, x, t:
                                                    dy * 0.5 * (1 + t + x * (1 - t * t) * np.sqrt(2 / np.pi))),
    "cross-entropy: not divided by the targets": ("cross_entropy", lambda right: lambda logits, targets: (
        right(logits, targets)[0], right(logits, targets)[1] * targets.size)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_has_teeth(mistake, monkeypatch):
    name, wrong = MISTAKES[mistake]
    monkeypatch.setattr(manual, name, wrong(getattr(manual, name)))
    assert max(differences(*both(SHAPES["typical"])).values()) > 1e-4


def test_ten_steps_are_those_of_torch():
    ours, theirs, idx, targets = pair(SHAPES["typical"])
    matrices = [p for p in theirs.parameters() if p.dim() == 2]
    others = [p for p in theirs.parameters() if p.dim() != 2]
    peer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
                             lr=1e-2, betas=(0.9, 0.95))
    optimizer, losses, wanted = manual.AdamW(ours.p), [], []
    for _ in range(10):
        losses.append(ours.forward(idx, targets)[1])
        ours.backward()
        optimizer.step(ours.p, ours.g, 1e-2)
        peer.zero_grad()
        loss = theirs(torch.from_numpy(idx), torch.from_numpy(targets))[1]
        loss.backward()
        peer.step()
        wanted.append(loss.item())
    np.testing.assert_allclose(losses, wanted, rtol=0, atol=1e-10)
    assert losses[-1] < losses[0] - 0.5                      # and they are ten different losses


def test_it_learns_without_torch(tmp_path):
    """The script itself, in a process of its own where torch cannot be imported, on a text that one can learn."""
    text = tmp_path / "input.txt"
    text.write_text("to be or not to be, that is the question. " * 400)
    code = ("import sys; sys.modules['torch'] = None; from pathlib import Path; from gpt import manual;"
            f"manual.datasets.fetch = lambda name: {{'input.txt': Path({str(text)!r})}}; manual.main(sys.argv[1:])")
    small = "--steps 60 --layers 1 --heads 2 --width 32 --context 32 --lr 1e-2".split()
    root = Path(manual.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code, *small], cwd=root, capture_output=True, text=True, timeout=120,
                          env={"OMP_NUM_THREADS": "1", "PATH": ""})
    assert done.returncode == 0, done.stderr
    validation = float(done.stdout.split("validation ")[1].split()[0])
    assert validation < 1.5 and "a uniform guess loses 2.7081" in done.stdout, done.stdout


def test_float32_stays_float32():
    model = manual.GPT(*SHAPES["typical"], np.random.default_rng(0))
    logits, loss = model.forward(np.zeros((2, 8), int), np.zeros((2, 8), int))
    model.backward()
    assert {logits.dtype, loss.dtype, *(g.dtype for g in model.g.values())} == {np.dtype(np.float32)}
