"""
int8 weights: the definition against a loop in integers, the fast product against the definition, and what quantize()
does to every kind of model: small error, no row that hangs on another, bytes as reported.
"""

import pytest
import torch
import torch.nn as nn

from gpt import checkpoint, int8
from gpt.engine import Sampling, generate
from gpt.int8 import Int8Linear, plain, product, quantize, rounded
from tests.test_engine import SHAPE, TOKENIZER, model_of, prompts, variants

SIZES = [(1, 768, 96), (8, 17, 5), (3, 64, 64), (1, 1, 1), (40, 33, 130)]  # typical, nothing even, smallest, many rows


def drawn(M, K, N, seed=0):
    """x, an Int8Linear and the nn.Linear that it was made of."""
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(K, N)
    linear.weight.data = torch.randn(N, K, generator=generator) * torch.rand(N, 1, generator=generator)
    linear.bias.data = torch.randn(N, generator=generator)
    return torch.randn(M, K, generator=generator), Int8Linear(linear), linear


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_sum_is_one_of_integers(size):
    x, small, _ = drawn(*size)
    X, r = rounded(x)
    for m in range(size[0]):
        for n in range(min(size[2], 9)):
            total = sum(int(a) * int(b) for a, b in zip(X[m], small.weight[n]))
            want = float(r[m]) * float(small.scale[n]) * total + float(small.bias[n].detach())
            assert abs(plain(x, small.weight, small.scale, small.bias)[m, n].item() - want) < 1e-5 * (1 + abs(want))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_fast_equals_plain(size, bias):
    """Integers are exact, so all that may differ is the last rounding of float32."""
    x, small, _ = drawn(*size)
    arguments = x, small.weight, small.scale, small.bias if bias else None
    torch.testing.assert_close(product(*arguments), plain(*arguments), rtol=1e-5, atol=1e-6)
    wrong = product(x, small.weight, small.scale.roll(1), arguments[3])           # teeth: the scale of a neighbour
    assert size[2] == 1 or (wrong - plain(*arguments)).abs().max() > 1e-2


def test_rounding_is_symmetric_and_to_half_a_unit():
    x, small, linear = drawn(6, 50, 20)
    for values in (x, linear.weight.detach()):
        q, unit = rounded(values)
        assert q.abs().max() == 127 and q.dtype == torch.int8
        assert ((q * unit - values).abs() <= unit / 2 * (1 + 1e-5)).all()
        assert torch.equal(rounded(-values)[0], -q)


def test_extremes():
    """Rows of zeros, of one large value, of values that nearly vanish; and 127 * 127 * K fits into 32 bits."""
    x = torch.zeros(4, 3072)
    x[1, 5], x[2] = 1e30, 1e-25
    x[3] = 1.0
    linear = nn.Linear(3072, 7)
    linear.weight.data.fill_(0.5)
    linear.weight.data[3] = 0
    y = Int8Linear(linear)(x)
    assert y.isfinite().all() and torch.equal(y[0], linear.bias)
    torch.testing.assert_close(y[3], linear(x)[3], rtol=1e-5, atol=1e-5)
    assert float(y[2, 3].detach() - linear.bias[3].detach()) == 0


def test_a_row_hangs_on_no_other():
    x, small, _ = drawn(5, 40, 30)
    x[3] *= 1000
    for m in range(5):
        assert torch.equal(small(x)[m], small(x[m:m + 1])[0])


@variants
def test_every_kind_of_model_stays_near(config):
    """Logits within a twentieth of their spread, every matrix taken but latent attention's kv_b_proj, bytes as told."""
    model = model_of(config).float()
    ids = torch.randint(TOKENIZER.n_vocab, (2, 12), generator=torch.Generator().manual_seed(0))
    for p in model.parameters():
        if p.dim() == 2:
            p.data *= 0.5                                    # a net of random weights, not a chaotic one
    want = model(ids)[0].detach()
    before = {name: module.weight.nbytes for name, module in model.named_modules() if type(module) is nn.Linear}
    report = quantize(model)
    left = {name for name, module in model.named_modules() if type(module) is nn.Linear}
    assert all(name.endswith("kv_b_proj") for name in left) and len(report) == len(before) - len(left)
    for name, (N, K), error, was, now in report:
        assert was == before[name] == 4 * N * K and now == N * K + 4 * N and 0 < error < 0.02
        small = model.get_submodule(name)
        assert now == small.weight.nbytes + small.scale.nbytes
    got = model(ids)[0].detach()
    assert not torch.equal(got, want)
    assert (got - want).std() < 0.2 * want.std()


def test_an_engine_writes_the_same_alone_and_in_a_batch():
    model, texts = model_of(SHAPE).float(), prompts(7)
    quantize(model)
    together = generate(model, TOKENIZER, texts, 10, Sampling(1.0), slots=4, tools=None)
    for i, text in enumerate(texts):
        alone, = generate(model, TOKENIZER, [text], 10, Sampling(1.0), seed=i, tools=None)
        assert alone.ids == together[i].ids


def test_bfloat16_in_bfloat16_out():
    x, small, linear = drawn(3, 64, 10)
    y = small(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), linear(x), rtol=0, atol=0.3)


def test_the_script(tmp_path, capsys, monkeypatch):
    from bpe import shards
    ids = torch.randint(256, (200,), generator=torch.Generator().manual_seed(0)).numpy().astype("uint16")
    monkeypatch.setattr(shards, "load", lambda folder, split, tokenizer_hash: ([ids], {}))
    checkpoint.save(tmp_path / "run", 1, model_of(SHAPE).float(), TOKENIZER)
    int8.main(["--checkpoint", str(tmp_path / "run"), "--windows", "3"])
    said = capsys.readouterr().out
    assert "loss on 144 tokens" in said and "the 15 matrices" in said
    monkeypatch.undo()
    for wrong in (["--checkpoint", str(tmp_path)], ["--checkpoint", str(tmp_path / "run"), "--data", str(tmp_path)]):
        with pytest.raises(SystemExit) as stopped:
            int8.main(wrong)
        assert stopped.value.code and "Traceback" not in str(stopped.value.code)
