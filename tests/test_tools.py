"""
The calculator: right on arithmetic, and on anything else an error text, from little work, whatever a model writes.

Right is what exact fractions say of the same tree. Work is counted, not timed: operations, and bits of what goes into
them. How long the slowest of 10,000 takes, `python gpt/tools.py --fuzz 10000` says.
"""

import operator
import ast
import random
from fractions import Fraction

import pytest

from gpt import tools
from gpt.tools import BITS, LENGTH, PLACES, TOOLS, calculate, fuzz, hostile

RIGHT = {
    "48/2": "24", "7/2": "3.5", "1/3": "0.333333", "-2/3": "-0.666667", "2 + 3 * 4": "14", "(2 + 3) * 4": "20",
    "-2**2": "-4", "2**-2": "0.25", "7//2": "3", "-7//2": "-4", "-7%3": "2", "7.5%2": "1.5", "+3--3": "6",
    "0.1+0.2": "0.3", ".5*4": "2", "1/3*3": "1", "1,000*1.05**2": "1102.5", "1,234,567+1": "1234568",
    "48/2=": "24", " 1 + 2 = ": "3", "999999999999999": "999999999999999", "1.0725**30": "8.164301",
    "1/10000000": "0", "-1/10000000": "0", "0**99999": "0", "1**99999": "1", "(-1)**99999": "-1",
}
WRONG = {
    "1/0": "division by zero", "1//0": "division by zero", "1%0": "division by zero", "0**-1": "division by zero",
    "9**9**9": "too large", "10**15": "too large", "((1/9)**99)**99": "too large", "9" * 150: "too large",
    "2**0.5": "the exponent is not a whole number", "(" * 90 + "1" + ")" * 90 + "+": "not arithmetic",
    "-" * 150 + "1": "nested too deeply", "1" * (LENGTH + 1): f"longer than {LENGTH} characters",
    "(" * 10_000: f"longer than {LENGTH} characters", "1/" * 5_000: f"longer than {LENGTH} characters",
}
NOT_ARITHMETIC = [
    "", " ", "=", "()", "(1,2)", "1,2", "12,34", "1 2", "1(2)", "...", "1..", "1e5", "0x10", "007", "1j", "1_000",
    "x", "x = 1", "x:=1", "abs(1)", "().__class__", "1 .real", "[1]", "{1}", "[i for i in 1]", "lambda: 1", "f'{1}'",
    "'a'*9", "b'a'", "1 if 1 else 2", "1 < 2", "1 and 2", "not 1", "~1", "1 << 99", "2^3", "3 x 4", "3 × 4", "48÷2",
    "$5+1", "50%", "1+", "*", "**", "1;2", "1\n2", "1#2", "1\\", "\0", "1\0", "1\x0c+1", "٣+1", "1²", "½", "１+１",
    "\ud800", "\u202e1+1", "<|end|>", "</CALC>", "__import__('os').system('true')", "True", "None", "@", "*1", "**1",
    "await 1",
]


@pytest.mark.parametrize("expression, result", RIGHT.items())
def test_right(expression, result):
    assert calculate(expression) == result


@pytest.mark.parametrize("expression, error", [*WRONG.items(), *((text, "not arithmetic") for text in NOT_ARITHMETIC)],
                         ids=lambda text: ascii(text)[:40])
def test_wrong(expression, error):
    assert calculate(expression) == f"error: {error}"


def test_the_name_in_a_call():
    assert TOOLS == {"calc": calculate}


OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
             "//": operator.floordiv, "%": operator.mod}


def expression(rng, depth=3):
    """A random expression and its exact value, None where it divides by zero."""
    if depth == 0 or rng.random() < 0.2:
        text = rng.choice([str(rng.randrange(1000)), f"{rng.randrange(100)}.{rng.randrange(100):02d}"])
        return text, Fraction(text)
    (a, x), (b, y) = expression(rng, depth - 1), expression(rng, depth - 1)
    sign, space, minus = rng.choice([*OPERATORS]), rng.choice(["", " "]), rng.choice(["", "-"])
    dead = x is None or y is None or (y == 0 and sign in ("/", "//", "%"))
    value = None if dead else Fraction(OPERATORS[sign](x, y))
    return f"{minus}({a}{space}{sign}{space}{b})", -value if minus and not dead else value


def test_equals_exact_fractions():
    """500 random trees of depth 3: equal to half a unit of the last place, which is what rounding may cost."""
    rng, compared = random.Random(0), 0
    for _ in range(500):
        text, value = expression(rng)
        if value is None:
            assert calculate(text) == "error: division by zero", text
        elif abs(value) < 10**9:
            compared += 1
            assert abs(Fraction(calculate(text)) - value) <= Fraction(1, 2 * 10**PLACES), text
    assert compared > 300


def test_ten_thousand_hostile_texts(monkeypatch):
    """
    None raises; what comes back is a number below 10**15 or an error; none costs more than LENGTH operations, on
    numbers of more than BITS bits (a power: BITS once, a sum of fractions: twice).
    """
    work, widest = [0], [0]

    def counted(operate):
        def count(*values):
            work[0] += 1
            widest[0] = max(widest[0], *(tools.bits(Fraction(v)) for v in values))
            return operate(*values)
        return count

    for table in (tools.BINARY, tools.UNARY):
        for kind, operate in table.items():
            monkeypatch.setitem(table, kind, counted(operate))
    rng, errors, most = random.Random(1), 0, 0
    for _ in range(10_000):
        text = hostile(rng)
        work[0] = 0
        result = calculate(text)
        most = max(most, work[0])
        errors += result.startswith("error: ")
        assert result.startswith("error: ") or abs(Fraction(result)) < 10**15, (text, result)
    assert 20 < most <= LENGTH and 100 < widest[0] <= BITS
    assert 5_000 < errors < 9_500                            # both kinds are among them


def test_the_generator_draws_what_it_says():
    rng = random.Random(0)
    texts = [hostile(rng) for _ in range(3000)]
    for piece in ["9**9", "((((((((((", "----------", "\0", "٣", "lambda", "__class__", "%%", "1*2*3*4*5*6*7", "!!!"]:
        assert any(piece in text for text in texts), piece
    assert max(map(len, texts)) > 10_000 and sum(len(text) <= LENGTH for text in texts) > 1000


def test_parsers_that_give_up(monkeypatch):
    """Older parsers of Python raise other things on deep nesting; the model reads the same text."""
    for wrong in (MemoryError, RecursionError):
        monkeypatch.setattr(ast, "parse", lambda *_, wrong=wrong, **__: (_ for _ in ()).throw(wrong()))
        assert calculate("1+1") == "error: not arithmetic"


def test_the_script(capsys):
    tools.main(["48/2", "--fuzz", "50"])
    said = capsys.readouterr().out
    assert "48/2 = 24" in said and "50 hostile texts" in said and " ms:" in said
    assert fuzz(40)[2] == fuzz(40)[2]
    with pytest.raises(SystemExit):
        tools.main([])
