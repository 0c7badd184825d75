"""
FlashAttention in Triton against float64: on the GPU where there is one, interpreted on the CPU otherwise.
tests/test_flash.py runs this file in a process of its own, since TRITON_INTERPRET must be set before anything
imports Triton.

    TRITON_INTERPRET=1 python -m pytest tests/interpreted_flash.py -m "not slow"

Tolerance. Inputs are rounded to their dtype before the reference sees them, so only the kernels' own rounding is
left. Let u be half the dtype's spacing (bfloat16 2^-9, float16 2^-12, float32 2^-25 of a value) and y the largest value
of the tensor, or 1, the size of the terms of which a gradient may be the vanishing difference. p and ds are rounded
once before they are multiplied, the result once after: 3u y if all went one way, twice that because the interpreter
cuts bfloat16 where a GPU rounds, and some room because gradients are differences of larger terms: 8 spacings. In
float32 nothing is rounded in between, but sums of a hundred terms and the exponential of scores are, a few u each: 16.
"""

import importlib.util
from pathlib import Path

import pytest
import torch

from gpt import attention
from gpt.llama import Config, Llama
from kernels import flash, flash_backward, flash_reference

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KERNELS = Path(flash.__file__).parent


@pytest.fixture(autouse=True)
def poisoned():
    """Memory that torch hands out unfilled is filled with NaN: an element that no kernel writes convicts itself."""
    torch.use_deterministic_algorithms(True, warn_only=DEVICE == "cuda")
    assert torch.empty(3).isnan().all() and torch.ones(2).new_empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def make(B, H, G, T, S, D, E, dtype=torch.float32, seed=0):
    """q, k, v and a random upstream gradient."""
    rng = torch.Generator().manual_seed(seed)
    shapes = (B, H, T, D), (B, G, S, D), (B, G, S, E), (B, H, T, E)
    return [torch.randn(shape, generator=rng).to(DEVICE, dtype) for shape in shapes]


def pack(*sizes):
    """doc of one row: a run of ids for each size."""
    return torch.cat([torch.full((n,), i) for i, n in enumerate(sizes)])


def close(name, got, want):
    """got, in its dtype, against want in float64; infinities must agree."""
    units = 16 if got.dtype == torch.float32 else 8
    atol = units * torch.finfo(got.dtype).eps * want[want.isfinite()].abs().max().clamp(min=1).item()
    torch.testing.assert_close(got.double(), want, rtol=0, atol=atol, msg=lambda m: f"{name}: {m}")


def compare(attend, q, k, v, do, **rules):
    """Output and every gradient of attend against plain() in float64."""
    rules = {name: x.to(DEVICE) if torch.is_tensor(x) else x for name, x in rules.items()}
    ours = [x.detach().requires_grad_() for x in (q, k, v)]
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    got, want = attend(*ours, **rules), flash_reference.plain(*exact, **rules)
    assert got.dtype == q.dtype
    close("o", got, want)
    found, right = torch.autograd.grad(got, ours, do), torch.autograd.grad(want, exact, do.double())
    for name, a, b in zip(("dq", "dk", "dv"), found, right):
        close(name, a, b)


# ----------------------------------------------------------------------------
# the same numbers

