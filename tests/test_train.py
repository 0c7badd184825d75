"""
Training: optimizers equal their references, packing leaks nothing, a step in parts is the step, and a pinned
trajectory. (Whole runs are in test_resume.py, several ranks in test_distributed.py.)
"""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bpe.record import score
from gpt.fused import rms_norm, rotate
from gpt.llama import Config, Llama
from kernels.cross_entropy import linear_cross_entropy, plain
from train import log, schedule, step
from train.adamw import AdamW
from train.amp import Mixed
from train.distributed import World
from train.loader import Conversations, Loader, Shards
from train.muon import Muon, orthogonalize, split
from train.pack import batch
from train.step import evaluate, optimize

TINY = Config(vocab_size=61, n_layer=2, n_head=2, n_kv_head=1, n_embd=16, n_hidden=24, context=32, qk_norm=True)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ----------------------------------------------------------------------------
# hand-written gradients, in float64, where two right answers differ by rounding alone

def gradients(y, inputs, dy):
    return torch.autograd.grad(y, inputs, dy)


@pytest.mark.parametrize("shape", [(2, 8, 64), (5, 3, 17), (1, 1, 2)], ids=str)
def test_rms_norm_gradients(shape):
    g = generator()
    x = torch.randn(shape, dtype=torch.float64, generator=g, requires_grad=True)
    w = torch.randn(shape[-1], dtype=torch.float64, generator=g, requires_grad=True)
    dy = torch.randn(shape, dtype=torch.float64, generator=g)
    got, want = rms_norm(x, w, 1e-6), F.rms_norm(x, w.shape, w, 1e-6)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    for name, a, b in zip("xw", gradients(got, (x, w), dy), gradients(want, (x, w), dy)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=lambda m: f"d{name}: {m}")
    r = (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
    if shape[-1] > 2:                                      # a backward that forgets that r depends on x is turned down
        assert (r * dy * w - gradients(rms_norm(x, w, 1e-6), x, dy)[0]).abs().max() > 1e-2


def test_rotate_gradient():
    g = generator()
    x, dy = (torch.randn(2, 3, 5, 6, dtype=torch.float64, generator=g) for _ in range(2))
    x.requires_grad_()
    angle = torch.randn(2, 1, 5, 3, dtype=torch.float64, generator=g)
    cos, sin = angle.cos(), angle.sin()
    a, b = x.chunk(2, dim=-1)
    want = torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
    got = rotate(x, cos, sin)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-14)
    dx = gradients(want, x, dy)[0]
    torch.testing.assert_close(gradients(got, x, dy)[0], dx, rtol=0, atol=1e-14)
    assert (rotate(dy, cos, sin) - dx).abs().max() > 1e-1  # turned the wrong way: turned down


@pytest.mark.parametrize("rows, chunk", [(37, 8), (37, 512), (1, 1)])
def test_linear_cross_entropy(rows, chunk):
    g = generator()
    x = torch.randn(rows, 12, dtype=torch.float64, generator=g, requires_grad=True)
    w = torch.randn(31, 12, dtype=torch.float64, generator=g, requires_grad=True)
    targets = torch.randint(31, (rows,), generator=g)
    targets[1::3] = -1                                     # masked, unevenly over the chunks
    got, want = linear_cross_entropy(x, w, targets, chunk), F.cross_entropy(x @ w.t(), targets, ignore_index=-1)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    dy = torch.tensor(0.7, dtype=torch.float64)
    for name, a, b in zip("xw", gradients(got, (x, w), dy), gradients(want, (x, w), dy)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=lambda m: f"d{name}: {m}")
    if rows > 1:                                           # divided by all rows, not the counted ones: turned down
        assert abs(got.item() * (targets >= 0).sum().item() / rows - want.item()) > 1e-3


def test_linear_cross_entropy_in_bfloat16():
    """Under autocast x is bfloat16 (8 bits of mantissa, 0.4% a product) while the weight is float32."""
    g = generator()
    x = torch.randn(40, 16, generator=g).bfloat16().requires_grad_()
    w = torch.randn(31, 16, generator=g).requires_grad_()
    targets = torch.randint(31, (40,), generator=g)
    got, want = linear_cross_entropy(x, w, targets), plain(x.float(), w, targets)
    torch.testing.assert_close(got, want, rtol=2e-2, atol=0)
    dx, dw = torch.autograd.grad(got, (x, w))
    torch.testing.assert_close(dw, torch.autograd.grad(want, w)[0], rtol=0, atol=5e-3)
    assert dx.dtype == torch.bfloat16 and dw.dtype == torch.float32


