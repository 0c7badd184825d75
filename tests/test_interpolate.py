"""
Interpolation of weights, and the re-warmed rate: what they are at the ends of their knobs, and how they differ from
what they are made of. All to the bit, for the same numbers are computed in the same order.
"""

import copy

import numpy as np
import pytest
import torch

from continual import interpolate, learn, naive, replay, rewarm
from continual.learner import Learner
from gpt.llama import Config, Llama

SHAPE = Config(vocab_size=13, n_layer=2, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24, context=12)


def batches(n, seed):
    """n batches of 4 rows of 6 tokens, one document each."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(SHAPE.vocab_size, (n, 4, 7), generator=generator)
    zeros, positions = torch.zeros(4, 6, dtype=torch.long), torch.arange(6).expand(4, 6)
    return [(x[:, :-1], x[:, 1:], zeros, positions) for x in ids]


def learner(steps=5, **setting):
    model = Llama(SHAPE, generator=torch.Generator().manual_seed(0)).double().eval()
    return Learner(model, None, setting, 0.01, steps, 4, 6, np.random.default_rng(0), torch.Generator().manual_seed(0))


def train(method, tasks=2, **setting):
    """The weights before the first task, and after each of `tasks` tasks of five steps."""
    one = learner(**setting)
    method.start(one, batches(5, 0))
    weights = [copy.deepcopy(one.model.state_dict())]
    for task in range(1, tasks + 1):
        learn.begin(one, method)
        for n, batch in enumerate(batches(5, task), 1):
            learn.step(one, method, batch, one.factor(n, 5))
        method.end(one)
        weights.append(copy.deepcopy(one.model.state_dict()))
    return weights


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_ends_are_fine_tuning_and_the_base():
    naively = train(naive)
    assert all(map(equal, train(interpolate, share=1.0), naively))
    base, first, second = train(interpolate, share=0.0)
    assert equal(base, first) and equal(base, second)
    assert not equal(naively[0], naively[1])                 # teeth: five steps do move the weights


def test_it_ends_on_the_line_between_before_and_after():
    """And the other end is the model before this task, not the base."""
    base, tuned = train(naive, tasks=1)
    _, first, second = train(interpolate, share=0.25)
    for name in base:
        torch.testing.assert_close(first[name], base[name] + 0.25 * (tuned[name] - base[name]), rtol=0, atol=1e-14)
    one = learner(share=0.25)
    one.model.load_state_dict(first)
    learn.begin(one, naive)
    for n, batch in enumerate(batches(5, 2), 1):
        learn.step(one, naive, batch, one.factor(n, 5))
    for name, p in one.model.state_dict().items():
        torch.testing.assert_close(second[name], 0.75 * first[name] + 0.25 * p, rtol=0, atol=1e-14)
    assert any((second[name] - 0.75 * base[name] - 0.25 * p).abs().max() > 1e-4
               for name, p in one.model.state_dict().items()), "the base would do as well as an anchor"


def test_nothing_is_kept_between_tasks():
    one = learner(share=0.5)
    interpolate.start(one, batches(2, 0))
    learn.begin(one, interpolate)
    interpolate.end(one)
    assert one.stored() == 0


def test_the_rate_is_warmed_up_again_and_falls_to_a_tenth():
    one = learner(share=0.05)
    rewarm.start(one, batches(2, 0))
    at = [one.factor(n, 1000) for n in range(1, 1001)]
    assert at[0] == pytest.approx(0.1) and at[4] == pytest.approx(0.5)             # 1% of the task: ten steps up
    assert max(at) == pytest.approx(1) and at.index(max(at)) == 9
    assert at[504] == pytest.approx(0.55, abs=1e-3)                                # half way down: (1 + 0.1) / 2
    assert at[-1] == pytest.approx(0.1) and all(a > b for a, b in zip(at[9:], at[10:]))
    assert learner().factor(1000, 1000) < 0.01 and learner().factor(400, 1000) == 1, "everybody else's is a trapezoid"


def test_it_is_replay_but_for_the_schedule():
    """With replay's schedule in its place it is replay to the bit; with its own it is not."""
    class Level(replay.__class__):
        begin, loss, end = staticmethod(rewarm.begin), staticmethod(rewarm.loss), staticmethod(rewarm.end)

        @staticmethod
        def start(one, seen):
            rewarm.start(one, seen)
            one.factor = learner().factor

    old = train(replay, share=0.5)
    assert all(map(equal, train(Level, share=0.5), old)) and not equal(train(rewarm, share=0.5)[1], old[1])
