"""
Elastic weight consolidation: the Fisher diagonal against two enumerations and against what it means, two well-known
wrong estimators turned down, and the springs that are made of it. In float64 on a tiny model and a vocabulary of 11.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import vector_to_parameters

from continual import ewc, online_ewc
from continual.learner import Learner
from gpt.llama import Config, Llama

V = 11


def tiny(seed=0):
    """A model whose weights are nowhere zero, decided enough not to have the Fisher of a uniform guess."""
    torch.manual_seed(seed)
    model = Llama(Config(vocab_size=V, n_layer=2, n_head=2, n_kv_head=2, n_embd=8, n_hidden=12, context=16)).double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
    return model.eval()


def texts(rows=2, length=6, seed=1):
    """A batch of packed documents; some positions have no target."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randint(V, (2, rows, length), generator=generator)
    y[:, 0] = -1
    doc = (torch.arange(length) >= 4).long().expand(rows, -1)
    return x, y, doc, torch.arange(length).expand(rows, -1) - 4 * doc


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def away(estimate, truth):
    """Relative distance of two diagonals."""
    return ((flat(estimate) - flat(truth)).norm() / flat(truth).norm()).item()


def jacobian_fisher(model, batch):
    """The diagonal of J' (diag p - p p') J, averaged over positions: J the derivative of a position's logits."""
    rows = []
    for logits in ewc.scores(model, batch):
        J = torch.stack([flat(torch.autograd.grad(z, ewc.weights(model), retain_graph=True)) for z in logits])
        p = logits.detach().softmax(-1)
        rows.append(p @ J.square() - (p @ J).square())
    return torch.stack(rows).mean(0)


def kl(model, other, batch):
    """KL(model || other), nats per token"""
    with torch.no_grad():
        p, q = (ewc.scores(m, batch).log_softmax(-1) for m in (model, other))
        return (p.exp() * (p - q)).sum(-1).mean().item()


@pytest.fixture(scope="module")
def case():
    model, batch = tiny(), texts()
    return SimpleNamespace(model=model, batch=batch, exact=ewc.exact(model, batch))


# ---------------------------------------------------------------------------- the Fisher

def test_enumeration_is_the_jacobians_fisher(case):
    """Two formulas of one quantity, rounding apart."""
    torch.testing.assert_close(flat(case.exact), jacobian_fisher(case.model, case.batch), rtol=0, atol=1e-10)


def test_the_estimate_converges(case):
    """Its error falls like one over the root of the number of draws: a factor of four from 20 to 320."""
    few, many = (away(ewc.fisher(case.model, [case.batch], torch.Generator().manual_seed(2), draws), case.exact)
                 for draws in (20, 320))
    assert many < 0.1 and 2 < few / many < 8, (few, many)


def test_the_divergence_is_a_parabola(case):
    """KL(w || w + d e_i) = F_i d^2 / 2 + O(d^3), for weights with the largest Fisher down to a small one."""
    diagonal, d, other = flat(case.exact), 1e-3, tiny()
    w, order = flat(ewc.weights(other)).detach().clone(), diagonal.argsort(descending=True).tolist()
    for rank in (0, 1, 2, 100, 300, 600):
        found, i = 0, order[rank]
        for sign in (1, -1):                                 # both ways, and the cubic term is gone
            moved = w.clone()
            moved[i] += sign * d
            vector_to_parameters(moved, ewc.weights(other))
            found += kl(case.model, other, case.batch) / 2
        assert found == pytest.approx(diagonal[i].item() * d**2 / 2, rel=1e-3), f"weight {i}"