# ----------------------------------------------------------------------------
# optimizers and schedules

def steps(make, n=10):
    """Weights after n steps on one fixed random problem."""
    g = generator()
    p = [torch.randn(shape, dtype=torch.float64, generator=g, requires_grad=True) for shape in [(3, 5), (7,)]]
    optimizer = make(p)
    for _ in range(n):
        sum((q * torch.randn(q.shape, dtype=torch.float64, generator=g)).sum() + q.pow(4).sum() for q in p).backward()
        optimizer.step()
        optimizer.zero_grad()
    return p


def test_adamw_equals_torch():
    settings = dict(lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    want = steps(lambda p: torch.optim.AdamW(p, **settings))
    for a, b in zip(steps(lambda p: AdamW(p, **settings)), want):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    for wrong in (dict(weight_decay=0), dict(betas=(0.9, 0.951)), dict(eps=1e-5)):
        assert max((a - b).abs().max() for a, b in zip(steps(lambda p: AdamW(p, **{**settings, **wrong})), want)) > 1e-9


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 6, 20), (2, 20, 6), (3, 5, 9)], ids=str)
def test_orthogonalize(shape):
    """Singular values end near one (the four polynomials promise 0.44 to 1.57 from a hundredth on), directions stay."""
    n, m = shape[0], min(shape[1:])
    u, _, vt = torch.linalg.svd(torch.randn(shape, dtype=torch.float64, generator=generator()), full_matrices=False)
    s = torch.logspace(-2, 0, m, dtype=torch.float64).flip(0).expand(n, m)
    x = orthogonalize(u @ torch.diag_embed(s / s.norm(dim=-1, keepdim=True)) @ vt)
    aligned = u.mT @ x @ vt.mT                             # diagonal: the directions are the gradient's own
    values = aligned.diagonal(dim1=-2, dim2=-1)
    assert 0.4 < values.min() and values.max() < 1.6
    assert (aligned - torch.diag_embed(values)).abs().max() < 1e-9
    assert (s / s.max()).min() < 0.1                       # the same band would turn down the gradient itself


def test_muon_batches_shapes_and_skips_missing_gradients():
    g = generator()
    a, b, c = (torch.randn(4, 6, generator=g, requires_grad=True) for _ in range(3))
    alone = a.detach().clone().requires_grad_()
    both, one = Muon([a, b, c]), Muon([alone])
    a.grad = torch.randn(4, 6, generator=g)
    b.grad, alone.grad, before = torch.randn(4, 6, generator=g), a.grad.clone(), c.detach().clone()
    both.step(), one.step()
    torch.testing.assert_close(a, alone, rtol=0, atol=1e-6)
    assert torch.equal(c, before) and not torch.equal(a, torch.zeros_like(a))
    with pytest.raises(ValueError, match="takes matrices"):
        Muon([torch.zeros(3)])


def test_split_leaves_nothing_out():
    model = Llama(TINY)
    matrices, rest = split(model)
    assert len(matrices) == 7 * TINY.n_layer and len(matrices) + len(rest) == len(list(model.parameters()))
    assert any(p is model.lm_head.weight for p in rest)


def test_schedules():
    factors = [schedule.trapezoid(s, 100, warmup=0.1, cooldown=0.4) for s in range(1, 101)]
    assert factors[0] == 0.1 and factors[9] == factors[59] == 1.0 and 0 < factors[99] < 0.03
    assert all(a >= b for a, b in zip(factors[9:], factors[10:]))
    wave = [schedule.cosine(s, 100, warmup=0.1) for s in range(1, 101)]
    assert max(wave) == 1.0 and math.isclose(wave[99], 0.1) and math.isclose(wave[54], 0.55, abs_tol=0.01)


# ----------------------------------------------------------------------------
# batches

