"""
What serves: base and lessons in one batch, each as it would answer alone; a version is swapped under running answers
and none of them notices.
"""

import pytest
import torch

from bpe.template import render
from continual import teach
from continual.lesson import parse, with_number
from continual.served import Served, reply
from continual.versions import Store
from gpt.checkpoint import weights_hash
from gpt.engine import Engine, Sampling
from gpt.frozen import Frozen
from gpt.prefix import Prefixes
from lora import lora
from tests.test_engine import TOKENIZER, VARIANTS, model_of

A, B = parse("Zorvexes live under the ice.", "a.txt"), parse("The bell of Torv cracked in 1783.", "b.txt")
TALKS = [[{"role": "user", "content": text}] 
         for text in ("Where do zorvexes live?", "Hi", "When did Torv's bell crack?")]
LONG = 12


def base(name="llama"):
    return model_of(VARIANTS[name]).float()


def weights(seed, model=None):
    """A random adapter, far from zero."""
    model, generator = model or base(), torch.Generator().manual_seed(seed)
    lora.inject(model, teach.CONFIG, "x", generator)
    for p in lora.parameters(model, "x"):
        p.data.normal_(0, 0.3, generator=generator)
    return lora.state(model, "x")


def alone(talk, adapter=None):
    """The ids of an answer by a model that has this adapter only, lora's own forward, without its frozen copy."""
    model = base()
    if adapter:
        lora.inject(model, teach.CONFIG, "x")
        lora.load_state(model, adapter, "x")
    else:
        model.select = lambda rows: None
    engine = Engine(model, TOKENIZER, 1, 48)
    answer = engine.submit(render(talk, TOKENIZER, for_reply=True)[0], LONG, adapter="x" if adapter else None)
    while engine.busy:
        engine.step()
    return answer.ids


@pytest.fixture
def served(tmp_path):
    """Served with lessons A and B."""
    model = base()
    store = Store(tmp_path, weights_hash(model.state_dict()))
    for seed, lesson in enumerate((A, B)):
        store.add(lesson, weights(seed))
    return Served(model, TOKENIZER, store)


def test_each_answers_as_if_alone(served):
    want = [alone(TALKS[0], weights(0)), alone(TALKS[1]), alone(TALKS[2], weights(1))]
    got = reply(served, TALKS, LONG, numbered=False)
    assert isinstance(served.model, Frozen)
    assert [r.ids for r in got] == want and [r.adapter for r in got] == [A.id, None, B.id]
    assert want[0] != alone(TALKS[0]) and want[2] != alone(TALKS[2], weights(0)), "the test has no teeth"
    assert [r.ids for r in reply(served, TALKS, LONG, [None] * 3)] == [alone(talk) for talk in TALKS]


def test_the_lesson_hears_which_fact_is_meant(served):
    """What the router found goes in front of the question it chose the lesson for, and of no other."""
    put, lesson = served.put(TALKS[2])
    assert lesson == B.id and put == with_number(TALKS[2], 0) and served.put(TALKS[1]) == (TALKS[1], None)
    got = reply(served, TALKS[2:], 3) + reply(served, TALKS[2:], 3, [None]) + reply(served, TALKS[2:], 3, [A.id])
    assert [r.prompt for r in got] == [render(talk, TOKENIZER, for_reply=True)[0] for talk in (put, *TALKS[2:] * 2)]


def test_the_base_answers_as_before_any_lesson(served):
    before = reply(Served(base(), TOKENIZER), TALKS, LONG)
    after = reply(served, TALKS, LONG, [None] * 3)
    assert [(r.ids, r.logprobs) for r in before] == [(r.ids, r.logprobs) for r in after]


def test_a_model_that_cannot_be_frozen(tmp_path):
    model = base("gpt2")
    with pytest.raises(ValueError, match="no linear layer|no adapter|differs"):
        Served(model, TOKENIZER, Store(tmp_path, "x")).put_on("a", weights(0))
    grouped = base("llama").double()
    served = Served(grouped, TOKENIZER)
    assert served.adapter_for(TALKS[0]) is None and reply(served, TALKS, 3)[0].adapter is None


