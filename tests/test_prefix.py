"""
Prefixes kept across requests: a conversation goes on as if all of it were read anew, for everything a model can cache;
only what is new is read; and no entry serves other weights, another adapter, or more memory than it may.
"""

import random

import numpy as np
import pytest
import torch

from gpt import prefix
from gpt.cache import Cache
from gpt.engine import Engine, Sampling
from gpt.frozen import freeze
from gpt.prefix import Prefixes
from tests.test_engine import SHAPE, TOKENIZER, model_of, prompts, uncached, variants


def talk(engine, text, max_new=6, **how):
    """The reply to a prompt, alone."""
    reply = engine.submit(text, max_new, **how)
    while engine.busy:
        engine.step()
    return reply


def turns(n, seed=0):
    """n pieces of new text, 1 to 5 ids each."""
    rng = random.Random(seed)
    return [[rng.randrange(TOKENIZER.n_vocab) for _ in range(rng.randrange(1, 6))] for _ in range(n)]


@variants
@pytest.mark.parametrize("frozen", [False, True])
def test_a_conversation_goes_on_as_if_read_anew(config, frozen):
    """Three turns, each prompt all that was said: ids, and log-probabilities to 1e-12, without a cache."""
    model, said = model_of(config), []
    engine = Engine(freeze(model) if frozen else model, TOKENIZER, slots=2, prefixes=Prefixes())
    for new in turns(3):
        said = said + new
        reply = talk(engine, said)
        ids, logprobs = uncached(model, said, 6)
        assert reply.ids == ids
        torch.testing.assert_close(torch.tensor(reply.logprobs), torch.tensor(logprobs), rtol=0, atol=1e-12)
        said = said + reply.ids
    assert engine.prefixes.hits > 10


@variants
def test_ragged_batches_with_and_without_a_start(config):
    """Long starts that are there and long texts that are not, in one pass: padding never meets the context's end."""
    model = model_of(config)
    engine = Engine(model, TOKENIZER, slots=6, prefixes=Prefixes())
    known, fresh = prompts(3, longest=40), [text * 3 for text in prompts(4, longest=14)[:3]]
    known = [(text * 40)[:41] for text in known]
    for text in known:
        talk(engine, text)
    texts = [text + [7] for text in known] + fresh
    replies = [engine.submit(text, 5) for text in texts]
    before = engine.prefixes.misses
    while engine.busy:
        engine.step()
    assert engine.prefixes.misses - before == 3 + sum(map(len, fresh))
    assert [reply.ids for reply in replies] == [uncached(model, text, 5)[0] for text in texts]


@pytest.mark.parametrize("off", [-1, 1])
def test_has_teeth(monkeypatch, off):
    """One place lost or invented where the start ends, and the conversation is another."""
    model, restore = model_of(), Prefixes.restore

    def shifted(self, cache, slot, owner, ids):
        n = restore(self, cache, slot, owner, ids)
        cache.lengths[slot] += off * (n > 0)
        return n

    monkeypatch.setattr(Prefixes, "restore", shifted)
    engine = Engine(model, TOKENIZER, slots=2, prefixes=Prefixes())
    text = prompts(5)[1]
    text = text + talk(engine, text).ids + [9, 8, 7]
    assert talk(engine, text).ids != uncached(model, text, 6)[0]


def test_only_what_is_new_is_read(monkeypatch):
    engine, reads, read = Engine(model_of(), TOKENIZER, slots=2, prefixes=Prefixes()), [], Engine.read

    def counted(self, replies, ids, first):
        reads.append([len(row) for row in ids])
        return read(self, replies, ids, first)

    monkeypatch.setattr(Engine, "read", counted)
    text = list(range(65, 85))
    reply = talk(engine, text)
    assert reads[0] == [20]
    del reads[:]
    talk(engine, text + reply.ids + [1, 2])                  # the last id of the reply was never fed, so it is new too
    assert reads[0] == [3]
    del reads[:]
    before = engine.prefixes.misses
    talk(engine, text)                                       # the very same prompt: its last id is read again
    talk(engine, text[:10] + [1])                            # half of it
    talk(engine, text[:15])                                  # a start of what is kept
    assert engine.prefixes.misses - before == 3


