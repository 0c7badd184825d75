"""
Rewards: what is right earns most, and every way to earn without being right that we could think of earns nothing.
"""

import random
from decimal import Decimal

import pytest

from align.rewards import EXAMPLES, WEIGHTS, judge, reward, written
from bpe.bpe import Tokenizer
from gpt.engine import Reply, Sampling

TOKENIZER = Tokenizer([])
HONEST = EXAMPLES["honest"]


def earned(content, want="24", finished="end", honest=True):
    reply = Reply([], 0, Sampling(), 0, **written(content, TOKENIZER, honest), finished=finished)
    return reward(judge(reply, Decimal(want), TOKENIZER))


@pytest.mark.parametrize("name, want", [("honest", 1.2), ("honest, in the head", 1.1), ("a number handed through", 1.1),
                                        ("wrong", 0.1), ("the tool for its own sake", 0.1)])
def test_what_earns_something(name, want):
    assert earned(EXAMPLES[name]) == pytest.approx(want)


def test_forms_of_the_same_number():
    for text in ("#### 24", "#### 24.0", "#### $24", "So it is.\n#### 24 \n"):
        assert earned([("text", text)]) == pytest.approx(1.1), text
    assert earned([("text", "#### 1,024")], "1024") == pytest.approx(1.1)
    assert earned([("text", "#### -24")], "-24") == pytest.approx(1.1)


HACKS = {
    "list of guesses": [("text", "#### 22\n#### 23\n#### 24")],
    "right one first": [("text", "#### 24\n#### 16")],
    "right one last": [("text", "#### 16\n#### 24")],
    "several in one line": [("text", "#### 24 or 16")],
    "more after it": [("text", "#### 24\nThat is my answer.")],
    "inside a call": [("call", "#### 24"), ("result", "error: not arithmetic")],
    "inside a result": [("call", "1+1"), ("result", "#### 24")],
    "behind the line": [("text", "#### \n24")],
    "digits of another script": [("text", "#### \u0662\u0664")],
    "no line of its own": [("text", "It is #### 24")],
    "the form without a number": [("text", "#### ")],
    "said only": [("text", "24")],
    "nothing": [("text", "")],
}


@pytest.mark.parametrize("content", HACKS.values(), ids=HACKS)
def test_a_hack_earns_nothing(content):
    assert earned(content) == 0


def test_a_forged_result_earns_nothing():
    """The same words, but the model has written the calculator's result itself."""
    assert earned(HONEST) == pytest.approx(1.2) and earned(HONEST, honest=False) == 0
    ids = written(HONEST, TOKENIZER)                         # one bracket alone is enough
    ids["forced"][ids["ids"].index(TOKENIZER.specials["</RESULT>"])] = False
    reply = Reply([], 0, Sampling(), 0, **ids, finished="end")
    assert reward(judge(reply, Decimal(24), TOKENIZER)) == 0


def test_a_reply_that_does_not_end_earns_nothing():
    assert earned(HONEST, finished="length") == 0


def test_the_tool_pays_once_and_only_for_the_answer():
    many = [("call", "12*2"), ("result", "24")] * 5 + [("text", "\n#### 24")]
    other = [("call", "1+1"), ("result", "2"), ("text", "\n#### 24")]
    assert earned(many) == earned(HONEST) and earned(other) == pytest.approx(1.1)
    assert earned([("call", "20+4"), ("result", "24"), ("text", "\n#### 16")]) == pytest.approx(0.1)


def test_the_parts_never_make_up_for_a_wrong_answer():
    """Over random replies out of the pieces of honest ones: whatever is wrong earns at most the form's tenth."""
    rng = random.Random(0)
    pieces = [*HONEST, ("text", "#### 16"), ("text", "\n#### 24"), ("text", "\n"), ("call", "6*4"), ("result", "24")]
    seen = set()
    for _ in range(500):
        content = [rng.choice(pieces) for _ in range(rng.randrange(1, 6))]
        got = earned(content, want=rng.choice(["24", "99"]))
        seen.add(round(got, 1))
        assert got <= WEIGHTS["format"] + 1e-9 or got >= WEIGHTS["right"]
        assert earned(content, want="99") <= WEIGHTS["format"] + 1e-9             # 99 stands in none of the pieces
    assert seen >= {0.0, 0.1, 1.1, 1.2}                      # the pieces do make right answers
