"""
Self-generated replay and on-policy self-distillation: who writes what is trained on, and towards what.

The models here are chosen so that what they must write is known: one that can say a single token, and one whose next
token hangs on the last alone, so that its table of chances can be read off.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from continual import learn, naive, self_distill, self_replay
from continual.learner import Learner
from gpt.llama import Config, Llama

BOS, END, PAD, V = 10, 11, 12, 13
TOKENIZER = SimpleNamespace(specials={"<|bos|>": BOS, "<|end|>": END, "<|pad|>": PAD}, n_vocab=V)
SHAPE = dict(vocab_size=V, n_layer=2, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24, context=16)
ROWS, LENGTH = 4, 8


def tiny(seed=0, **shape):
    """Blocks add nothing yet, so that the next token hangs on the last one alone."""
    return Llama(Config(**SHAPE, **shape), generator=torch.Generator().manual_seed(seed)).double().eval()


def busy(seed=0):
    """The same with blocks that do something."""
    model, generator = tiny(seed), torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


@torch.no_grad()
def parrot(token):
    """Says `token` whatever it reads: all embeddings are one vector, and the head points it at this token."""
    model = tiny(tie=False)
    model.model.embed_tokens.weight[:] = model.model.embed_tokens.weight[0].clone()
    model.lm_head.weight.zero_()
    model.lm_head.weight[token] = 10 * model.model.embed_tokens.weight[0].sign()
    return model


def learner(model, lr=0.01, **setting):
    return Learner(model, TOKENIZER, setting, lr, 5, ROWS, LENGTH, np.random.default_rng(0),
                   torch.Generator().manual_seed(0))


def texts(seed=0):
    """A batch of rows that hold one document each, without special tokens but the first."""
    ids = torch.randint(BOS, (ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = BOS
    zeros = torch.zeros(ROWS, LENGTH, dtype=torch.long)
    return ids[:, :-1], ids[:, 1:], zeros, torch.arange(LENGTH).expand(ROWS, LENGTH)


# ----------------------------------------------------------------------------
# self-generated replay

def test_it_replays_only_what_the_model_says():
    one = learner(parrot(7), share=1.0)
    learn.begin(one, self_replay)
    for _ in range(20):
        x, y, doc, positions = one.own.next()
        assert set(x.flatten().tolist()) <= {BOS, 7} and set(y.flatten().tolist()) <= {-1, BOS, 7}
        assert (x[positions == 0] == BOS).all()
        assert (y[x == 7] == 7).float().mean() > 0.5


def test_a_share_of_the_rows_is_its_own():
    """All of them: the batch is not looked at. None: fine-tuning. A quarter: a quarter of the rows."""
    whole, twin, none = (learner(busy(), share=share) for share in (1.0, 1.0, 0.0))
    for one in (whole, twin, none):
        learn.begin(one, self_replay)
    own = tuple(torch.cat(parts) for parts in zip(*(twin.own.next() for _ in range(ROWS))))
    log_p = whole.read(own[0], *own[2:]).log_softmax(-1)[own[1] >= 0]
    entropy = -(log_p.exp() * log_p).sum(-1).mean()          # what a model loses against its own chances
    torch.testing.assert_close(self_replay.loss(whole, texts(1)), entropy, rtol=0, atol=1e-12)
    torch.testing.assert_close(self_replay.loss(none, texts(1)), naive.loss(none, texts(1)), rtol=0, atol=1e-12)

    quarter, taken = learner(busy(), share=0.25), []
    learn.begin(quarter, self_replay)
    quarter.own = SimpleNamespace(next=lambda: taken.append(1) or tuple(t[:1] for t in texts()))
    for _ in range(200):
        with torch.no_grad():
            self_replay.loss(quarter, texts(1))
    assert 150 < len(taken) < 250                            # of 800 rows, four standard deviations about 200


def test_what_it_writes_is_a_fair_sample():
    """
    Next tokens come as often as the model says, nothing sharpened and nothing cut: a chi-square over the table, with
    as many degrees of freedom as it has free cells. At temperature 0.8 the same samples would be turned down.
    """
    model = tiny(1, tie=False)
    model.lm_head.weight.data *= 15
    one = learner(model)
    written = self_replay.write(one, [[BOS]] * 1500, 6)
    counts = torch.zeros(V, V, dtype=torch.float64)
    for ids in written:
        for a, b in zip(ids, ids[1:]):
            counts[a, b] += 1
    with torch.no_grad():
        z = model(torch.arange(V)[:, None])[0][:, 0]         # (V, V): blocks add nothing, so this is the whole model

    def surplus(temperature):
        """Chi-square in standard deviations above its mean."""
        want = (z / temperature).softmax(-1) * counts.sum(-1, keepdim=True)
        cells = want > 5
        chi, free = ((counts - want)[cells] ** 2 / want[cells]).sum(), cells.sum()
        return float((chi - free) / (2 * free) ** 0.5)

    assert counts.sum() > 5000
    assert abs(surplus(1.0)) < 4 < surplus(0.8)


def test_nothing_of_the_stream_is_kept_and_work_is_counted():
    one = learner(busy(), share=0.5)
    self_replay.start(one, [texts()])
    learn.begin(one, self_replay)
    assert one.flops > 2 * 16 * 24 * LENGTH * 100            # far below what a hundred documents cost
    learn.step(one, self_replay, texts(), 1.0)
    self_replay.end(one)
    assert one.stored() == 0


# ----------------------------------------------------------------------------
# on-policy self-distillation

def test_the_divergence_is_the_reverse_one():
    """
    KL(student || teacher) by enumeration over all tokens, at the sampled positions alone; its gradient by finite
    differences. Forward KL is another number.
    """
    student, teacher = busy(1), busy(2)
    x, y, doc, positions = texts()
    y = y.clone()
    y[:, :5] = -1
    got = self_distill.kl(student, teacher, (x, y, doc, positions))

    def enumerated(first, second):
        total = 0.0
        with torch.no_grad():
            p, q = (m(x, doc=doc, positions=positions)[0].softmax(-1) for m in (first, second))
        for b, t in (y >= 0).nonzero().tolist():
            total += sum(float(p[b, t, v]) * np.log(float(p[b, t, v]) / float(q[b, t, v])) for v in range(V))
        return total / int((y >= 0).sum())

    assert got.item() == pytest.approx(enumerated(student, teacher), rel=1e-10)
    assert abs(got.item() - enumerated(teacher, student)) > 1e-2
    got.backward()
    assert all(p.grad is None for p in teacher.parameters())
    weight, h = student.model.layers[0].mlp.up_proj.weight, 1e-5
    sides = []
    for sign in (1, -1):
        weight.data[3, 2] += sign * h
        sides.append(self_distill.kl(student, teacher, (x, y, doc, positions)).item())
        weight.data[3, 2] -= sign * h
    assert weight.grad[3, 2].item() == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-5)


def judged(one, batch, monkeypatch):
    """What one loss is computed on."""
    seen = []
    monkeypatch.setattr(self_distill, "kl", lambda student, teacher, batch: seen.append(batch) or torch.zeros(()))
    learn.begin(one, self_distill)
    self_distill.loss(one, batch)
    return seen[0]


def test_the_student_writes_what_it_is_judged_on(monkeypatch):
    """Prompts are the task's, what follows is the student's, and only that counts."""
    data = texts()
    one = learner(parrot(7))
    x, y, doc, positions = judged(one, data, monkeypatch)
    assert torch.equal(x[:, :4], data[0][:, :4])
    assert (y[:, :3] == -1).all() and (y[:, 3:] == 7).any()
    assert set(y.flatten().tolist()) == {-1, 7}
    assert (y >= 0).sum() == ROWS * (LENGTH - 4)


def test_it_follows_the_teacher_and_the_teacher_the_texts():
    """
    The teacher's loss is that of fine-tuning, and it gets fine-tuning's gradient; the student's is the divergence, at
    first none. So it learns from the teacher alone: rows that count are soon continued, by both.
    """
    one, (x, y, doc, positions) = learner(busy(), lr=0.03), texts()
    x = (positions + torch.arange(ROWS)[:, None]) % BOS
    batch = x, (x + 1) % BOS, doc, positions
    late = x, torch.where(positions < LENGTH // 2, -1, batch[1]), doc, positions
    before, one.steps = one.nats(late).item(), 60
    learn.begin(one, self_distill)
    nats = self_distill.loss(one, batch)
    nats.backward()
    assert nats.item() == pytest.approx(one.nats(batch).item(), abs=1e-12)
    assert all(p.grad.abs().max() < 1e-12 for p in one.model.parameters())
    want = torch.autograd.grad(one.nats(batch), list(one.model.parameters()))
    for p, g in zip(one.teacher.parameters(), want):
        torch.testing.assert_close(p.grad, g, rtol=0, atol=1e-12)
    one.teacher.zero_grad()
    for n in range(1, 61):
        learn.step(one, self_distill, batch, one.factor(n, 60))
    with torch.no_grad():
        assert one.nats(late, one.teacher).item() < 0.1 * before
        assert one.nats(late).item() < 0.5 * before
