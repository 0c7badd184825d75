"""
The code of the embedded corpus: short Python functions, composed from parts, every one really run.

    from bpe import world_code as code
    made = code.function(random.Random(0))
    made.source                             # def, docstring with examples, body
    code.question(rng, made)                # ("def ... What does times_3(4) return?", "12")

A draft says in a noun phrase what it returns ("the sum of the even numbers in xs") and has a body
that computes it. The results in the docstring are what this body returned when it was run here:
`exec` sees only source that this file composed. The key names what is computed, with its constants
but without the order of its steps or the names of its variables, so that functions of different
keys compute different things.
"""

import re
from typing import NamedTuple


class Function(NamedTuple):
    name: str
    instruction: str
    source: str
    checks: list  # [[arguments, result], ...]; the docstring shows the first one or two
    key: str


class Draft(NamedTuple):
    parts: list    # of the key and of the name: ["sum", "times_3"]
    parameters: list
    returns: str   # "the sum of a and b, then times 3"
    body: list     # lines
    inputs: list   # tuples of arguments


class Step(NamedTuple):
    """One operation on a value whose expression is {e}, or {t} where it must bind tightly."""
    part: str
    words: str
    code: str


def apply(rng, phrase, expression, steps, variable):
    """The steps one after the other, on one line or on several -> (phrase, body)"""
    lines = []
    for i, step in enumerate(steps):
        if i and rng.random() < 0.5:
            lines.append(f"{variable} = {expression}")
            expression = variable
        loose = any(sign in expression for sign in (" + ", " - ", " * "))
        expression = step.code.format(e=expression, t=f"({expression})" if loose else expression)
        phrase += (", then " if i or " " in phrase else " ") + step.words
    return phrase, [*lines, f"return {expression}"]


# ------------------------------------------------------------------------------------------ numbers


def integers(rng, low=0, high=12):
    return [(n,) for n in rng.sample(range(low, high + 1), 5)]


def pairs(rng):
    return [(rng.randint(1, 10), rng.randint(1, 10)) for _ in range(5)]


def times(rng):
    k = rng.randint(2, 9)
    return Step(f"times_{k}", f"times {k}", f"{{t}} * {k}")


def shift(rng):
    k, (name, sign) = rng.randint(1, 20), rng.choice([("plus", "+"), ("minus", "-")])
    return Step(f"{name}_{k}", f"{name} {k}", f"{{e}} {sign} {k}")


def square(rng):
    return Step("squared", "squared", "{t} ** 2")


def one_number(rng):
    n = rng.choice(["n", "x", "number"])
    kinds = rng.sample([times, shift, shift, square], rng.choice([1, 2, 2, 2]))
    steps = [kind(rng) for kind in dict.fromkeys(kinds)]
    return Draft([step.part for step in steps], [n], *apply(rng, n, n, steps, n), integers(rng))


JOINS = {"sum": ("the sum of {a} and {b}", "{a} + {b}"),
         "product": ("the product of {a} and {b}", "{a} * {b}"),
         "distance": ("the distance between {a} and {b}", "abs({a} - {b})"),
         "larger": ("the larger of {a} and {b}", "max({a}, {b})"),
         "smaller": ("the smaller of {a} and {b}", "min({a}, {b})")}


def two_numbers(rng):
    a, b = rng.choice([("a", "b"), ("x", "y"), ("first", "second")])
    name, (phrase, code) = rng.choice(list(JOINS.items()))
    steps = [kind(rng) for kind in rng.sample([times, shift], rng.choice([1, 2]))]
    told = apply(rng, phrase.format(a=a, b=b), code.format(a=a, b=b), steps, "result")
    return Draft([name, *(step.part for step in steps)], [a, b], *told, pairs(rng))


# -------------------------------------------------------------------------------------------- lists

def lists(rng):
    return [(rng.sample(range(-4, 13), rng.randint(2, 4)),) for _ in range(5)]