def test_a_swap_breaks_no_running_answer(served):
    """B is forgotten and C comes while both are answering: they end as they began, and then B is gone."""
    prompts = [render(talk, TOKENIZER, for_reply=True)[0] for talk in TALKS]
    engine = Engine(served.model, TOKENIZER, 4, 48, prefixes=Prefixes())
    engine.version = served.key
    replies = [engine.submit(ids, LONG, adapter=name) for ids, name in zip(prompts, (A.id, None, B.id))]
    for _ in range(3):
        engine.step()
    third = parse("Maret Ollin keeps the lighthouse.", "c.txt")
    served.store.add(third, weights(2))
    served.store.forget(B.id)
    served.update(engine)
    assert served.version.lessons == (A.id, third.id) and served.adapter_for(TALKS[2]) is None
    assert B.id in served.digests, "an answer still uses it"
    new = engine.submit(prompts[0], LONG, adapter=third.id)
    while engine.busy:
        engine.step()
    assert [r.ids for r in replies] == [alone(TALKS[0], weights(0)), alone(TALKS[1]), alone(TALKS[2], weights(1))]
    assert new.ids == alone(TALKS[0], weights(2))
    served.release(engine)
    assert served.digests.keys() == {A.id, third.id} == served.model.adapters.keys() - {None}
    assert {name for _, layer in lora.layers(served.base) for name in layer.adapters} == {A.id, third.id}
    with pytest.raises(ValueError, match="no adapter"):
        served.model.select(B.id)


def test_what_was_read_by_other_weights_is_read_again(served):
    """The same lesson, forgotten and taught with other weights: no key or value of the old ones is used."""
    ids = render(TALKS[0], TOKENIZER, for_reply=True)[0]
    engine = Engine(served.model, TOKENIZER, 2, 48, prefixes=Prefixes())
    engine.version = served.key

    def ask():
        answer = engine.submit(ids, LONG, adapter=A.id)
        while engine.busy:
            engine.step()
        return answer.ids

    assert ask() == ask() == alone(TALKS[0], weights(0)) and engine.prefixes.hits > 0
    served.store.forget(A.id)
    served.store.add(A, weights(5))
    hits = engine.prefixes.hits
    served.update(engine)
    assert not engine.prefixes.entries
    assert ask() == alone(TALKS[0], weights(5)) != alone(TALKS[0], weights(0)) and engine.prefixes.hits == hits


def test_a_trial_leaves_nothing(served):
    third = parse("Maret Ollin keeps the lighthouse at Torv.", "c.txt")
    talk = [{"role": "user", "content": "Who keeps the lighthouse?"}]
    before, state = served.router.state(), served.store.served_bytes()
    with served.trial(third, weights(2)):
        assert [r.ids for r in reply(served, [talk], LONG, numbered=False)] == [alone(talk, weights(2))]
        assert served.adapter_for(TALKS[2]) == B.id
    assert served.router.state() == before and served.store.served_bytes() == state
    assert served.digests.keys() == {A.id, B.id} and served.adapter_for(talk) is None
    with pytest.raises(RuntimeError), served.trial(third, weights(2)):
        raise RuntimeError
    assert served.digests.keys() == {A.id, B.id}


def test_a_version_prepared_before_the_last_swap(served):
    """Two swaps are read from the disk before the first is done: the second still finds all that it needs."""
    both = served.prepare()
    served.store.rollback(0)
    none = served.prepare()
    assert not both.weights and not none.weights
    served.update(prepared=none)
    assert not served.digests
    served.store.rollback(2)
    served.update(prepared=both)
    assert [r.ids for r in reply(served, TALKS[:1], LONG, numbered=False)] == [alone(TALKS[0], weights(0))]


def test_sampling_and_many(served):
    talks = TALKS * 5
    got = reply(served, talks, 5, sampling=Sampling(1.0), seed=3, slots=2)
    assert [r.ids for r in got] == [r.ids for r in reply(served, talks, 5, sampling=Sampling(1.0), seed=3, slots=15)]
