"""
The calculator that a model calls with <CALC>48/2</CALC>: arithmetic from untrusted text.

    python gpt/tools.py "48/2" "1,000*1.05**2" "9**9**9"

The model's text is parsed by `ast`, never run: only the nodes in BINARY and UNARY are computed, in
exact fractions, and everything is bounded before it is computed, so that no text of any kind costs
more than a few milliseconds. Whatever is wrong becomes a text that the model reads.
Left out on purpose: variables, functions, comparison, roots (an exponent is a whole number).
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import ast
import operator
import re
from fractions import Fraction

LENGTH = 200          # characters of an expression
DEPTH = 50            # operations inside each other; Python's own parser stops at 200 parentheses
DIGITS = 15           # before the point of any value on the way; a float would hold no more
BITS = 4096           # of any numerator or denominator on the way: 1.0725**30 needs 410
PLACES = 6            # after the point of a result that is no whole number

BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
          ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow}
UNARY = {ast.UAdd: operator.pos, ast.USub: operator.neg}
ARITHMETIC = re.compile(r"[0-9.+\-*/%() ]+")                # no letter, so no name, no call, no string
THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])")


def bits(value):
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def evaluate(node, depth=0):
    """The exact value of a syntax tree, as a Fraction; ValueError or ZeroDivisionError says what is wrong."""
    if depth > DEPTH:
        raise ValueError("nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as number):
            value = Fraction(repr(number))                  # 0.1 is a tenth, as it was written
        case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
            value = UNARY[type(op)](evaluate(operand, depth + 1))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            left, right = evaluate(left, depth + 1), evaluate(right, depth + 1)
            if isinstance(op, ast.Pow):
                if right.denominator != 1:
                    raise ValueError("the exponent is not a whole number")
                if abs(left) not in (0, 1) and bits(left) * abs(right) > BITS:
                    raise ValueError("too large")
            value = BINARY[type(op)](left, right)
            value = Fraction(value)                         # // gives an int
        case _:
            raise ValueError("not arithmetic")
    if abs(value) >= 10**DIGITS or bits(value) > BITS:
        raise ValueError("too large")
    return value


def plain(value):
    """A Fraction as people write it: 24, 3.5, 0.333333."""
    n = round(abs(value) * 10**PLACES)
    whole, rest = divmod(n, 10**PLACES)
    text = f"{whole}.{rest:0{PLACES}d}".rstrip("0").rstrip(".")
    return "-" + text if value < 0 and n else text


def calculate(expression):
    """
    The value of an arithmetic expression as text, or "error: what is wrong"; never raises.

    Numbers (1,000 and .5 too), + - * / // % ** and parentheses, with Python's precedence; a trailing
    "=" is ignored. Whole results have no point, others are rounded to 6 places, half to even.
    """
    if len(expression) > LENGTH:
        return f"error: longer than {LENGTH} characters"
    text = THOUSANDS.sub(lambda number: number[0].replace(",", ""), expression.strip().removesuffix("=").rstrip())
    try:
        if not ARITHMETIC.fullmatch(text):
            raise ValueError("not arithmetic")
        return plain(evaluate(ast.parse(text, mode="eval").body))
    except SyntaxError:
        return "error: not arithmetic"
    except ZeroDivisionError:
        return "error: division by zero"
    except ValueError as e:
        return f"error: {e}"


TOOLS = {"calc": calculate}                                 # name in a call -> function from text to text


def answer(ids, tools, tokenizer):
    """
    The ids of <RESULT>what the tool says</RESULT> where the last of a reply's ids has closed a call, else none.
    The result is encoded as plain text: no tool can spell a special token.
    """
    special = tokenizer.specials
    start = {special["</CALC>"]: special["<CALC>"], special["</TOOL>"]: special["<TOOL>"]}.get(ids[-1])
    if start is None or start not in ids:
        return []
    name, text = "calc", tokenizer.decode(ids[len(ids) - ids[::-1].index(start):-1])
    if start == special["<TOOL>"]:
        name, _, text = text.partition(" ")
    result = tools[name](text) if name in tools else f"error: no tool {name}"
    return [special["<RESULT>"], *tokenizer.encode(result), special["</RESULT>"]]


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("expression", nargs="+", help="arithmetic; -- before one that begins with a minus")
    return p.parse_args(argv)


def main(argv=None):
    for expression in parse(argv).expression:
        print(f"{expression} = {calculate(expression)}")


if __name__ == "__main__":
    main()