def chosen(rng, reduce):
    """Which numbers of a list: (part, words, condition on {x})"""
    k = rng.randint(2, 9)
    kinds = [("all", "numbers", ""), ("even", "even numbers", "{x} % 2 == 0"),
             ("odd", "odd numbers", "{x} % 2 == 1"), ("positive", "positive numbers", "{x} > 0"),
             (f"above_{k}", f"numbers above {k}", f"{{x}} > {k}"),
             (f"below_{k}", f"numbers below {k}", f"{{x}} < {k}"),
             (f"multiples_of_{k}", f"multiples of {k}", f"{{x}} % {k} == 0")]
    return rng.choice(kinds[reduce == "count":])


REDUCE = {  # what it returns, in one line, and what a loop does before and inside
    "sum": ("the sum of {what}", "sum({each})", "result = 0", "result += {value}"),
    "list": ("a list of {what}", "[{each}]", "result = []", "result.append({value})"),
    "count": ("the count of {what}", "len([{each}])", "result = 0", "result += 1"),
    "largest": ("the largest of {what}, or 0", "max([{each}], default=0)", None, None)}


def over_list(rng):
    """The sum, the list, the count or the largest of some numbers of a list, changed or not."""
    xs, x = rng.choice([("xs", "x"), ("numbers", "n"), ("values", "v"), ("items", "item")])
    reduce, (returns, code, start, update) = rng.choice(list(REDUCE.items()))
    part, which, test = chosen(rng, reduce)
    what, value, parts = f"the {which} in {xs}", x, [reduce, part]
    if reduce != "count" and (part == "all" or rng.random() < 0.75):
        step = rng.choice([times, shift, square])(rng)
        what, value = f"{what}, each {step.words}", step.code.format(e=x, t=x)
        parts.append(step.part)
    test = f"if {test.format(x=x)}" if test else ""
    body = [f"return {code.format(each=f'{value} for {x} in {xs} {test}'.strip())}"]
    if start and rng.random() < 0.5:
        inside = [f"    {test}:", f"        {update}"] if test else [f"    {update}"]
        inside = [line.format(value=value) for line in inside]
        body = [start, f"for {x} in {xs}:", *inside, "return result"]
    return Draft(parts, [xs], returns.format(what=what), body, lists(rng))


# ------------------------------------------------------------------------------------------ strings

WORDS = """apple banana bird boat book bread candle cat cloud dog door dragon duck eagle fish flower
    forest fox frog garden hello house island kitten lamp lemon lion melon moon mouse night ocean
    paper pearl pencil planet river rocket ship silver snow spider star stone summer sun tiger tree
    water window winter wolf yellow zebra""".split()
LETTERS = "abcdefghiklmnoprstuw"  # each occurs in several of the words


def edit(rng):
    """Something to do to a string."""
    k, word, (c, d) = rng.randint(2, 4), rng.choice(WORDS), rng.sample(LETTERS, 2)
    return rng.choice([
        Step("reversed", "reversed", "{t}[::-1]"),
        Step("upper", "in capitals", "{t}.upper()"),
        Step(f"repeated_{k}", f"repeated {k} times", f"{{t}} * {k}"),
        Step(f"first_{k}", f"cut to its first {k} letters", f"{{t}}[:{k}]"),
        Step(f"last_{k}", f"cut to its last {k} letters", f"{{t}}[-{k}:]"),
        Step(f"without_{c}", f"with every '{c}' taken out", f"{{t}}.replace('{c}', '')"),
        Step(f"{c}_to_{d}", f"with every '{c}' turned into '{d}'", f"{{t}}.replace('{c}', '{d}')"),
        Step(f"before_{word}", f"followed by '{word}'", f"{{e}} + '{word}'"),
        Step(f"after_{word}", f"with '{word}' in front", f"'{word}' + {{e}}"),
    ])