def test_wrong_estimators_are_turned_down(case):
    """
    What goes by the name of Fisher in many places is far from it: the square of the mean gradient of a batch with drawn
    labels (too small by the number of tokens), and the mean square with the data's labels (the empirical Fisher).
    """
    model, (x, y, doc, positions) = case.model, case.batch
    generator, n, of_mean, empirical = torch.Generator().manual_seed(3), (y >= 0).sum(), [], []
    for _ in range(400):
        logits = ewc.scores(model, case.batch)
        drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator)[:, 0]
        of_mean.append(flat(torch.autograd.grad(F.cross_entropy(logits, drawn), ewc.weights(model))).square())
    of_mean = torch.stack(of_mean).mean(0)
    for log in -F.cross_entropy(ewc.scores(model, case.batch), y[y >= 0], reduction="none"):
        empirical.append(flat(torch.autograd.grad(log, ewc.weights(model), retain_graph=True)).square())
    empirical = torch.stack(empirical).mean(0)
    assert away([of_mean], case.exact) > 0.5
    assert away([of_mean * n], case.exact) < 0.15, "it is the factor that is wrong"
    assert away([empirical], case.exact) > 0.5
    assert away([empirical * (flat(case.exact).sum() / empirical.sum())], case.exact) > 0.2, "and no factor mends it"


def test_what_has_no_target_does_not_count(case):
    """A row without targets changes nothing, and positions without one are no tokens."""
    x, y, doc, positions = case.batch
    empty = x, torch.full_like(y, -1), doc, positions
    with_it, without = (ewc.fisher(case.model, batches, torch.Generator().manual_seed(4))
                        for batches in ([empty, case.batch], [case.batch]))
    assert torch.equal(flat(with_it), flat(without))


# ---------------------------------------------------------------------------- the springs

def learner(model, **setting):
    made = Learner(model, None, setting, lr=0.003, steps=1, rows=2, length=6, rng=np.random.default_rng(0),
                   generator=torch.Generator().manual_seed(0))
    made.recent = [texts(seed=5)]
    return made


def move(model, by=0.1):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(by * torch.randn_like(p))


def springs(method, made):
    """(penalty in nats, its gradient): the method's loss less the plain one."""
    extra = method.loss(made, made.recent[0]) - made.nats(made.recent[0])
    return extra.item(), flat(torch.autograd.grad(extra, ewc.weights(made.model)))


@pytest.mark.parametrize("method", [ewc, online_ewc], ids=["ewc", "online"])
def test_no_pull_at_the_anchor(method):
    made = learner(tiny(), strength=100.0, gamma=0.9)
    method.start(made, made.recent)
    pull, gradient = springs(method, made)
    assert pull == 0 and gradient.abs().max() < 1e-12
    move(made.model)
    assert springs(method, made)[0] > 0


def test_gradient_by_hand_and_two_tasks_add():
    """strength * sum_k F_k (w - w*_k), by hand; the second task's spring does not replace the first's."""
    made = learner(tiny(), strength=7.0)
    ewc.start(made, made.recent)
    move(made.model)
    made.recent = [texts(seed=6)]
    ewc.end(made)
    move(made.model)
    pull, gradient = springs(ewc, made)
    (F1, w1), (F2, w2), w = *((flat(f), flat(a)) for f, a in made.kept["tasks"]), flat(ewc.weights(made.model)).detach()
    torch.testing.assert_close(gradient, 7 * (F1 * (w - w1) + F2 * (w - w2)), rtol=0, atol=1e-10)
    assert pull == pytest.approx(7 / 2 * (F1 @ (w - w1)**2 + F2 @ (w - w2)**2).item(), rel=1e-9)
    assert (gradient - 7 * F2 * (w - w2)).abs().max() > 1e-2, "teeth: the newest alone is not enough"


def test_online_has_one_fading_fisher_at_the_newest_weights():
    made = learner(tiny(), strength=7.0, gamma=0.5)
    online_ewc.start(made, made.recent)
    first, bytes_kept = flat(made.kept["fisher"]), made.stored()
    move(made.model)
    made.generator.manual_seed(9)
    online_ewc.end(made)
    second = flat(ewc.fisher(made.model, made.recent, torch.Generator().manual_seed(9)))
    torch.testing.assert_close(flat(made.kept["fisher"]), 0.5 * first + second, rtol=0, atol=1e-12)
    anchor = flat(ewc.weights(made.model)).detach().clone()
    move(made.model)
    moved = flat(ewc.weights(made.model)).detach() - anchor
    want = 7 * 0.5 * (0.5 * first + second) * moved
    torch.testing.assert_close(springs(online_ewc, made)[1], want, rtol=0, atol=1e-10)
    assert made.stored() == bytes_kept, "what is kept does not grow with the tasks"