CASES = {  # B, H, G, T, S, D, E and the rules
    "a block and one more": (2, 2, 2, 33, 33, 32, 32, {}),
    "the smallest": (1, 1, 1, 1, 1, 32, 32, {}),
    "grouped queries": (1, 4, 2, 65, 65, 32, 32, {"causal": False}),
    "multi-query, whole blocks": (1, 3, 1, 64, 64, 64, 64, {}),
    "several blocks": (1, 2, 1, 130, 130, 32, 32, {}),
    "queries are the last; no power of two": (1, 2, 2, 37, 101, 48, 48, {}),
    "one token of decoding": (2, 2, 1, 1, 77, 64, 64, {"lengths": torch.tensor([40, 77])}),
    "v narrower than k": (1, 1, 1, 40, 40, 96, 80, {}),
    "the widest": (1, 1, 1, 34, 34, 256, 256, {}),
    "narrower than tensor cores": (1, 1, 1, 9, 9, 8, 4, {}),
    "window, both edges": (1, 2, 1, 130, 130, 32, 32, {"window": 40}),
    "itself alone": (1, 1, 1, 70, 70, 32, 32, {"window": 1}),
    "the future but not the far past": (1, 1, 1, 50, 90, 32, 32, {"window": 33, "causal": False}),
    "documents": (2, 2, 1, 100, 100, 32, 32, {"doc": torch.stack([pack(31, 1, 68), pack(64, 36)])}),
    "documents, full": (1, 1, 1, 100, 100, 32, 32, {"doc": pack(40, 60)[None], "causal": False}),
    "documents, window": (2, 1, 1, 70, 70, 32, 32, {"doc": torch.stack([pack(20, 50), pack(5, 5, 60)]), "window": 16}),
    "lengths": (3, 1, 1, 20, 66, 32, 32, {"lengths": torch.tensor([20, 33, 66])}),
    "some see nothing": (2, 1, 1, 40, 70, 32, 32, {"lengths": torch.tensor([70, 25])}),
    "lengths, full": (2, 2, 2, 30, 64, 32, 32, {"lengths": torch.tensor([31, 60]), "causal": False}),
    "all rules": (2, 2, 1, 35, 70, 32, 32, {"lengths": torch.tensor([50, 64]), "window": 11,
                                            "doc": torch.stack([pack(30, 40), pack(45, 25)])}),
}


@pytest.mark.parametrize("name", CASES)
def test_output_and_gradients(name):
    *shape, rules = CASES[name]
    compare(flash.attend, *make(*shape), **rules)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("rules", [{}, {"causal": False, "doc": pack(30, 40)[None]}], ids=["causal", "documents"])
def test_half_precision(dtype, rules):
    compare(flash.attend, *make(1, 4, 2, 70, 70, 64, 64, dtype), **rules)


def use_blocks(M, N, monkeypatch):
    """Blocks of this size on any device, for float32."""
    for table in (flash.BLOCKS, flash_backward.QUERIES, flash_backward.KEYS):
        monkeypatch.setitem(table, max(n for n in table if n <= flash.capability(torch.device(DEVICE))),
                            {4: {256: (M, N, 4, 1, 0)}})


@pytest.mark.parametrize("M, N", [(16, 64), (64, 16)])
def test_blocks_that_are_not_square(M, N, monkeypatch):
    use_blocks(M, N, monkeypatch)
    compare(flash.attend, *make(1, 2, 1, 75, 100, 32, 32), window=50)


def test_any_strides():
    """As a projection leaves them, and gradients laid out as their inputs; v expanded, do of a sum."""
    q, k, v, do = make(2, 2, 2, 37, 37, 32, 32)
    q, k = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k))       # (B, T, H, D) in memory
    compare(flash.attend, q, k, v[:, :1].expand(-1, 2, -1, -1), torch.ones_like(do[..., :1]).expand_as(do))
    compare(flash.attend, q.mT.contiguous().mT, k, v, do)                         # channels are not neighbours
    ours = q.detach().requires_grad_()
    flash.attend(ours, k, v).sum().backward()
    assert ours.grad.stride() == q.stride()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_any_case(seed):
    """Shapes, rules and dtypes drawn at random."""
    rng = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high + 1, (), generator=rng))
    B, G, share, S = draw(1, 2), draw(1, 2), draw(1, 3), draw(1, 300)
    T, D, rules = draw(1, S), draw(1, 256) if seed % 4 == 0 else draw(16, 64), {"causal": draw(0, 1) == 1}
    rules |= {"window": draw(1, S)} if draw(0, 1) else {}
    rules |= {"doc": torch.randint(0, 30, (B, S), generator=rng).eq(0).cumsum(1)} if draw(0, 1) else {}
    rules |= {"lengths": torch.randint(1, S + 1, (B,), generator=rng)} if draw(0, 1) else {}
    dtype = (torch.float32, torch.bfloat16, torch.float16)[seed % 3]
    compare(flash.attend, *make(B, G * share, G, T, S, D, draw(1, D), dtype, seed), **rules)