def over_string(rng):
    text = rng.choice(["text", "word", "s"])
    steps = [edit(rng) for _ in range(rng.choice([1, 2, 2]))]
    steps = {step.part.split("_")[0]: step for step in steps}.values()  # no kind of step twice
    steps = sorted(steps, key=lambda step: step.part == "upper")  # last: it would hide letters
    told = apply(rng, text, text, steps, text)
    return Draft([step.part for step in steps], [text], *told, [(w,) for w in rng.sample(WORDS, 5)])


def about_string(rng):
    """A number or a truth about a string."""
    s, c, k = rng.choice(["text", "word", "s"]), rng.choice(LETTERS), rng.randint(3, 7)
    part, returns, code = rng.choice([
        (f"count_{c}", f"how often '{c}' occurs in {s}", f"{s}.count('{c}')"),
        (f"has_{c}", f"whether '{c}' is in {s}", f"'{c}' in {s}"),
        (f"starts_with_{c}", f"whether {s} starts with '{c}'", f"{s}.startswith('{c}')"),
        (f"ends_with_{c}", f"whether {s} ends with '{c}'", f"{s}.endswith('{c}')"),
        (f"longer_than_{k}", f"whether {s} has more than {k} letters", f"len({s}) > {k}"),
        (f"length_plus_{k}", f"the length of {s}, plus {k}", f"len({s}) + {k}"),
        (f"length_times_{k}", f"the length of {s}, times {k}", f"len({s}) * {k}"),
        ("count_vowels", f"the number of vowels in {s}", f"sum({s}.count(c) for c in 'aeiou')"),
        ("is_palindrome", f"whether {s} reads the same backwards", f"{s} == {s}[::-1]"),
    ])
    words = rng.sample(WORDS, len(WORDS))
    words = sorted(words, key=lambda word: c in word)  # two without the letter and three with it
    inputs = [(word,) for word in rng.sample(words[:2] + words[-3:], 5)]
    return Draft([part], [s], returns, [f"return {code}"], inputs)


# ---------------------------------------------------------------------------- conditions and loops

OUTCOMES = ["big small", "yes no", "high low", "hot cold", "long short", "left right", "red blue",
            "open shut", "win lose", "stop go", "old new", "heavy light", "day night", "up down"]


def condition(rng):
    """A test of {n}: (part, words, code)"""
    k = rng.randint(2, 9)
    return rng.choice([("even", "is even", "{n} % 2 == 0"), ("odd", "is odd", "{n} % 2 == 1"),
                       (f"above_{k}", f"is above {k}", f"{{n}} > {k}"),
                       (f"below_{k}", f"is below {k}", f"{{n}} < {k}"),
                       (f"divisible_by_{k}", f"can be divided by {k}", f"{{n}} % {k} == 0")])


def branch(rng):
    """One of two words, or one of two changes of a number."""
    n = rng.choice(["n", "x", "number"])
    part, words, test = condition(rng)
    if rng.random() < 0.5:
        one, two = rng.choice(OUTCOMES).split()
        parts, phrases, values = [one, two], [f"'{one}'", f"'{two}'"], [f"'{one}'", f"'{two}'"]
    else:
        steps = [times(rng), shift(rng)]
        rng.shuffle(steps)
        parts, phrases = [step.part for step in steps], [f"{n} {step.words}" for step in steps]
        values = [step.code.format(e=n, t=n) for step in steps]
    test = test.format(n=n)
    body = rng.choice([[f"return {values[0]} if {test} else {values[1]}"],
                       [f"if {test}:", f"    return {values[0]}", f"return {values[1]}"]])
    returns = f"{phrases[0]} if {n} {words}, else {phrases[1]}"
    return Draft([parts[0], "if", part, "else", parts[1]], [n], returns, body, integers(rng))


def clamp(rng):
    n = rng.choice(["n", "x", "number"])
    low = rng.randint(-5, 5)
    high = low + rng.randint(2, 12)
    body = rng.choice([[f"return max({low}, min({n}, {high}))"],
                       [f"if {n} < {low}:", f"    return {low}", f"if {n} > {high}:",
                        f"    return {high}", f"return {n}"]])
    parts = ["clamp", *(f"{k}".replace("-", "minus_") for k in (low, high))]
    returns = f"{n}, but at least {low} and at most {high}"
    return Draft(parts, [n], returns, body, integers(rng, -10, 20))


