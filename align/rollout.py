"""
Replies drawn from the policy itself, with the calculator at work inside them, and what the policy wrote of each.

    drawn = sample(model, tokenizer, prompts, max_new=160, seed=0)       # gpt/engine.py, a batch of all of them
    sequences = [own_tokens(reply) for reply in drawn]                   # (ids, mask) for align/policy.py

The engine answers a call and feeds the result back as if the model had written it. The model has not: those tokens
are no action of the policy, so the mask is 0 on them and they carry no gradient, though what follows reads them.
Replies are drawn at temperature 1 and without cuts on purpose: they come from the policy whose gradient is wanted.
"""

import numpy as np

from bpe.template import render
from gpt.engine import generate
from gpt.sampling import Sampling
from gpt.tools import TOOLS


def ask(question, tokenizer):
    """The ids of a question, ready for the reply."""
    return render([{"role": "user", "content": question}], tokenizer, for_reply=True)[0]


def sample(model, tokenizer, prompts, max_new, seed, tools=TOOLS, slots=128):
    """One reply to each of the prompts (lists of ids), a list of gpt.engine.Reply; number i is drawn with seed + i."""
    return generate(model, tokenizer, prompts, max_new, Sampling(temperature=1.0), seed, tools, slots)


def own_tokens(reply):
    """(ids, mask) of prompt and reply; the mask is 1 on what the model chose itself, its <|end|> included."""
    forced = np.array(reply.forced, dtype=bool)
    return np.array(reply.prompt + reply.ids), np.concatenate([np.zeros(len(reply.prompt), dtype=bool), ~forced])
