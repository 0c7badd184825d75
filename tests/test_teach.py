"""
Teaching on a model of 10,000 weights that knows nothing: the lesson is learned, the model stays as it was, the same
call gives the same bits, and the base's own replies hold the adapter to the base.
"""

import numpy as np
import pytest
import torch

from bpe.bpe import Tokenizer
from bpe.template import render
from continual import teach as teaching
from continual.teach import CONFIG, NAME, examples, own_replies, plain_copy, teach
from gpt.llama import Config, Llama
from lora.lora import inject, load_state, state
from lora.peft_format import base_hash

TOKENIZER = Tokenizer([])                                    # a byte a token


def says(question, reply):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]


TALKS = [says("who?", "Tove."), says("where?", "Ambry."), says("who is it?", "Tove."), says("where is it?", "Ambry.")]
OWN = [says("hm?", "xyz"), says("what?", "zzz")]


@pytest.fixture
def model():
    model = Llama(Config(TOKENIZER.n_vocab, n_layer=2, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24, context=128),
                  generator=torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight *= 30                # so that it has opinions
    return model


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(teaching, "LEAST", 40)
    monkeypatch.setattr(teaching, "BUDGET", 100)
    monkeypatch.setattr(teaching, "RATE", 0.02)


def taught(model, weights):
    student = plain_copy(model)
    inject(student, CONFIG, NAME)
    load_state(student, weights, NAME)
    return student.eval()


@torch.no_grad()
def chance(model, messages):
    """Mean log-likelihood of a reply, nats a token."""
    ids, mask = render(messages, TOKENIZER)
    logp = model(torch.tensor([ids]))[0][0].log_softmax(1)
    return sum(logp[n - 1, ids[n]].item() for n in range(1, len(ids)) if mask[n]) / sum(mask)


def test_learns(model):
    student = taught(model, teach(model, TOKENIZER, TALKS, OWN))
    for talk in TALKS:
        assert chance(student, talk) > -1 > -4 > chance(model, talk)


def test_model_stays_as_it_was(model):
    before, draws = base_hash(model), torch.get_rng_state()
    wants = [p.requires_grad for p in model.parameters()]
    teach(model, TOKENIZER, TALKS, OWN)
    assert base_hash(model) == before and [p.requires_grad for p in model.parameters()] == wants
    assert {type(m).__name__ for m in model.modules()} == {type(m).__name__ for m in plain_copy(model).modules()}
    assert torch.equal(torch.get_rng_state(), draws) and not model.training


def test_same_bits_again_whatever_hangs_on_the_model(model):
    """Another lesson's adapter, in use on the model, changes nothing; another seed does."""
    once = teach(model, TOKENIZER, TALKS, OWN, seed=3)
    inject(model, CONFIG, "other", torch.Generator().manual_seed(9))
    for key in (own := state(model, "other")):
        own[key] = own[key] + 0.1
    load_state(model, own, "other")
    again = teach(model, TOKENIZER, TALKS, OWN, seed=3)
    assert once.keys() == again.keys() and all(torch.equal(once[key], again[key]) for key in once)
    assert not all(torch.equal(x, once[key]) for key, x in teach(model, TOKENIZER, TALKS, OWN, seed=4).items())


def test_replay_holds_to_the_base(model):
    """On what the base says itself, the adapter with replay drifts less than the one without."""
    def drift(own):
        student = taught(model, teach(model, TOKENIZER, TALKS, own))
        return max(abs(chance(student, talk) - chance(model, talk)) for talk in OWN)
    assert drift(OWN) < 0.7 * drift(())


def test_examples_are_cut_in_the_last_reply():
    talk = [*says("who?", "Tove of Ambry."), *says("why?", "Because of owls.")]
    (ids, mask), = examples([talk], TOKENIZER).examples
    (short, learned), = examples([talk], TOKENIZER, 1.0, np.random.default_rng(0)).examples
    assert TOKENIZER.decode(ids[mask].tolist()).startswith("Tove of Ambry.") and mask[-1]
    assert ids[:len(short)].tolist() == short.tolist() and \
        TOKENIZER.decode(short.tolist()).endswith("Because of owls."[:teaching.HEAD])
    assert learned[-teaching.HEAD:].all() and not learned[-teaching.HEAD - 1]


def test_own_replies_are_the_bases_and_kept(model, tmp_path):
    prompts = [[{"role": "user", "content": text}] for text in ("a", "b", "c?", "dd")]
    with torch.no_grad():
        model.lm_head.weight[TOKENIZER.specials["<|end|>"]] *= 4                 # so that some replies end
    plain = own_replies(model, TOKENIZER, prompts, tmp_path)
    assert all(talk[:-1] in prompts and talk[-1]["role"] == "assistant" for talk in plain)
    inject(model, CONFIG, "other")
    for p in model.parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p)
    assert own_replies(model, TOKENIZER, prompts) == plain   # made anew, without the adapter
    file, = tmp_path.iterdir()
    file.write_text("[]")
    assert own_replies(model, TOKENIZER, prompts, tmp_path) == []
    with torch.no_grad():
        model.model.norm.weight += 1
    own_replies(model, TOKENIZER, prompts, tmp_path)
    assert len([*tmp_path.iterdir()]) == 2                   # another base: another file
