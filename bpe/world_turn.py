"""
One turn of a TinyWorld conversation, with all that the corpus needs to know about it.

From the same turns come dialogues (ask, reply), preference pairs (reply, wrong) and prompts whose
answers can be checked (ask, check), so that none of the three can disagree with another.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """A question, its reply, a wrong one that differs in one fact or step, and how to tell."""
    kind: str                   # story science code arithmetic logic format chat
    ask: str                    # what the user says
    reply: str | list           # content of the assistant's message: text, or parts with calls
    check: dict                 # {"type": exact number contains story code, "answer": ...}
    wrong: str | list           # a reply that fails the check
    key: tuple                  # the content; it belongs to one split, see splits.py
    short: str | None = None    # the reply without a sentence around it, where there is one


def exact(kind, ask, reply, wrong, key, short=None):
    """A turn whose reply is right to the letter or wrong."""
    return Turn(kind, ask, reply, {"type": "exact", "answer": reply}, wrong, key, short)


def contains(kind, ask, reply, words, wrong, key, short=None):
    """A turn whose reply is right if it holds all of the words."""
    return Turn(kind, ask, reply, {"type": "contains", "answer": words}, wrong, key, short)
