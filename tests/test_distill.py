"""
Distillation from the previous model and dark experience replay: what the terms are, when they vanish, whom they move,
and what is kept. A tiny model, in float64.
"""

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from continual import der, distill
from continual.learner import Learner
from gpt.llama import Config, Llama

V = 11


def batch(rows=4, length=6, seed=1):
    x, y = torch.randint(V, (2, rows, length), generator=torch.Generator().manual_seed(seed))
    y[:, 0] = -1
    doc = (torch.arange(length) >= 4).long().expand(rows, -1)
    return x, y, doc, torch.arange(length).expand(rows, -1) - 4 * doc


def learner(dtype=torch.float64, **setting):
    torch.manual_seed(0)
    model = Llama(Config(vocab_size=V, n_layer=2, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24, context=16)).to(dtype)
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return Learner(model.eval(), None, setting, lr=0.003, steps=1, rows=4, length=6, rng=np.random.default_rng(0),
                   generator=torch.Generator().manual_seed(0))


def move(model, by=0.1):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(by * torch.randn_like(p))


def gradient(made, nats):
    return torch.cat([g.flatten() for g in torch.autograd.grad(nats, list(made.model.parameters()))])


def logits(model, rows):
    x, y, doc, positions = rows
    return model(x, doc=doc, positions=positions)[0]


# ---------------------------------------------------------------------------- distillation

def test_the_divergence_is_written_out():
    """Against the sum over the vocabulary; the other way round is another number, and equal logits have none."""
    generator = torch.Generator().manual_seed(3)
    teacher, student = torch.randn(2, 5, V, generator=generator, dtype=torch.float64)
    p, q = teacher.softmax(-1), student.softmax(-1)
    want = (p * (p / q).log()).sum() / 5
    assert distill.divergence(teacher, student).item() == pytest.approx(want.item(), abs=1e-12)
    assert abs(distill.divergence(student, teacher) - want) > 1e-3
    assert abs(distill.divergence(teacher, teacher + 2)) < 1e-12


def test_a_task_starts_with_the_plain_loss():
    """Before the first update teacher and student are one: the same loss, and the same gradient."""
    made, rows = learner(strength=3.0), batch()
    distill.begin(made)
    loss, plain = distill.loss(made, rows), made.nats(rows)
    assert loss.item() == pytest.approx(plain.item(), abs=1e-12)
    torch.testing.assert_close(gradient(made, loss), gradient(made, plain), rtol=0, atol=1e-12)


def test_only_the_student_is_moved():
    """The loss is what the header says, the teacher stands still, and the next task has a new teacher."""
    made, rows = learner(strength=3.0), batch()
    distill.begin(made)
    teacher, before = made.kept["previous"], logits(made.model, rows).detach()
    move(made.model)
    scored = rows[1] >= 0
    want = made.nats(rows) + 3 * distill.divergence(before[scored], logits(made.model, rows)[scored])
    loss = distill.loss(made, rows)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)
    loss.backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for p in made.model.parameters())
    distill.begin(made)
    assert torch.equal(logits(made.kept["previous"], rows), logits(made.model, rows))


# ---------------------------------------------------------------------------- dark experience replay

def test_rows_are_kept_with_the_logits_of_their_time():
    """After the weights have moved, the buffer still has the old answers, to the rounding of float16."""
    made, rows = learner(alpha=1.0, beta=1.0), batch()
    before = logits(made.model, rows).detach()
    der.start(made, [rows])
    move(made.model)
    kept = der.stacked(made.buffer.items)
    torch.testing.assert_close(kept[4].double(), before, rtol=1e-3, atol=1e-3)
    assert (logits(made.model, rows) - before).abs().max() > 0.1, "teeth: the model answers otherwise now"
    assert all(torch.equal(a, b) for a, b in zip(kept, rows))


def test_the_loss_is_equation_6():
    """With a buffer of one row every draw is known, so the three terms can be written out."""
    made, rows, old = learner(alpha=2.0, beta=0.5), batch(), batch(rows=1, seed=7)
    der.start(made, [old])
    made.buffer.capacity = 1
    then = made.buffer.items[0][4].double()
    move(made.model)
    now, scored = logits(made.model, old)[0], old[1][0] >= 0
    replayed = F.cross_entropy(now[scored], old[1][0][scored])
    terms = [made.nats(rows), 2 * (now - then)[scored].square().mean(), 0.5 * replayed]
    assert min(terms) > 0.05
    torch.testing.assert_close(der.loss(made, rows), sum(terms), rtol=0, atol=1e-10)


def test_nothing_dark_before_the_first_update():
    made, rows = learner(alpha=1.0, beta=0.0), batch()
    der.start(made, [batch(seed=2)])
    assert (der.loss(made, rows) - made.nats(rows)).abs() < 1e-5     # float16


def test_the_buffer_is_a_reservoir_of_honest_size():
    """Rows of all that was seen, never more than its capacity, no graph kept alive, no memory but what is counted."""
    made = learner(torch.float32, alpha=1.0, beta=0.5)
    der.start(made, [batch(seed=n) for n in range(40)])
    for n in range(40, 80):
        der.loss(made, batch(seed=n))
    assert len(made.kept["rows"]) == der.CAPACITY and made.buffer.seen == 320
    stored = [row[4] for row in made.kept["rows"]]
    assert all(z.dtype == torch.float16 and not z.requires_grad for z in stored)
    assert all(z.untyped_storage().nbytes() == z.nbytes for z in stored), "a view would hold its whole batch"
    assert made.stored() == der.CAPACITY * 6 * (4 * 2 + 2 * V)
