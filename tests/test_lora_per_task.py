"""Adapters for tasks: the frozen base stays to the bit, rows do not leak, one set of weights adds up as it should."""

import numpy as np
import pytest
import torch
import torch.nn as nn

from continual import lora_per_task, merging, olora
from continual.learner import Learner
from gpt.llama import Config, Llama
from lora.lora import layers

V = 11


def learner(**setting):
    torch.manual_seed(0)
    model = Llama(Config(vocab_size=V, n_layer=2, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24, context=80)).double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return Learner(model.eval(), None, {"rank": 2, **setting}, 0.01, 4, 4, 80, np.random.default_rng(0),
                   torch.Generator().manual_seed(0))


def batch(low, high, rows=6):
    x, y = torch.randint(low, high, (2, rows, 80), generator=torch.Generator().manual_seed(low))
    return x, y, torch.zeros_like(x), torch.arange(80).expand_as(x)


def teach(method, learner, *batches):
    for own in batches:
        learner.tasks += 1
        method.begin(learner)
        for _ in range(4):
            method.loss(learner, own).backward()
            for optimizer, _ in learner.optimizers:
                optimizer.lr = 0.02
                optimizer.step()
                optimizer.zero_grad()
        method.end(learner)


def weights(model):
    return {name.replace(".base.", "."): p.detach().clone() for name, p in model.named_parameters()
            if ".adapters." not in name}


BASE, ONE, TWO = batch(0, 4), batch(4, 8), batch(8, 11)


@torch.no_grad()
def test_base_and_rows():
    """Base unmoved and its domain answered by it, bit for bit; each row as alone, and not as with another's adapter."""
    a = learner()
    first, before = weights(a.model), a.model(BASE[0], doc=BASE[2], positions=BASE[3])[0]
    lora_per_task.start(a, [BASE] * 4)
    with torch.enable_grad():
        teach(lora_per_task, a, ONE, TWO)
    assert all(torch.equal(p, first[name]) for name, p in weights(a.model).items())
    assert torch.equal(a.logits(BASE[0], *BASE[2:]), before)
    names, x = ["task1", None, "task2"], ONE[0][:3]
    together = lora_per_task.answer(a, names, x, ONE[2][:3], ONE[3][:3])
    for i, name in enumerate(names):
        alone = [lora_per_task.answer(a, [n], x[i:i+1], ONE[2][:1], ONE[3][:1])[0] for n in (name, "task1", "task2")]
        torch.testing.assert_close(together[i], alone[0], rtol=0, atol=1e-12)
        assert max((together[i] - other).abs().max() for other in alone[1:]) > 1e-3


def test_penalty():
    """Zero if and only if the rows are orthogonal; else the sum of squared inner products."""
    a = learner(strength=1.0)
    olora.start(a, [])
    a.tasks = 1
    olora.begin(a)
    path, layer = next(pair for pair in layers(a.model) if pair[0].endswith("q_proj"))
    new = torch.zeros(2, 16, dtype=torch.float64)
    new[0, 3] = new[1, 5] = 2.0
    layer.adapters[olora.NAME].A.data.copy_(new)
    old = torch.zeros(2, 16, dtype=torch.float64)
    old[0, 0] = old[1, 7] = 1.0
    assert olora.penalty(a.model, {path: [old]}) == 0
    old[0, 3], old[1, 5] = 3.0, 1.0
    assert olora.penalty(a.model, {path: [old]}).item() == pytest.approx(36 + 4)


def test_olora_keeps_earlier_directions_apart():
    found = []
    for strength in (0.0, 30.0):
        a = learner(strength=strength)
        olora.start(a, [])
        teach(olora, a, ONE)
        kept = {path: [A[0].clone()] for path, A in a.kept["A"].items()}
        teach(olora, a, TWO)
        found.append(sum((kept[path][0] @ A[1].T).square().sum().item() for path, A in a.kept["A"].items()))
    assert found[1] < 0.8 * found[0]


def test_merging_is_arithmetic():
    """Base + scale * (both tasks' deltas); the second task started from the base, not from the first."""
    a, first = learner(scale=0.5), None
    merging.start(a, [])
    first = weights(a.model)
    teach(merging, a, ONE, TWO)
    for path, layer in layers(a.model):
        want = first[f"{path}.weight"] + 0.5 * sum(x.delta() for x in layer.adapters.values())
        torch.testing.assert_close(layer.weight, want, rtol=0, atol=1e-12)
        assert (layer.weight - first[f"{path}.weight"]).abs().max() > 1e-4
