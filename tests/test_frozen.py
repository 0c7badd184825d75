"""
The decode step in numpy against the model's own forward: logits to 1e-12 in float64, whatever the lengths, and the same
ids from an engine, with any mixture of adapters; other models and number formats are left alone.
"""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from gpt.cache import Cache
from gpt.engine import Engine, Sampling, generate
from gpt.frozen import freeze, unit
from gpt.int8 import quantize
from lora import lora
from lora.lora import EMBEDDING, LLAMA
from tests.test_engine import SHAPE, TOKENIZER, VARIANTS, model_of, prompts

LLAMAS = {name: VARIANTS[name] for name in ("llama", "grouped", "qwen3", "window")}
LLAMAS |= {"window of qwen3": replace(VARIANTS["qwen3"], window=5),
           "one key head, tied": replace(SHAPE, n_kv_head=1, tie=True)}
llamas = pytest.mark.parametrize("config", LLAMAS.values(), ids=LLAMAS)


@torch.inference_mode()
def steps(model, lengths, n=4):
    """Logits (n, B, V) of n further ids a row, after texts of these lengths."""
    generator = torch.Generator().manual_seed(0)
    cache = Cache(model.config, len(lengths), 48, torch.float64)
    texts = torch.randint(TOKENIZER.n_vocab, (len(lengths), max(lengths)), generator=generator)
    model(texts, cache=cache, counts=torch.tensor(lengths))
    ids = torch.randint(TOKENIZER.n_vocab, (n, len(lengths), 1), generator=generator)
    return torch.stack([model(row, cache=cache, counts=torch.ones(len(lengths), dtype=torch.long))[0][:, 0]
                        for row in ids]), cache


@llamas
@pytest.mark.parametrize("lengths", [(7,), (1,), (9, 9, 9), (3, 17, 1, 8)], ids=str)
def test_the_same_logits_and_the_same_cache(config, lengths):
    model = model_of(config)
    want, kept = steps(model, lengths)
    got, mine = steps(freeze(model), lengths)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    assert torch.equal(mine.lengths, kept.lengths)
    for b, length in enumerate(lengths):
        for x, y in zip(mine.stores, kept.stores):
            torch.testing.assert_close(x[:, b, :, :length + 4], y[:, b, :, :length + 4], rtol=0, atol=1e-12)


@llamas
def test_an_engine_writes_the_same(config):
    model, texts = model_of(config), prompts(7)
    for sampling in (Sampling(), Sampling(1.0, top_p=0.9)):
        plain, fast = (generate(m, TOKENIZER, texts, 10, sampling, slots=3, tools=None) for m in (model, freeze(model)))
        assert [reply.ids for reply in plain] == [reply.ids for reply in fast]


