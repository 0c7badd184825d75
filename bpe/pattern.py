r"""
The patterns that cut a text into pre-tokens, and a way to run them twice as fast.

No merge crosses the border of two pre-tokens: " hello" is one, "\n\n" another. The patterns are the
published ones. "++" (possessive: never give back) changes the speed and not the match. Python's own re
knows neither \p{L} nor, before 3.11, "++", yet runs at twice the speed of the regex package: so re gets
the classes spelled out, character by character, from regex's own tables. It does so for the
characters up to U+FFFF; a block of text with one beyond (an emoji) goes to regex.
"""

import functools, re

import regex

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s+"
GPT4 = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = GPT4.replace(r"\p{N}{1,3}", r"\p{N}")  # as Qwen2 and 3: a digit is a token, so that numbers line up

BLOCK = 1 << 16                                # characters that are looked at together
CUT = re.compile("[A-Za-z](?= )")              # here all three patterns begin a new pre-token
BEYOND = re.compile("[\U00010000-\U0010ffff]")


def blocks(text):
    """The text in blocks of about BLOCK characters, cut where a pre-token ends: they need little memory."""
    start = 0
    while start < len(text):
        cut = CUT.search(text, start + BLOCK)
        end = cut.end() if cut else len(text)
        yield text[start:end]
        start = end


@functools.cache
def spell(name):
    r"""The characters up to U+FFFF of \p{L}, \p{N} or \s, as the inside of a [class] for re."""
    plane = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x10000)]))
    return "".join(f"\\u{ord(run[0]):04x}-\\u{ord(run[-1]):04x}" for run in regex.findall(name + "+", plane))


@functools.cache
def splitter(pattern):
    """pattern -> function: text -> iterator of lists of pre-tokens, all of which together are the text"""
    slow = regex.compile(pattern).findall
    if pattern not in (GPT2, GPT4, QWEN):
        return lambda text: [slow(text)]
    plain = re.sub(r"([?*+])\+", r"\1", pattern)
    for name in (r"\p{L}", r"\p{N}", r"\s"):
        plain = re.sub(r"\[[^]]*\]", lambda m: m[0].replace(name, spell(name)), plain)
        plain = plain.replace(name, f"[{spell(name)}]")
    fast = re.compile(plain.replace(r"\S", f"[^{spell(chr(92) + 's')}]")).findall

    def split(text):
        for block in blocks(text):
            yield fast(block) if block.isascii() or not BEYOND.search(block) else slow(block)

    return split
