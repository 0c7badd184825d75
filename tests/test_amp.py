"""
Mixed precision: the hand-written loss scaler takes torch's decisions, saves what float16 would lose, and a step
that overflows changes nothing.
"""

import json

import pytest
import torch

from gpt.llama import Config, Llama
from train.adamw import AdamW
from train.amp import Mixed
from train.distributed import World
from train.step import gradients, optimize

CPU = torch.device("cpu")
TINY = Config(vocab_size=61, n_layer=2, n_head=2, n_kv_head=1, n_embd=16, n_hidden=24, context=32, qk_norm=True)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def model():
    net = Llama(TINY)
    for p in net.parameters():
        p.data.normal_(0, 0.2, generator=generator())
    return net


def rows(n=4):
    ids = torch.randint(1, 61, (n, 33), generator=generator(2))
    return ids[:, :-1], ids[:, 1:], torch.zeros(n, 32, dtype=torch.long), torch.arange(32).expand(n, 32)


def test_the_scaler_decides_as_torch_does():
    """Scale after each of 300 steps, some of which overflow: the same numbers as torch.amp.GradScaler's."""
    p = torch.zeros(3, requires_grad=True)
    torchs = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=12)
    optimizer, mixed = torch.optim.SGD([p], 0.1), Mixed(CPU, torch.float16, patience=12)
    overflows = torch.rand(300, generator=generator()) < 0.05
    seen = []
    for overflow in overflows.tolist():
        p.grad = torch.full((3,), float("inf") if overflow else 1.0) * torchs.get_scale()
        mine = p.grad.clone()
        torchs.scale(torch.ones(1))                          # it wants to have been asked
        torchs.step(optimizer)
        torchs.update()
        q = torch.zeros(3, requires_grad=True)
        q.grad = mine
        mixed.unscale([q])
        assert overflow or torch.equal(q.grad, torch.ones(3))
        mixed.update(bool(q.grad.isfinite().all()))
        seen.append(mixed.scale)
        assert mixed.scale == torchs.get_scale()
    assert min(seen) < 2.0**16 < max(seen)                   # it has gone both ways


def test_its_state_comes_back():
    a, b = Mixed(CPU, torch.float16, patience=7), Mixed(CPU, torch.float16, patience=7)
    for finite in [True] * 5 + [False] + [True] * 5:
        a.update(finite)
    b.load_state_dict(json.loads(json.dumps(a.state_dict())))
    for _ in range(9):
        a.update(True), b.update(True)
        assert (a.scale, a.good) == (b.scale, b.good)


def test_small_gradients_survive_float16():
    """y = w x with a gradient of 1e-8: float16 rounds it to zero, the scaled loss keeps it to 0.1%."""
    found = {}
    for scale in (1.0, 2.0**16):
        w = torch.ones(4, 4, requires_grad=True)
        mixed = Mixed(CPU, torch.float16, scale=scale)
        with mixed.autocast():
            loss = (torch.eye(4) @ w).float().sum() * 1e-8
        mixed.scaled(loss).backward()
        mixed.unscale([w])
        found[scale] = w.grad
    assert (found[1.0] == 0).all()
    torch.testing.assert_close(found[2.0**16], torch.full((4, 4), 1e-8), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype, far", [(torch.bfloat16, 0.06), (torch.float16, 0.01)], ids=str)
def test_gradients_in_16_bits(dtype, far):
    """Relative to float32's, over the whole model: bfloat16 keeps 8 bits of a product, float16 11."""
    def flat(mixed):
        net = model()
        gradients(net, rows(), CPU, None, World(), mixed)
        return torch.cat([p.grad.flatten() for p in net.parameters()])
    want, got = flat(Mixed(CPU, torch.float32)), flat(Mixed(CPU, dtype))
    assert got.dtype == torch.float32
    assert 1e-6 < (got - want).norm() / want.norm() < far


def test_a_step_that_overflows_changes_nothing():
    net = model()
    optimizer, mixed = AdamW(net.parameters()), Mixed(CPU, torch.float16, scale=2.0**40)
    before = [p.detach().clone() for p in net.parameters()]
    skipped = 0
    while True:
        _, norm = optimize(net, [(optimizer, 0.01)], rows(), 1.0, 1.0, CPU, mixed=mixed)
        if norm.isfinite():
            break
        skipped += 1
        assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before)) and optimizer.t == 0
        assert mixed.scale == 2.0**(40 - skipped)
    assert skipped > 5 and optimizer.t == 1 and not torch.equal(net.model.norm.weight, before[-1])