def test_sampling_does_not_notice():
    model, text = model_of(), prompts(5)[1]
    plain, kept = Engine(model, TOKENIZER, slots=2), Engine(model, TOKENIZER, slots=2, prefixes=Prefixes())
    for seed in range(4):
        how = dict(max_new=12, sampling=Sampling(1.0), seed=seed)
        assert talk(plain, text, **how).ids == talk(kept, text, **how).ids
    assert kept.prefixes.hits


def test_other_weights_and_other_adapters_do_not_share():
    model = model_of()
    model.select = lambda rows: None
    engine, text = Engine(model, TOKENIZER, slots=2, prefixes=Prefixes()), list(range(65, 80))
    for version, adapter in [("a", None), ("a", "lora"), ("b", None)]:
        engine.version = version
        talk(engine, text, adapter=adapter)
        assert engine.prefixes.hits == 0
    engine.version = "a"
    talk(engine, text)
    assert engine.prefixes.hits == 14


def test_a_reply_that_weights_changed_under_is_not_kept():
    model = model_of()
    engine, text = Engine(model, TOKENIZER, slots=2, prefixes=Prefixes()), list(range(65, 80))
    reply = engine.submit(text, 10)
    engine.step()
    engine.version = "new"
    while engine.busy:
        engine.step()
    assert reply.finished and not engine.prefixes.entries


def filled(ids, n_layer=2):
    """A cache of one slot that holds these ids, each key its id."""
    cache = Cache(SHAPE, 1, 48)
    for store in cache.stores:
        store[:, 0, :, :len(ids)] = torch.tensor(ids, dtype=torch.float32)[:, None]
    cache.lengths[0] = len(ids)
    return cache


def test_memory_is_bounded_and_the_oldest_goes_first():
    one = 2 * 2 * 2 * 10 * 4 * 4                             # stores, layers, heads, ids, channels, bytes
    kept = Prefixes(limit=3 * one)
    for start in (100, 200, 300):
        kept.keep(filled(range(start, start + 10)), 0, "o", list(range(start, start + 10)))
    assert kept.bytes == 3 * one and len(kept.entries) == 3
    cache = filled([0])
    assert kept.restore(cache, 0, "o", [*range(100, 110), 5]) == 10        # used: now the youngest
    assert cache.stores[0][0, 0, 0, :10, 0].tolist() == list(range(100, 110)) and int(cache.lengths[0]) == 10
    kept.keep(filled(range(400, 410)), 0, "o", list(range(400, 410)))
    assert kept.bytes == 3 * one
    assert [int(entry.ids[0]) for entry in kept.entries] == [300, 100, 400]
    kept.keep(filled(range(40)), 0, "o", list(range(40)))                  # larger than all that may be held
    assert kept.bytes == 3 * one and len(kept.entries) == 3


def test_a_conversation_is_held_once():
    kept = Prefixes()
    for n in (5, 9, 20):
        kept.keep(filled(range(n)), 0, "o", list(range(n)))
        kept.keep(filled(range(3)), 0, "o", list(range(3)))                # a start of what is there
        assert [len(entry.ids) for entry in kept.entries] == [n]
        assert kept.bytes == sum(entry.bytes for entry in kept.entries)
    kept.keep(filled(range(3)), 0, "other", list(range(3)))
    assert len(kept.entries) == 2


def test_common():
    for a, b, n in [([], [1], 0), ([1, 2], [1, 2], 2), ([1, 2], [1, 2, 3], 2), ([1, 5, 3], [1, 2, 3], 1)]:
        assert prefix.common(np.array(a), np.array(b)) == n
