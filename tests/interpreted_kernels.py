"""
The kernels against float64: on the GPU where there is one, interpreted on the CPU otherwise. tests/test_kernels.py
runs this file in a process of its own, since TRITON_INTERPRET must be set before anything imports Triton.

    TRITON_INTERPRET=1 python -m pytest tests/interpreted_kernels.py

Tolerance. The kernels compute in float32 and round a result once to its dtype: a right answer is off by half a unit
in the last place of that dtype, and by a whole one in bfloat16, which the interpreter cuts off where a GPU rounds. So
`close` allows one unit (2^-7 of the value in bfloat16, 2^-10 in float16), to float32 sixteen for its sums, and 1e-5.
"""

import pytest
import torch
import torch.nn.functional as F

from kernels import bench, cross_entropy, logits_gradient, rmsnorm, rope, swiglu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def poisoned():
    """Memory that torch hands out unfilled is filled with NaN: an element that no kernel writes convicts itself."""
    torch.set_default_device(DEVICE)
    torch.use_deterministic_algorithms(True, warn_only=DEVICE == "cuda")
    assert torch.utils.deterministic.fill_uninitialized_memory and torch.empty(3).isnan().all()
    assert torch.ones(2).new_empty(3).isnan().all() and torch.empty_like(torch.ones(3)).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def randn(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, device="cpu", generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def close(name, got, want):
    """got, in its dtype, against want in float64."""
    unit = max(torch.finfo(got.dtype).eps, 16 * torch.finfo(torch.float32).eps)
    assert want.dtype == torch.float64
    torch.testing.assert_close(got.double(), want, rtol=unit, atol=1e-5, msg=lambda m: f"{name}: {m}")


def compare(names, kernel, reference, inputs, dy):
    """kernel(*inputs) and every gradient against reference(*inputs) in float64, for a random upstream gradient."""
    ours = [x.clone(memory_format=torch.preserve_format).requires_grad_() for x in inputs]
    exact = [x.double().requires_grad_() for x in inputs]
    got, want = kernel(*ours), reference(*exact)
    close("y", got, want)
    found = torch.autograd.grad(got, ours, dy.to(got.dtype))
    for name, a, b in zip(names, found, torch.autograd.grad(want, exact, dy.to(got.dtype).double())):
        close(f"d{name}", a, b)


# ----------------------------------------------------------------------------
# RMSNorm

@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(2, 41, 48), (3, 5000), (1, 1), (150, 33)], ids=str)
def test_rmsnorm(shape, dtype):
    """Several tiles, one row a tile, the smallest, nothing even; w in float32 beside a narrower x too."""
    x, w, dy = randn(*shape, dtype=dtype), randn(shape[-1], seed=1), randn(*shape, seed=2)
    compare("xw", rmsnorm.rmsnorm, rmsnorm.plain, (x, w), dy)
    compare("xw", rmsnorm.rmsnorm, rmsnorm.plain, (x, w.to(dtype)), dy)


def test_rmsnorm_of_a_strided_view():
    x, w, dy = randn(4, 6, 32).transpose(0, 1), randn(32, seed=1), randn(6, 4, 32, seed=2)
    compare("xw", rmsnorm.rmsnorm, rmsnorm.plain, (x, w), dy)
    x = randn(4, 32).requires_grad_()
    rmsnorm.rmsnorm(x, w).sum().backward()                   # dy is one number, expanded: no memory of its own
    exact = x.detach().double().requires_grad_()
    rmsnorm.plain(exact, w.double()).sum().backward()
    close("dx", x.grad, exact.grad)


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_rmsnorm_tiled_in_float64(rows):
    """The kernel's arithmetic in torch: any tile gives autograd's gradients to 1e-12."""
    x, w, dy = randn(13, 9).double().requires_grad_(), randn(9, seed=1).double().requires_grad_(), randn(13, 9, seed=2)
    want = torch.autograd.grad(rmsnorm.plain(x, w), (x, w), dy.double())
    r = (x.pow(2).mean(1) + 1e-6).rsqrt()
    got = rmsnorm.tiled_backward(dy.double(), x.detach(), w.detach(), r.detach(), rows)
    for name, a, b in zip("xw", got, want):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=lambda m: f"d{name}: {m}")


def test_rmsnorm_has_teeth():
    """Turned down: a dx that takes r for a constant, a dw that forgets a tile, in the widest tolerance."""
    x, w, dy = (randn(*shape).double().requires_grad_() for shape in [(40, 48), (48,), (40, 48)])
    dx, dw = torch.autograd.grad(rmsnorm.plain(x, w), (x, w), dy)
    h = F.normalize(x, dim=1) * 48 ** 0.5
    wrong = [(dx, dy * w * h / x), (dw, (dy * h)[:32].sum(0))]
    for right, guess in wrong:
        with pytest.raises(AssertionError):
            close("wrong", guess.bfloat16(), right)


# ----------------------------------------------------------------------------
# rotary positions

