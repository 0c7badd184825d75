"""
FlashAttention: the algorithm in torch against the definition, in float64; and the kernels themselves, in a process of
their own, by tests/interpreted_flash.py.

In float64 two right answers differ by rounding alone (about 1e-15), so 1e-12 still convicts a wrong term.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gpt import attention
from kernels import flash_reference as ref

ROOT = Path(__file__).resolve().parent.parent
RULES = [{}, {"causal": False}, {"window": 7}, {"window": 5, "causal": False}, {"lengths": [9, 21]}, {"doc": [6, 13]},
         {"doc": [6, 13], "causal": False}, {"doc": [6, 13], "lengths": [14, 21], "window": 4}]


@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_kernels(which):
    """tests/interpreted_flash.py; on a machine with a GPU the same tests run on it."""
    one = os.environ | {"OMP_NUM_THREADS": "1"} | ({} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"})
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", which, "tests/interpreted_flash.py"], cwd=ROOT,
                          env=one, capture_output=True, text=True, timeout=3000 if which == "slow" else 500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def case(T, S, rules, B=2, H=1, D=6, E=5, seed=0):
    """q, k, v, do of one head, in float64, and the rules as attend() takes them."""
    rng = torch.Generator().manual_seed(seed)
    shapes = (B, H, T, D), (B, H, S, D), (B, H, S, E), (B, H, T, E)
    tensors = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]
    full = {"causal": True, "window": None, "doc": None, "lengths": None} | rules
    if "doc" in rules:                                                            # the second document's first key
        full["doc"] = (torch.arange(S) >= torch.tensor(rules["doc"])[:, None]).long()
    if "lengths" in rules:
        full["lengths"] = torch.tensor(rules["lengths"])
    return tensors, full


def compare(forward, backward, T, S, rules, M, N):
    """The tiled forms, row by row, against plain(): o, L and every gradient."""
    (q, k, v, do), rules = case(T, S, rules)
    exact = [x.requires_grad_() for x in (q, k, v)]
    want = ref.plain(*exact, **rules)
    right = dict(zip(("dq", "dk", "dv"), torch.autograd.grad(want, exact, do)))
    interval = [x.expand(len(q), -1) for x in ref.bounds(T, S, *rules.values(), q.device)]
    for b in range(len(q)):
        row, (lo, hi, first, last) = [x[b, 0].detach() for x in (q, k, v)], [x[b] for x in interval]
        o, L = forward(*row, lo, hi, M, N)
        found = backward(do[b, 0], *row, o, L, lo, hi, first, last, M, N)
        for name, a, b_ in [("o", o, want[b, 0]), *((n, g, right[n][b, 0]) for n, g in zip(right, found))]:
            torch.testing.assert_close(a, b_, rtol=0, atol=1e-12, msg=lambda m: f"{name}: {m}")


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("T, S, M, N", [(21, 21, 8, 4), (9, 21, 4, 16), (1, 21, 3, 5)])
def test_tiled(T, S, M, N, rules):
    compare(ref.forward, ref.backward, T, S, rules, M, N)


WRONG = {
    "l is not rescaled": ("l = l * mend + ", "l = l + "),
    "o is not rescaled": ("a = a * mend[:, None] + ", "a = a + "),
    "delta is forgotten": (" - delta[query, None])", ")"),
    "causality lets the next token in": ("hi = query + 1 if", "hi = query + 2 if"),
    "the window is one too wide": ("query - window + 1", "query - window"),
}


@pytest.mark.parametrize("name", WRONG)
def test_tiled_has_teeth(name, tmp_path, monkeypatch):
    right, wrong = WRONG[name]
    source = Path(ref.__file__).read_text()
    assert source.count(right) == 1, "the line has changed: change the mistake too"
    (tmp_path / "mistaken.py").write_text(source.replace(right, wrong))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mistaken", raising=False)
    import mistaken
    monkeypatch.setattr(ref, "bounds", mistaken.bounds)
    with pytest.raises(AssertionError, match=r"^(o|dq|dk|dv): "):
        compare(mistaken.forward, mistaken.backward, 9, 21, {"window": 7}, 4, 4)


@pytest.mark.parametrize("seed", range(60))
def test_intervals_say_what_the_rules_say(seed):
    """For random rules: a query's interval of keys is what visible() allows, and so is a key's of queries."""
    rng = torch.Generator().manual_seed(seed)
    S = int(torch.randint(1, 30, (), generator=rng))
    T, B, window = int(torch.randint(1, S + 1, (), generator=rng)), 3, int(torch.randint(1, 12, (), generator=rng))
    rules = {"causal": seed % 2 == 0, "window": window if seed % 3 else None,
             "doc": torch.rand(B, S, generator=rng).lt(0.2).cumsum(1) if seed % 5 else None,
             "lengths": torch.randint(T, S + 1, (B,), generator=rng) if seed % 7 else None,
             "device": torch.device("cpu")}
    keep = ref.visible(T, S, **rules)
    lo, hi, first, last = ref.bounds(T, S, *rules.values())
    query, key = torch.arange(T), torch.arange(S)
    assert torch.equal((key >= lo[..., None]) & (key < hi[..., None]), keep)
    assert torch.equal((query >= first[..., None]) & (query < last[..., None]), keep.mT)
    assert (lo.diff() >= 0).all() and (hi.diff() >= 0).all()


@pytest.mark.parametrize("rules", RULES[:-1], ids=str)
def test_the_definition_is_gpts(rules):
    """
    plain() here, which imports nothing, is gpt/attention.py's, where every query sees a key. Not documents and lengths
    at once: there a query's document is read at the last T places, also where the row is shorter.
    """
    (q, k, v, _), rules = case(9, 21, rules, H=4)
    torch.testing.assert_close(ref.plain(q, k[:, :2], v[:, :2], **rules),
                               attention.plain(q, k[:, :2], v[:, :2], **rules), rtol=0, atol=1e-12)