# ----------------------------------------------------------------------------
# what is kept, what is skipped, what is refused

def test_saves_nothing_that_grows_with_the_square():
    """Besides its inputs and its output, one number a query."""
    q, k, v, do = make(1, 2, 1, 70, 90, 32, 32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        o = flash.attend(q.requires_grad_(), k, v)
    others = [x for x in kept if not any(x.data_ptr() == y.data_ptr() for y in (q, k, v, o))]
    assert [x.shape for x in others] == [(1, 2, 70)]
    scores = q.double() @ k.double().repeat_interleave(2, 1).mT * 32**-0.5
    hidden = torch.ones(70, 90, dtype=torch.bool, device=DEVICE).triu(21)
    close("L", others[0], scores.masked_fill(hidden, float("-inf")).logsumexp(-1).detach())


@pytest.mark.parametrize("T, S, rules, unseen", [
    (10, 130, {"window": 20}, slice(0, 96)),                                      # blocks before every window
    (64, 64, {"lengths": torch.tensor([20])}, slice(20, 64)),                     # behind the row's length
    (10, 130, {"doc": pack(100, 30)[None]}, slice(0, 96)),                        # blocks of another document
], ids=["windows", "lengths", "documents"])
def test_what_nobody_sees_is_never_read(T, S, rules, unseen, monkeypatch):
    """NaN there would be in every sum that they entered: 0 NaN = NaN."""
    use_blocks(32, 32, monkeypatch)
    q, k, v, do = make(1, 2, 1, T, S, 32, 32)
    for x in (k, v):
        x[:, :, unseen] = float("nan")
    ours = [x.requires_grad_() for x in (q, k, v)]
    o = flash.attend(*ours, **{name: x.to(DEVICE) if torch.is_tensor(x) else x for name, x in rules.items()})
    dq, dk, dv = torch.autograd.grad(o, ours, do)
    assert o.isfinite().all() and dq.isfinite().all()
    for grad in (dk, dv):
        assert (grad[:, :, unseen] == 0).all() and grad.isfinite().all()


def test_same_input_same_bits():
    q, k, v, do = make(1, 4, 1, 70, 70, 32, 32)
    runs = []
    for _ in range(2):
        ours = [x.detach().requires_grad_() for x in (q, k, v)]
        o = flash.attend(*ours)
        runs.append((o, *torch.autograd.grad(o, ours, do)))
    assert all(torch.equal(a, b) for a, b in zip(*runs))


def test_training_after_inference():
    """Intervals are kept between calls: those made under inference_mode serve a backward pass, too."""
    flash_reference.fixed.cache_clear()
    inputs = make(1, 1, 1, 5, 9, 32, 32)
    with torch.inference_mode():
        flash.attend(*inputs[:3])
    compare(flash.attend, *inputs)


def test_autocast_takes_the_narrow_dtype():
    q, k, v, _ = make(1, 1, 1, 5, 5, 32, 32)
    with torch.autocast(DEVICE, torch.bfloat16):
        assert flash.attend(q, k, v.bfloat16()).dtype == torch.bfloat16


def test_refusals(monkeypatch):
    q, k, v, _ = make(2, 4, 2, 5, 9, 32, 32)
    for wrong, words in [((q, k[:, :, :4], v[:, :, :4]), "T <= S"), ((q, k, v[:, :1]), "need"), ((q[:, :3], k, v), "H"),
                         ((q, k, v.half()), "one of"), ((q.double(), k.double(), v.double()), "one of"),
                         ((*(x.repeat(1, 1, 1, 9) for x in (q, k)), v), "256")]:
        with pytest.raises(ValueError, match=words):
            flash.attend(*wrong)
    for rule in ({"doc": torch.zeros(2, 5)}, {"lengths": torch.ones(3)}, {"window": 0}):
        with pytest.raises(ValueError, match="doc must be|window"):
            flash.attend(q, k, v, **rule)
    monkeypatch.setattr(flash, "INTERPRETED", False)
    with pytest.raises(ValueError, match="TRITON_INTERPRET=1"):
        flash.attend(q.cpu(), k.cpu(), v.cpu())


# ----------------------------------------------------------------------------
# teeth

WRONG = {
    "l is not rescaled": ("flash", "l = l * mend + ", "l = l + "),
    "o is not rescaled": ("flash", "acc = acc * mend[:, None]", "acc = acc"),
    "the forward sees one key too many": ("flash", "key[None, :] < hi[:, None]", "key[None, :] <= hi[:, None]"),
    "the window is one too wide": ("flash", "key[None, :] >= lo[:, None]", "key[None, :] >= lo[:, None] - 1"),
    "a block at the edge passes for full": ("flash", "c // STEP * STEP)", "tl.cdiv(c, STEP) * STEP)"),
    "scores are not scaled": ("flash", "scale *= LOG2E", "scale = LOG2E"),
    "causality lets the next token in": ("flash_reference", "hi = query + 1 if", "hi = query + 2 if"),
    "delta is forgotten in dq": ("flash_backward", "(dp - delta[:, None])", "dp"),
    "delta is forgotten in dk": ("flash_backward", " - tl.load(delta + row, mask=row < end, other=0.0)[None, :]", ""),
    "dq sees one key too many": ("flash_backward", "(key[None, :] < hi[:, None])", "(key[None, :] <= hi[:, None])"),
    "dk sees one query too few": ("flash_backward", "row[None, :] >= first[:, None]", "row[None, :] > first[:, None]"),
    "one head of the group is left out": ("flash_backward", "range(g * SHARE, ", "range(g * SHARE + 1, "),
    "dk is not scaled": ("flash_backward", "dks * scale", "dks"),
}


@pytest.mark.parametrize("name", WRONG)
def test_has_teeth(name, tmp_path, monkeypatch):
    """The kernels with one plausible mistake in them are turned down, in a case that the right ones pass."""
    stem, right, wrong = WRONG[name]
    source = (KERNELS / f"{stem}.py").read_text()
    assert source.count(right) == 1, "the line has changed: change the mistake too"
    (tmp_path / f"{stem}.py").write_text(source.replace(right, wrong))
    spec = importlib.util.spec_from_file_location(stem, tmp_path / f"{stem}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if stem == "flash_reference":
        monkeypatch.setattr(flash, "bounds", module.bounds)
    if stem == "flash_backward":
        monkeypatch.setattr(flash_backward, "backward", module.backward)
    with pytest.raises(AssertionError, match=r"^(o|dq|dk|dv): "):
        compare(module.attend if stem == "flash" else flash.attend, *make(1, 2, 1, 70, 70, 32, 32), window=60)


# ----------------------------------------------------------------------------
# training

def losses(attend, steps=10):
    """Of a small Llama on two rows of packed documents; plain gradient descent, steps large enough to matter."""
    rng = torch.Generator().manual_seed(0)
    shape = Config(vocab_size=13, n_layer=2, n_head=2, n_kv_head=1, n_embd=32, n_hidden=32)
    model = Llama(shape, attend, generator=rng).to(DEVICE)
    ids = torch.randint(13, (2, 36), generator=rng).to(DEVICE)
    doc = torch.stack([pack(20, 15), pack(7, 28)]).to(DEVICE)
    found = []
    for _ in range(steps):
        loss = model(ids[:, :-1], ids[:, 1:], doc=doc)[1]
        found.append(loss.item())
        grads = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), grads):
                p -= 0.2 * g
    return found


def test_ten_losses_of_training():
    """The same as with gpt/attention.py's plain, to float32's rounding; with a key too few they part."""
    want, got = losses(attention.plain), losses(flash.attend)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)
    other = losses(lambda q, k, v, **rules: attention.plain(q, k, v, **rules | {"window": 20}))
    assert want[-1] < want[0] - 0.5 and abs(other[-1] - want[-1]) > 1e-3