WRONG = {
    "swap": lambda f: setattr(f, "swap", f.swap[::-1].copy()),
    "position": lambda f: setattr(f, "cos", f.cos[1:]),
    "floor": lambda f: setattr(f, "floors", [2 + x for x in f.floors]),
    "gate": lambda f: f.layers[1].up.__setitem__((slice(None), slice(0, 24)), f.layers[1].up[:, :24] * 2),
    "scale": lambda f: f.layers[0].qkv.__setitem__((slice(None), slice(0, 16)), f.layers[0].qkv[:, :16] * 2),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_has_teeth(wrong):
    model = model_of()
    fast = freeze(model)
    WRONG[wrong](fast)
    assert (steps(fast, (3, 17, 1, 8))[0] - steps(model, (3, 17, 1, 8))[0]).abs().max() > 1e-3


def test_large_gates_overflow_nowhere():
    """silu of -1000 is 0 and of 1000 is 1000, without a warning."""
    model = model_of()
    for block in model.model.layers:
        block.mlp.gate_proj.weight.data *= 1000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = steps(freeze(model), (5, 2))[0]
    want = steps(model, (5, 2))[0]
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_unit_is_rms_norm():
    x = np.random.default_rng(0).normal(size=(3, 5, 7))
    want = torch.nn.functional.rms_norm(torch.from_numpy(x), (7,), eps=0.01)
    np.testing.assert_allclose(unit(x, 0.07) * 7 ** 0.5, want, rtol=0, atol=1e-14)


def test_what_cannot_be_frozen_stays_as_it_is():
    for name in ("gpt2", "latent", "mixture"):
        model = model_of(VARIANTS[name])
        assert freeze(model) is model
    half = model_of().bfloat16()
    assert freeze(half) is half
    adapted, small = model_of(), model_of()
    adapted.model.layers[1].mlp.up_proj.__class__ = type("LoRA", (torch.nn.Linear,), {})
    quantize(small)
    assert freeze(adapted) is adapted and freeze(small) is small


def test_it_is_a_copy():
    """Training on changes the model, and nothing in its frozen copy."""
    model = model_of()
    fast = freeze(model)

    def first(m):
        with torch.inference_mode():
            return m(torch.tensor([[65]]), cache=Cache(SHAPE, 1, 48, torch.float64), counts=torch.tensor([1]))[0]

    want = first(fast)
    for p in model.parameters():
        p.data.mul_(1.5)
    assert torch.equal(first(fast), want) and not torch.allclose(first(model), want)
    torch.testing.assert_close(first(freeze(model)), first(model), rtol=0, atol=1e-11)


# ----------------------------------------------------------------------------
# adapters

def adapted(config, targets=LLAMA + EMBEDDING):
    """A model with two adapters of lora's on it and its frozen copy with the same, none of them zero."""
    model = model_of(config)
    fast, generator = freeze(model), torch.Generator().manual_seed(1)
    for name, rank in (("one", 2), ("two", 3)):
        lora.inject(model, lora.LoRAConfig(rank=rank, targets=targets), name, generator)
        for p in lora.parameters(model, name):
            p.data.normal_(0, 0.3, generator=generator)
        fast.attach(name, {path: (layer.adapters[name].A, layer.adapters[name].B, layer.adapters[name].config.scale)
                           for path, layer in lora.layers(model)})
    return model, fast


MIXED = [None, "one", "two", "one"]


@llamas
@pytest.mark.parametrize("rows", [MIXED, ["two"] * 4, "one", None, [None] * 4], ids=str)
def test_adapters_add_what_lora_adds(config, rows):
    model, fast = adapted(config)
    fast.select(rows)                                        # its model's too
    want, _ = steps(model, (3, 17, 1, 8))
    torch.testing.assert_close(steps(fast, (3, 17, 1, 8))[0], want, rtol=0, atol=1e-11)
    fast.select(None)
    plain = steps(fast, (3, 17, 1, 8))[0]
    torch.testing.assert_close(plain, steps(freeze(model_of(config)), (3, 17, 1, 8))[0], rtol=0, atol=0)
    assert rows in (None, [None] * 4) or (plain - want).abs().max() > 1e-3


@pytest.mark.parametrize("target", LLAMA + ("embed_tokens", "lm_head"))
def test_an_adapter_on_one_kind_of_layer(target):
    model, fast = adapted(LLAMAS["one key head, tied"], (target,))
    fast.select(MIXED)
    want, _ = steps(model, (3, 17, 1, 8))
    torch.testing.assert_close(steps(fast, (3, 17, 1, 8))[0], want, rtol=0, atol=1e-11)
    place = next(iter(fast.thin))
    fast.thin[place] = [(rows, A, B * 1.01) for rows, A, B in fast.thin[place]]
    assert (steps(fast, (3, 17, 1, 8))[0] - want).abs().max() > 1e-6, "the test has no teeth"


def test_rows_without_an_adapter_are_the_bases_to_the_bit():
    _, fast = adapted(SHAPE)
    fast.select([None] * 4)
    alone = steps(fast, (3, 17, 1, 8))[0]
    fast.select(MIXED)
    assert torch.equal(steps(fast, (3, 17, 1, 8))[0][:, 0], alone[:, 0])


def test_an_engine_mixes_adapters():
    model, fast = adapted(SHAPE)
    for m in (model, fast):
        engine = Engine(m, TOKENIZER, 3, 48)
        replies = [engine.submit(ids, 8, adapter=name) for ids, name in zip(prompts(6), MIXED + MIXED)]
        while engine.busy:
            engine.step()
        written = [reply.ids for reply in replies]
        assert m is model or written == before
        before = written


def test_adapters_come_and_go():
    model, fast = adapted(SHAPE)
    fast.select("two")
    want = steps(fast, (4,))[0]
    lora.remove(model, "one")
    fast.detach("one")
    assert fast.thin == {} and fast.rows is None
    fast.select("two")
    assert torch.equal(steps(fast, (4,))[0], want)
    for wrong in ("one", ["two", "one"]):
        with pytest.raises(ValueError, match="no adapter one"):
            fast.select(wrong)
    with pytest.raises(ValueError, match="no layer model.layers.9"):
        fast.attach("three", {"model.layers.9.mlp.up_proj": (torch.zeros(2, 16), torch.zeros(24, 2), 1.0)})