def loop(rng):
    k, word = rng.randint(2, 9), rng.choice(["fizz", "buzz", "bang", "hop", "clap", "boom"])
    adding = ["    total += i", "return total"]
    part, returns, body = rng.choice([
        (f"sum_from_{k}", f"the sum of the numbers from {k} to n",
         ["total = 0", f"for i in range({k}, n + 1):", *adding]),
        (f"add_multiples_of_{k}", f"the sum of the multiples of {k} up to n",
         ["total = 0", f"for i in range({k}, n + 1, {k}):", *adding]),
        (f"power_of_{k}", f"{k} to the power of n",
         ["result = 1", "for _ in range(n):", f"    result *= {k}", "return result"]),
        (f"count_from_{k}", f"a list of the numbers from {k} to n",
         [f"return list(range({k}, n + 1))"]),
        (f"count_down_to_{k}", f"a list that counts down from n to {k}",
         [f"return list(range(n, {k - 1}, -1))"]),
        (f"halve_until_{k}", f"how often n must be halved to fall below {k}",
         ["steps = 0", f"while n >= {k}:", "    n //= 2", "    steps += 1", "return steps"]),
        ("factorial", "the product of the numbers from 1 to n",
         ["result = 1", "for i in range(1, n + 1):", "    result *= i", "return result"]),
        ("sum_of_digits", "the sum of the digits of n",
         ["return sum(int(digit) for digit in str(n))"]),
        (f"{word}_{k}", f"a list of 1 to n, with '{word}' for the multiples of {k}",
         [f"return ['{word}' if i % {k} == 0 else i for i in range(1, n + 1)]"]),
    ])
    ranges = {"factorial": (0, 5), f"power_of_{k}": (0, 4), "sum_of_digits": (10, 99)}
    return Draft([part], ["n"], returns, body, integers(rng, *ranges.get(part, (1, 12))))


# ---------------------------------------------------------------------------------------- functions

FAMILIES = [one_number, two_numbers, over_list, over_list, over_string, over_string, about_string,
            branch, branch, clamp, loop]
REQUESTS = ["Write a Python function {call} that returns {returns}.",
            "Write {call} in Python. It returns {returns}.",
            "Define a Python function {call} which returns {returns}."]


def function(rng):
    """A new function with its request, its examples and its checks, all true."""
    draft = rng.choice(FAMILIES)(rng)
    name = "_".join(draft.parts)
    head = f"def {name}({', '.join(draft.parameters)}):\n"
    body = "".join(f"    {line}\n" for line in draft.body)
    space = {}
    exec(head + body, space)  # composed above, line by line: nobody else's source
    checks = [[list(args), space[name](*args)] for args in draft.inputs]
    shown = checks[:1 if len(draft.body) > 2 else rng.choice([1, 2])]
    examples = "".join(f"    >>> {call(name, args)}\n    {result!r}\n" for args, result in shown)
    source = f'{head}    """Return {draft.returns}.\n\n{examples}    """\n{body}'
    signature = f"{name}({', '.join(draft.parameters)})"
    request = rng.choice(REQUESTS).format(call=signature, returns=draft.returns)
    return Function(name, request, source, checks, " ".join(sorted(draft.parts)))


def call(name, args):
    return f"{name}({', '.join(map(repr, args))})"


def question(rng, made):
    """(prompt, answer): the function without its docstring, a call, and what the call returns."""
    bare = re.sub(r'    """.*?"""\n', "", made.source, flags=re.DOTALL)
    args, result = min(rng.sample(made.checks, 2), key=lambda check: len(repr(check)))
    return f"{bare}\nWhat does {call(made.name, args)} return?", repr(result)
