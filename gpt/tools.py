"""
The calculator that a model calls with <CALC>48/2</CALC>: arithmetic from untrusted text.

    python gpt/tools.py "48/2" "1,000*1.05**2" "9**9**9"
    python gpt/tools.py --fuzz 10000                        # hostile texts: how long the slowest takes, what it was

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
import random
import re
import time
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
    except (SyntaxError, RecursionError, MemoryError):      # the last two: older parsers on deep nesting
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


# ----------------------------------------------------------------------------
# texts that want to hang it or to get out of it

PIECES = [*"0123456789.+-*/%()=, ", "**", "//", "9**9**9", "((", "))", "1/", "1e9", "999999999999999", "50%", "5!",
          "!" * 9, "٣", "１", "²", "½", "×", "\0", "\n", "\\", "\ud800", "\u202e", "x", "@", "#", "__import__('os')",
          "().__class__.__mro__", ".real", "[0]", "{1: 2}", "lambda: 1", " if 1 else ", " for x in ", "f'{1}'",
          "'a' * 9", ":=", "exec("]


def hostile(rng):
    """A random text of a grammar of attacks; rng: random.Random"""
    n, digits = rng.randrange(1, 300), "".join(rng.choices("0123456789", k=rng.randrange(1, 80)))
    deep = rng.choice(["(", "-", "+", "1(", "(-", "-(", "(1+", "1**", "1**-", "1/(", "(1 ", "(*", "2**(", "99*("])
    match rng.randrange(8):
        case 0:                                              # powers of powers
            return "**".join(rng.choices(["9", "99", "-9", "0", "1", "(1/9)", "0.1", digits], k=n % 9 + 2))
        case 1:                                              # nesting, closed or not
            return deep * n + "1" + ")" * rng.choice([0, n, n - 1, n + 1])
        case 2:                                              # long numbers and their products
            return rng.choice(["*", "+", "/", "//", "%", "-", " ", ".", ","]).join([digits] * (n % 12 + 1))
        case 3:                                              # fractions whose denominators grow
            return "+".join(f"1/{rng.randrange(1, 10**9)}" for _ in range(n % 20 + 1))
        case 4:                                              # a product of all numbers up to n: a factorial
            return "*".join(map(str, range(1, n)))
        case 5:                                              # one piece again and again
            return rng.choice(PIECES) * rng.choice([n, 100 * n])
        case 6:                                              # noise
            return "".join(rng.choices(PIECES, k=n % 60 + 1))
        case _:                                              # arithmetic that one piece has hit
            text = "".join(f"{rng.randrange(999)}{rng.choice('+-*/%')}" for _ in range(n % 15)) + "7"
            at = rng.randrange(len(text) + 1)
            return text[:at] + rng.choice(["", *PIECES]) + text[at:]


def fuzz(n, seed=0):
    """Seconds that the slowest of n hostile texts took, that text, and how many gave a number."""
    rng, slowest, numbers = random.Random(seed), (0.0, ""), 0
    for _ in range(n):
        text = hostile(rng)
        start = time.perf_counter()
        numbers += not calculate(text).startswith("error: ")
        slowest = max(slowest, (time.perf_counter() - start, text))
    return *slowest, numbers


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("expression", nargs="*", help="arithmetic; -- before one that begins with a minus")
    p.add_argument("--fuzz", type=int, metavar="N", help="compute N hostile texts and say how long the slowest took")
    p.add_argument("--seed", type=int, default=0, help="of the hostile texts [%(default)s]")
    args = p.parse_args(argv)
    if not args.expression and not args.fuzz:
        p.error("give an expression or --fuzz")
    return args


def main(argv=None):
    args = parse(argv)
    for expression in args.expression:
        print(f"{expression} = {calculate(expression)}")
    if args.fuzz:
        seconds, text, numbers = fuzz(args.fuzz, args.seed)
        print(f"{args.fuzz:,} hostile texts: {numbers:,} gave a number, the others an error; "
              f"the slowest took {1e3 * seconds:.2f} ms:\n{ascii(text[:LENGTH])}")


if __name__ == "__main__":
    main()
