"""
The code corpus: every function that it shows compiles, returns what its docstring says it returns,
and does the same however it is written; its keys tell functions apart.
"""

import doctest
import random
from collections import Counter

import pytest

from bpe import world_code as code


@pytest.fixture(scope="module")
def made():
    rng = random.Random(0)
    return [code.function(rng) for _ in range(3000)]


def run(made):
    """The function of a source, in a namespace of its own."""
    space = {}
    exec(made.source, space)
    return space[made.name]


def test_checks_hold(made):
    for one in made:
        f = run(one)
        assert len(one.checks) == 5
        for args, result in one.checks:
            again = f(*args)
            assert again == result and type(again) is type(result), (one.source, args)


def failures(source, name):
    space = {}
    exec(source, space)
    runner = doctest.DocTestRunner(verbose=False)
    tests = doctest.DocTestFinder().find(space[name], name, globs=space)
    assert tests and all(test.examples for test in tests), source
    for test in tests:
        runner.run(test, out=lambda text: None)
    return runner.summarize(verbose=False).failed


def test_examples_hold(made):
    for one in made[:200]:
        assert failures(one.source, one.name) == 0, one.source


def test_examples_have_teeth(made):
    """A body that returns one too much fails its own docstring (one branch of two may still pass)."""
    numbers = [one for one in made if type(one.checks[0][1]) is int][:100]
    wrong = [one.source.replace("    return ", "    return 1 + ") for one in numbers]
    assert sum(failures(source, one.name) > 0 for source, one in zip(wrong, numbers)) >= 80


def test_one_name_is_one_function(made):
    """Loops, comprehensions and other variables are other ways to say it, never other functions."""
    seen, agreed = {}, 0
    for one in made:
        other = seen.setdefault(one.name, one)
        if other is one or other.source == one.source:
            continue
        f = run(other)
        for args, result in one.checks:
            assert f(*args) == result, (one.source, other.source)
        agreed += 1
    assert agreed > 300


def test_keys_tell_functions_apart(made):
    keys = {}
    for one in made:
        keys.setdefault(one.key, set()).add("_".join(sorted(one.name.split("_"))))
    assert all(len(names) == 1 for names in keys.values()), "one key, two functions"
    assert len(keys) > 1500
    assert Counter(one.key for one in made).most_common(1)[0][1] < 60


def test_size_and_form(made):
    sizes = sorted(len(one.source) for one in made)
    assert 60 <= sizes[0] and sizes[len(sizes) * 85 // 100] <= 250 and sizes[-1] <= 350
    for one in made:
        assert one.source.startswith(f"def {one.name}(") and one.source.endswith("\n")
        assert f"{one.name}(" in one.instruction and one.instruction.endswith(".")
        assert max(map(len, one.source.splitlines())) <= 100
        assert "{" not in one.source + one.instruction


def test_questions(made):
    rng = random.Random(3)
    for one in made[:500]:
        prompt, answer = code.question(rng, one)
        source, call = prompt.split("\n\nWhat does ")
        assert '"""' not in source and call.endswith(" return?")
        space = {}
        exec(source, space)
        assert repr(eval(call.removesuffix(" return?"), space)) == answer


def test_same_seed_same_functions():
    first, second = ([code.function(rng) for _ in range(20)] for rng in (random.Random(5), random.Random(5)))
    assert first == second