def documents(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return [np.concatenate([[0], rng.integers(1, 60, rng.integers(2, 25))]) for _ in range(n)]


def test_a_packed_document_is_alone():
    """Loss of packed documents = the mean over the documents alone; without `doc` it is another number."""
    docs = documents(4)
    model = Llama(TINY, generator=generator()).double()
    for p in model.parameters():                           # zero projections would hide attention
        p.data.normal_(0, 0.3, generator=generator(1))
    rows = [[(d, np.ones(len(d), dtype=bool)) for d in docs]]
    x, y, doc, positions = batch(rows, sum(map(len, docs)) + 5, 60)
    y[x == 60] = -1
    firsts = np.cumsum([len(d) for d in docs])[:-1] - 1
    y[0, firsts] = -1                                      # nobody asks a lone document for the next one's <bos>
    got = model(x, y, positions=positions, doc=doc)[1].item()
    alone = [(model(torch.tensor(d[None, :-1]), torch.tensor(d[None, 1:]))[1].item(), len(d) - 1) for d in docs]
    want = sum(loss * n for loss, n in alone) / sum(n for _, n in alone)
    assert abs(got - want) < 1e-12
    assert abs(model(x, y, positions=positions)[1].item() - want) > 1e-3
    assert abs(model(x, y, doc=doc)[1].item() - want) < 1e-9   # rotary positions are relative: no leak, rounding only


def test_loader_takes_every_document_once_an_epoch():
    docs = documents()
    loader = Loader(Conversations([(d, np.ones(len(d), dtype=bool)) for d in docs]), 60, rows=2, context=32, crop=False)
    seen = []
    while loader.epoch == 0:
        x, y, doc, positions = loader.next()
        assert x.shape == y.shape == (2, 32)
        assert ((doc >= 0) == (x != 60)).all() and (y[x == 60] == -1).all()
        seen += [int(x[b, t]) for b in range(2) for t in range(32) if positions[b, t] == 0 and doc[b, t] >= 0]
    assert len(seen) + len(loader.packer.waiting) >= len(docs)
    stream = Loader(loader.documents, 60, rows=2, context=32).stream()
    first, second = ([next(stream)[0] for _ in docs] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(len(docs))) and first != second


def test_loader_continues_where_it_was():
    def fresh():
        docs = documents()
        ids = np.concatenate(docs).astype(np.uint16)
        return Loader(Shards([ids[:300], ids[300:]] if ids[300] == 0 else [ids], 0), 60, rows=2, context=32, seed=3)
    loader = fresh()
    for _ in range(11):
        loader.next()
    state = json.loads(json.dumps(loader.state_dict()))    # plain values only
    want = [loader.next() for _ in range(20)]              # over the end of an epoch
    again = fresh()
    again.load_state_dict(state)
    for batch_ in want:
        assert all(torch.equal(a, b) for a, b in zip(batch_, again.next()))
    assert not torch.equal(fresh().next()[0], want[0][0])


def test_a_primer_dissolves():
    """All of the first tokens are the primer's, none after twice its length, three quarters of it in the first half."""
    docs = [np.array([0, 1 + (n < 100)] + [3] * 5) for n in range(600)]    # the first hundred say 2, the others 1
    examples = [(d, np.ones(len(d), dtype=bool)) for d in docs]
    loader = Loader(Conversations(examples), 60, rows=1, context=62, primer=100)   # nine documents a row
    loader.packer.lookahead = 1                                            # in the order of the stream
    kinds = []
    while loader.epoch < 2:
        x, _, _, positions = loader.next()
        kinds += x[positions == 1].tolist()
    shares = [kinds[n:n + 50].count(2) / 50 for n in range(0, 250, 50)]
    np.testing.assert_allclose(shares, [0.875, 0.625, 0.375, 0.125, 0], atol=0.05)
    assert kinds.count(2) == 100 and len(kinds) > 1000 and loader.epochs >= 2


def test_of_an_exercise_only_the_answer_is_predicted():
    documents = Shards([np.array([0, 5, 6, 9, 5, 6, 0, 7, 9, 7, 0, 5, 9, 5])], 0, exercises=(2, 9))
    masks = [documents[n][1].astype(int).tolist() for n in range(3)]
    assert masks == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1]]


# ----------------------------------------------------------------------------
# steps

CPU = torch.device("cpu")


