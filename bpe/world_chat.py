"""
TinyWorld's chat: dialogues, preference pairs and prompts with checkable answers over all parts.

    python bpe/world_chat.py                  # print five dialogues

A dialogue is a few episodes (world_episodes.py), so topics change, under a system prompt now and
then; a terse one is obeyed. It is built from episodes of its own split alone, so train never
asks what test asks.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import random

from bpe import world_episodes as episodes
from bpe.template import text_of

# how often a dialogue's episode is of each kind
WEIGHTS = {"open_question": 30, "choice_question": 40, "follow_up": 8, "unknown": 5,
           "word_problem": 8, "calculation": 11, "reasoning": 8, "formatted": 20, "small_talk": 14,
           "story": 3, "function": 4, "call": 4}
# the kinds of the canaries and the episodes that test them
KINDS = {"story": ["story"], "science": ["open_question", "choice_question"],
         "code": ["function", "call"], "arithmetic": ["word_problem", "calculation"],
         "format": ["formatted"], "chat": ["small_talk", "follow_up", "unknown"]}
PLAIN = ["You are Nano, a helpful assistant.", "You are a friendly teacher.", "Answer truthfully."]
TERSE = ["You are a terse assistant.", "Answer as briefly as you can.", "Give the bare answer."]
LONG = 300  # characters after which a dialogue takes no further episode: it has to fit the context


def some_turns(rng, only, names=()):
    """The turns of one or more episodes, the last of which is one of the named or any."""
    last = rng.choice(names) if names else rng.choices(list(WEIGHTS), WEIGHTS.values())[0]
    turns = getattr(episodes, last)(rng, only)
    while rng.random() < 0.4 and sum(map(length, turns)) < LONG:
        before = rng.choices(list(WEIGHTS), WEIGHTS.values())[0]
        turns = getattr(episodes, before)(rng, only) + turns
    return turns


def length(turn):
    return len(turn.ask) + len(text_of(turn.reply))


def system(rng, turns):
    """A system message or none, and whether it asks for short replies; only where all have one."""
    if rng.random() > 0.12:
        return [], False
    terse = all(turn.short for turn in turns)
    return [{"role": "system", "content": rng.choice(TERSE if terse else PLAIN)}], terse


def messages(turns, terse):
    return [message for turn in turns for message in (
        {"role": "user", "content": turn.ask},
        {"role": "assistant", "content": turn.short if terse else turn.reply})]


def conversation(rng, only, names=()):
    """{"messages", "kind"}: a dialogue whose last episode is one of the named, or any."""
    turns = some_turns(rng, only, names)
    head, terse = system(rng, turns)
    return {"messages": head + messages(turns, terse), "kind": turns[-1].kind}


def preference(rng, only):
    """{"prompt", "chosen", "rejected", "kind"}: two replies that differ in one fact or step."""
    turns = some_turns(rng, only)
    return {"prompt": messages(turns, False)[:-1], "chosen": turns[-1].reply,
            "rejected": turns[-1].wrong, "kind": turns[-1].kind}


def prompt(rng, only, kind=None):
    """{"messages", "check", "kind"}: a dialogue up to its last question, and what passes there."""
    kind = kind or rng.choice(list(KINDS))
    turns = some_turns(rng, only, KINDS[kind])
    head, terse = system(rng, turns)
    check = {"type": "exact", "answer": turns[-1].short} if terse else turns[-1].check
    return {"messages": head + messages(turns, terse)[:-1], "check": check, "kind": kind}


def main():
    rng = random.Random(0)
    for _ in range(5):
        for message in conversation(rng, "train")["messages"]:
            print(f"{message['role']:>9}: {text_of(message['content'])}")
        print()


if __name__ == "__main__":
    main()