POSITIONS = torch.tensor([[0, 1, 2, 3, 4, 5, 6], [40, 41, 0, 1, 2, 0, 1]], device=DEVICE)  # packed documents restart


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("heads, D", [(3, 32), (1, 6), (5, 2)])
@pytest.mark.parametrize("layout", ["BHTD", "BTHD"])
def test_rope(heads, D, layout, dtype):
    B, T = POSITIONS.shape
    x = randn(B, heads, T, D, dtype=dtype)
    if layout == "BTHD":                                     # as the projection leaves it
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    cos, sin = rope.table(42, D)
    compare("x", lambda x: rope.rope(x, POSITIONS, cos, sin),
            lambda x: rope.plain(x, POSITIONS, cos.double(), sin.double()), (x,), randn(B, heads, T, D, seed=1))
    assert rope.rope(x, POSITIONS, cos, sin).stride() == x.stride()


def test_rope_depends_on_the_distance_alone():
    """q at s + 9 against k at t + 9 gives the product of q at s against k at t."""
    q, k, (cos, sin) = randn(1, 2, 7, 16), randn(1, 2, 7, 16, seed=1), rope.table(99, 16)
    near, far = ([rope.rope(x, torch.arange(7)[None] + shift, cos, sin) for x in (q, k)] for shift in (0, 9))
    torch.testing.assert_close(far[0] @ far[1].mT, near[0] @ near[1].mT, rtol=0, atol=1e-5)


def test_rope_outside_its_table():
    """A position without a row gives NaN in its own rows and nowhere else; int32 positions do as well."""
    positions = torch.tensor([[0, 3, -1, 2, 9, 1, 1]], dtype=torch.int32)
    y = rope.rope(randn(1, 2, 7, 8), positions, *rope.table(9, 8))
    assert torch.equal(y.isnan().all(dim=3)[0, 0], (positions[0] < 0) | (positions[0] > 8))
    assert y.isnan().sum() == 2 * 2 * 8


def test_rope_has_teeth():
    """Turned down: the paper's pairs, a backward that turns on, a table in which every document goes on counting."""
    x, (cos, sin) = randn(2, 3, 7, 8).double(), [c.double() for c in rope.table(42, 8)]
    want = rope.plain(x, POSITIONS, cos, sin)
    pairs = rope.plain(x.unflatten(3, (4, 2)).mT.flatten(3), POSITIONS, cos, sin).unflatten(3, (2, 4)).mT.flatten(3)
    for wrong in (pairs, rope.plain(x, POSITIONS, cos, -sin), rope.plain(x, torch.arange(7).repeat(2, 1), cos, sin)):
        with pytest.raises(AssertionError):
            close("wrong", wrong.bfloat16(), want)


# ----------------------------------------------------------------------------
# SwiGLU

@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3, 1001), (2, 8, 16), (1,)], ids=str)
def test_swiglu(shape, dtype):
    gate, up, dy = 3 * randn(*shape, dtype=dtype), randn(*shape, dtype=dtype, seed=1), randn(*shape, seed=2)
    compare(["gate", "up"], swiglu.swiglu, swiglu.plain, (gate, up), dy)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # numpy's, and the point: 1 / (1 + inf) = 0
def test_swiglu_of_large_gates():
    """exp(-gate) overflows at -89: silu is 0 there and its gradient too, never NaN."""
    gate, up = torch.tensor([-1e4, -100, 100, 1e4]), torch.ones(4)
    compare(["gate", "up"], swiglu.swiglu, swiglu.plain, (gate, up), torch.ones(4))


def test_swiglu_has_teeth():
    """Turned down: gate and up exchanged, and s(gate) for silu's derivative."""
    gate, up, dy = (randn(5, 9, seed=n).double().requires_grad_() for n in range(3))
    dgate, = torch.autograd.grad(swiglu.plain(gate, up), gate, dy)
    for right, wrong in [(swiglu.plain(gate, up), swiglu.plain(up, gate)), (dgate, dy * up * gate.sigmoid())]:
        with pytest.raises(AssertionError):
            close("wrong", wrong.bfloat16(), right)


# ----------------------------------------------------------------------------
# cross-entropy

def logits(order, dtype, V=5000):
    """Three rows over two blocks of the vocabulary whose largest logits come early, late or anywhere."""
    z = 4 * randn(3, V)
    return (z if order == "random" else z.sort(dim=1, descending=order == "falling").values).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("order", ["random", "rising", "falling"])
def test_loss_and_gradient(order, dtype):
    z, targets = logits(order, dtype), torch.tensor([4999, 7, -1])
    exact = z.double().requires_grad_()
    want = F.cross_entropy(exact, targets, ignore_index=-1, reduction="none")
    dz, = torch.autograd.grad(want.sum(), exact)
    untouched = z.clone()
    close("loss alone", logits_gradient.loss_and_gradient_(untouched, targets, gradient=False), want)
    assert torch.equal(untouched, z)
    close("loss", logits_gradient.loss_and_gradient_(z, targets), want)
    close("dz", z, dz)
    assert not z[2].any()                                    # the row without a target


