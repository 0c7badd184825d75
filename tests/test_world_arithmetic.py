"""
TinyWorld's word problems: every call true, its operands in sight, skeletons and splits as promised.
"""

import ast
import operator
import random
import re
from collections import Counter

import pytest

from bpe import world_arithmetic as world
from bpe.splits import split
from bpe.world_skeletons import KINDS, SEEN, UNSEEN

CALL = re.compile(r"<<(\d+[-+*/]\d+)=(\d+)>>(\d+)")
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
             ast.Div: operator.truediv}


def value(expression):
    """The value of a call by Python's own parser, division included: 7/2 is 3.5."""
    tree = ast.parse(expression, mode="eval").body
    return OPERATORS[type(tree.op)](tree.left.value, tree.right.value)


def faults(problem):
    """What is wrong with a problem, as a list of words."""
    found, lines = [], problem.answer.split("\n")
    if lines[-1] != f"#### {problem.result}":
        found.append("last line")
    known = set(re.findall(r"\d+", problem.question)) | {"2", "3"}  # half and a third are words
    for line in lines[:-1]:
        calls = CALL.findall(line)
        if len(calls) != 1 or line.count("<<") != 1 or not line.endswith("."):
            found.append("one sentence with one call")
        for call, result, after in calls:
            operands = re.findall(r"\d+", call)
            if value(call) != int(result) or result != after:
                found.append("value")
            if not known.issuperset(operands):
                found.append("operand from nowhere")
            if max(map(int, operands)) > 999:
                found.append("more than three digits")
            known.add(result)
    if lines[-1] != f"#### {after}":
        found.append("result")
    return found


@pytest.mark.parametrize("skeleton", world.SKELETONS)
def test_every_call_is_true(skeleton):
    rng = random.Random(skeleton)
    for _ in range(40):
        p = world.problem(rng, skeleton)
        assert not faults(p), p
        assert 2 <= len(CALL.findall(p.answer)) <= 4 and p.skeleton == skeleton
        assert p.question.endswith("?") and not set("{}@") & set(p.question + p.answer)


def test_faults_has_teeth():
    p = world.problem(random.Random(0), "have-gain-lose")
    (call, result, _), *_ = CALL.findall(p.answer)
    wrong = p.answer.replace(f"={result}>>{result}", "={0}>>{0}".format(int(result) + 1))
    assert "value" in faults(p._replace(answer=wrong))
    assert "operand from nowhere" in faults(p._replace(question="How many?"))
    assert "last line" in faults(p._replace(result=p.result + 1))


def test_unseen_skeletons_are_new_orders_of_known_kinds():
    assert len(SEEN) >= 500 and len(UNSEEN) == 10 and len(set(SEEN + UNSEEN)) == len(SEEN + UNSEEN)
    uses = Counter(kind for name in SEEN for kind in name.split("-"))
    assert set(uses) == set(KINDS)
    assert min(uses[kind] for name in UNSEEN for kind in name.split("-")) >= 2
    drawn = {world.problem(random.Random(seed)).skeleton for seed in range(2000)}
    assert drawn <= set(SEEN) and len(drawn) > 0.8 * len(SEEN)


@pytest.mark.parametrize("skeleton", world.SKELETONS)
def test_kinds_of_a_skeleton_fit(skeleton):
    kinds = [KINDS[name] for name in skeleton.split("-")]
    assert [""] + [kind.gives for kind in kinds[:-1]] == [kind.takes for kind in kinds]


def test_same_seed_same_problems_and_splits_by_key():
    draw = lambda seed: [world.problem(random.Random(seed + i)) for i in range(50)]
    assert draw(0) == draw(0) != draw(1)
    rng = random.Random(0)
    for only in ("train", "valid", "test"):
        assert all(split(world.problem(rng, only=only).key) == only for _ in range(20))
    shares = Counter(split(world.problem(rng).key) for _ in range(2000))
    assert 0.87 < shares["train"] / 2000 < 0.93