def uneven(rows=6):
    """A batch whose rows have from 1 to 26 targets, and a float64 model."""
    model = Llama(TINY, head_loss=linear_cross_entropy, generator=generator()).double()
    for p in model.parameters():
        p.data.normal_(0, 0.3, generator=generator(1))
    examples = [[(np.r_[0, np.arange(1, 28)], np.arange(28) > 26 - 5 * n)] for n in range(rows)]
    return model, batch(examples, 32, 60)


def gradient(model, batch_, micro):
    loss = step.gradients(model, batch_, CPU, micro, World(), Mixed(CPU))
    found = [p.grad for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
    return loss, found


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_a_step_in_parts_is_the_step(micro):
    """To rounding, in float64, though every part has another number of targets; 4 does not even divide the rows."""
    model, rows = uneven()
    want, wanted = gradient(model, rows, None)
    loss, found = gradient(model, rows, micro)
    assert abs(loss - want) < 1e-12
    for (name, _), a, b in zip(model.named_parameters(), found, wanted):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=lambda m: f"d{name}: {m}")


def test_the_mean_of_means_is_another_step():
    """The comparison turns it down, as it must: it gives a row of one target the weight of a row of 26."""
    model, rows = uneven()
    want, wanted = gradient(model, rows, None)
    means = [gradient(model, [t[n:n + 1] for t in rows], None) for n in range(6)]
    assert abs(sum(loss for loss, _ in means) / 6 - want) > 1e-2
    wrong = [sum(parts) / 6 for parts in zip(*(found for _, found in means))]
    assert max((a - b).abs().max() for a, b in zip(wrong, wanted)) > 1e-2


def test_rows_without_targets_count_for_nothing():
    model, rows = uneven()
    more = [torch.cat([t, t[:2]]) for t in rows]
    more[1][6:] = -1
    for a, b in zip(gradient(model, rows, None)[1], gradient(model, more, 2)[1]):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_ten_pinned_losses():
    """
    fp32 without autocast. Ten steps of Muon and AdamW on fixed data: a wrong gradient, a wrong update or a
    changed initialization moves them; another processor moves them by about 1e-5.
    """
    model = Llama(TINY, head_loss=linear_cross_entropy, generator=generator(0))
    matrices, rest = split(model)
    optimizers = (Muon(matrices), 0.02), (AdamW(rest), 0.01)
    loader = Loader(Conversations([(d, np.ones(len(d), dtype=bool)) for d in documents(8)]), 60, rows=4, context=32)
    losses = [optimize(model, optimizers, loader.next(), 1.0, 1.0, CPU)[0].item() for _ in range(10)]
    np.testing.assert_allclose(losses, PINNED, rtol=0, atol=2e-3)
    assert losses[9] < losses[0] - 0.1


PINNED = [4.117388, 3.897536, 3.773854, 3.63905, 3.536786, 3.969884, 3.813346, 3.546256, 3.522443, 3.473749]


def test_evaluate_weighs_by_targets():
    model = Llama(TINY, generator=generator()).double()
    a, b = (torch.randint(1, 61, (1, n), generator=generator()) for n in (5, 20))
    batches = [(x[:, :-1], x[:, 1:], torch.zeros_like(x[:, 1:]), torch.arange(x.size(1) - 1)[None]) for x in (a, b)]
    la, lb = (model(x, y)[1].item() for x, y, _, _ in batches)
    assert math.isclose(evaluate(model, batches, CPU), (la * 4 + lb * 19) / 23, rel_tol=1e-12)


def test_log_drops_what_the_killed_attempt_wrote(tmp_path):
    first = log.Log(tmp_path, extra=("x",))
    for step in range(1, 6):
        first.log(step, loss_nats=1.0, x=step)
    again = log.Log(tmp_path, extra=("x",), resume=3)
    again.log(4, loss_nats=2.0, x=0)
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["step", "1", "2", "3", "4"] and rows[-1][3] == "2"
    assert math.isclose(float(rows[1][4]), math.e, rel_tol=1e-4)


def test_score():
    assert score(3, 4, 0.25) == {"value": 0.75, "n": 4, "stderr": math.sqrt(0.75 * 0.25 / 4), "chance": 0.25}
    assert score(0, 0) is None