@pytest.mark.parametrize("V", [1, 31, 4096])
def test_loss_of_other_vocabularies(V):
    z, targets = randn(2, V), torch.tensor([0, V - 1])
    exact = z.double().requires_grad_()
    want = F.cross_entropy(exact, targets, reduction="none")
    dz, = torch.autograd.grad(want.sum(), exact)
    close("loss", logits_gradient.loss_and_gradient_(z, targets), want)
    close("dz", z, dz)


def test_the_head_with_the_kernel(monkeypatch):
    """What runs on CUDA: chunks of logits through the kernel, then the two products; 37 rows in chunks of 8."""
    monkeypatch.setattr(cross_entropy, "loss_and_gradient_", logits_gradient.loss_and_gradient_)
    x, w, targets = randn(37, 12), randn(31, 12, seed=1), torch.arange(37) % 31
    compare("xw", lambda x, w: cross_entropy.linear_cross_entropy(x, w, targets, chunk=8),
            lambda x, w: F.cross_entropy(x @ w.t(), targets), (x, w), torch.tensor(0.7))


def test_loss_has_teeth():
    """Turned down: a sum that is not rescaled when a larger logit turns up, a gradient without the one."""
    z, targets = logits("rising", torch.float64), torch.tensor([4999, 7, 0])
    blocks = z.split(4096, dim=1)
    unscaled = sum((b - b.amax(1, keepdim=True)).exp().sum(1) for b in blocks).log() + z.amax(1) - z[range(3), targets]
    want = F.cross_entropy(z, targets, reduction="none")
    with pytest.raises(AssertionError):
        close("wrong", unscaled.bfloat16(), want)
    with pytest.raises(AssertionError):
        close("wrong", z.softmax(1).bfloat16(), z.softmax(1) - F.one_hot(targets, 5000))


# ----------------------------------------------------------------------------
# what a caller can get wrong

@pytest.mark.parametrize("call", [
    lambda: rmsnorm.rmsnorm(randn(2, 4).double(), randn(4)), lambda: rmsnorm.rmsnorm(randn(2, 4), randn(5)),
    lambda: rmsnorm.rmsnorm(randn(0, 4), randn(4)), lambda: swiglu.swiglu(randn(3), randn(4)),
    lambda: swiglu.swiglu(randn(3), randn(3).half()), lambda: swiglu.swiglu(randn(0), randn(0)),
    lambda: rope.rope(randn(1, 1, 2, 5), POSITIONS[:1, :2], *rope.table(9, 4)),
    lambda: rope.rope(randn(1, 1, 2, 4), POSITIONS, *rope.table(9, 4)),
    lambda: rope.rope(randn(1, 1, 2, 4), POSITIONS[:1, :2], *rope.table(9, 6))])
def test_wrong_arguments(call):
    with pytest.raises(ValueError, match="need|takes"):
        call()


# ----------------------------------------------------------------------------
# kernels/bench.py, all but its clock

@pytest.mark.skipif(DEVICE == "cuda", reason="run the bench itself")
def test_bench_checks_first():
    """Every comparison runs, here at an odd length; an attention that forgets causality ends the run in one line."""
    torch.manual_seed(0)
    bench.check_all(torch.device("cpu"), T=33, C=48, V=40)
    q = bench.randn("cpu", 1, 2, 33, 32)
    with pytest.raises(SystemExit, match="attention: the output is off by"):
        bench.check("attention", lambda *x: F.scaled_dot_product_attention(*x),
                    lambda *x: F.scaled_dot_product_attention(*x, is_causal=True),
                    lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), (q, q, q))


@pytest.mark.skipif(DEVICE == "cuda", reason="run the bench itself")
def test_bench_runs_every_part(monkeypatch):
    """Each call is made once and said to take a millisecond; torch has no cuDNN here, which the table says."""
    monkeypatch.setattr(bench, "seconds", lambda call: (call(), 1e-3)[1])
    monkeypatch.setattr(bench, "added_memory", lambda call: 3 * 2**20)
    device = torch.device("cpu")
    rows = [*bench.attention(device, lengths=(33,), tokens=33, channels=128),
            *bench.memory(device, N=8, C=256, hidden=96, T=4), *bench.loss(device, N=9, C=16, vocabularies=(40,))]
    assert len(rows) == 8 + 8 + 1 and all(row["seconds"] == 1e-3 for row in rows)
    assert rows[0]["work"] == 4 * 1 * 2 * 33 * 33 * 64 and rows[3]["work"] == 2.5 * rows[0]["work"] / 2
    text = bench.table(rows, {"operations": 1e12, "bytes": 1e9})
    assert "1.00 FlashAttention-2, - cuDNN" in text and "adds 3 MiB, unfused 3" in text
