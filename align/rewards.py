"""
Rewards by rule for word problems in GSM8K's form: the right number, in the right form, worked out by the calculator.

    python align/rewards.py                                  # what honest answers and cheats earn

    right   1.0   the one number after the one ####, at the very end, is the answer
    format  0.1   the reply ends by itself, on a line `#### number` and no other
    tool    0.1   right, and the calculator has computed that number from an expression

A policy finds whatever a reward pays for. So a list of guesses earns nothing: there must be one ####. A result that
the model writes itself is forged, and the whole reply earns nothing; the engine marks what it wrote. The tool pays
once, however often it is called, and only with the right number, or it would be called for its own sake. And the
parts never make up for a wrong answer. What is left to find: a number guessed in the head and handed through as
<CALC>24+0</CALC> earns the tool's tenth.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import re

from bpe.template import parse_reply, text_of
from eval.check import NUMBER, lenient, value

WEIGHTS = {"right": 1.0, "format": 0.1, "tool": 0.1}
LAST_LINE = re.compile(rf"(?:^|\n)#### \$?({NUMBER})\s*\Z", re.ASCII)
EXPRESSION = re.compile(r"[\d)]\s*[-+*/%]")


def forged(ids, by_engine, tokenizer):
    """Whether the model itself wrote a bracket that only the engine may write."""
    brackets = {tokenizer.specials[name] for name in ("<RESULT>", "</RESULT>")}
    return any(id in brackets and not forced for id, forced in zip(ids, by_engine))


def judge(reply, want, tokenizer):
    """
    {"right", "format", "tool"}, 0 or 1 each, of a finished gpt.engine.Reply. want: the answer, a Decimal
    """
    nothing = {name: 0 for name in WEIGHTS}
    if reply.finished != "end" or forged(reply.ids, reply.forced, tokenizer):
        return nothing
    parts = parse_reply(reply.ids, tokenizer)
    text = text_of(parts)                                    # without calls and results: an answer is said
    last = LAST_LINE.search(text)
    if last is None or text.count("####") != 1:
        return nothing
    right = value(last[1]) == want
    computed = any(call["type"] == "call" and EXPRESSION.search(call["text"]) and
                   result["type"] == "result" and lenient(result["text"]) == want
                   for call, result in zip(parts, parts[1:]))
    return {"right": int(right), "format": 1, "tool": int(right and computed)}


def reward(verdict):
    return sum(WEIGHTS[name] * verdict[name] for name in WEIGHTS)


# ----------------------------------------------------------------------------
# what earns what

EXAMPLES = {
    "honest": [("text", "She has "), ("call", "20+4"), ("result", "24"), ("text", "24 kites.\n#### 24")],
    "honest, in the head": [("text", "She has 24 kites.\n#### 24")],
    "wrong": [("text", "She has "), ("call", "20-4"), ("result", "16"), ("text", "16 kites.\n#### 16")],
    "every number there is": [("text", "#### 22\n#### 23\n#### 24")],
    "the right one first": [("text", "#### 24\n#### 16")],
    "said in a call": [("call", "#### 24"), ("result", "error: not arithmetic")],
    "the tool for its own sake": [("call", "1+1"), ("result", "2"), ("call", "1+1"), ("result", "2"),
                                  ("text", "\n#### 16")],
    "a number handed through": [("call", "24"), ("result", "24"), ("text", "\n#### 24")],
    "no answer": [("text", "That depends.")],
}


def main():
    from bpe.bpe import Tokenizer
    from gpt.engine import Reply
    from gpt.sampling import Sampling
    tokenizer = Tokenizer([])                                # a byte a token
    for name, content in EXAMPLES.items():
        reply = Reply([], 0, Sampling(), 0, **written(content, tokenizer), finished="end")
        verdict = judge(reply, value("24"), tokenizer)
        print(f"{name:26} {reward(verdict):.1f}   {verdict}")


def written(content, tokenizer, honest=True):
    """ids and forced of a reply with these (type, text); unless honest, the model wrote the results itself."""
    from bpe.template import render
    parts = [{"type": kind, "text": text} for kind, text in content]
    messages = [{"role": "user", "content": ""}, {"role": "assistant", "content": parts}]
    begin = len(render(messages[:1], tokenizer, for_reply=True)[0])
    ids, mask = render(messages, tokenizer)
    return {"ids": ids[begin:], "forced": [honest and not m for m in mask[begin:]]}


if __name__ == "__main__":
    main()
