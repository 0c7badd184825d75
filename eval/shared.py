"""
How likely is each of several answers to one prompt? The prompt is read once, the answers after it.

    answer_nats(model, [[(ids, first), (ids, first), ...], ...])        # a group for each prompt

A question of 60 tokens with four answers of 6 costs 60 + 24 positions and not 264. The prompts of a batch go into
the slots of a key/value cache (gpt/cache.py); then all their first answers are read, the cache is set back to where
the prompts ended, all their second answers are read, and so on. Nothing is copied: to forget an answer is to
say that the slot is shorter. The first token of an answer needs no reading at all, the prompt's last logits have it.

B = prompts in a batch, T = tokens, V = vocabulary
"""

import torch
import torch.nn.functional as F

from eval.inputs import NotFinite
from eval.perplexity import nats
from gpt.cache import Cache


def padded(rows, device):
    """Rows of ids as one tensor (B, T), zeros on the right, and their lengths (B,)."""
    T = max(1, max(map(len, rows)))
    idx = torch.tensor([[*row, *[0] * (T - len(row))] for row in rows], device=device)
    return idx, torch.tensor([len(row) for row in rows], device=device)


@torch.no_grad()
def read_batch(model, groups):
    """The nats of the answers of groups that each share a prompt: a list of floats for each group."""
    device = next(model.parameters()).device
    prompts = [group[0][0][:group[0][1]] for group in groups]
    answers = [[row[first:] for row, first in group] for group in groups]
    longest = max(len(answer) for group in answers for answer in group)
    idx, lengths = padded(prompts, device)                                       # (B, T), (B,)
    cache = Cache(model.config, len(groups), idx.size(1) + longest, next(model.parameters()).dtype, device)
    last = model(idx, cache=cache, counts=lengths)[0][:, 0]                      # (B, V)
    out = [[] for _ in groups]
    for n in range(max(map(len, answers))):
        some = [group[n] if n < len(group) else group[0] for group in answers]
        logits = last[:, None]                                                   # (B, 1, V)
        if max(map(len, some)) > 1:
            cache.lengths.copy_(lengths)
            idx, _ = padded([answer[:-1] for answer in some], device)            # (B, T)
            logits = torch.cat([logits, model(idx, cache=cache)[0]], dim=1)      # (B, T + 1, V)
        targets, counts = padded(some, device)                                   # (B, T + 1)
        loss = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").double()
        real = torch.arange(targets.size(1), device=device) < counts[:, None]    # (B, T + 1)
        sums = loss.masked_fill(~real, 0).sum(dim=1).tolist()
        for b, group in enumerate(answers):
            out[b] += [sums[b]] if n < len(group) else []
    return out


def answer_nats(model, groups, batch_tokens=8192):
    """
    -ln p of row[first:] given row[:first], summed, for each (row, first) of each group: a list of floats for each.
    Groups whose rows do not share their prompt, or that fill the context, are read row by row.
    """
    out, longest = [None] * len(groups), max(len(row) - first for group in groups for row, first in group)
    alike = [len({tuple(row[:first]) for row, first in group}) == 1
             and group[0][1] + longest <= model.config.context for group in groups]
    apart = [i for i, same in enumerate(alike) if not same]
    sums = iter(nats(model, [pair for i in apart for pair in groups[i]]))
    for i in apart:
        out[i] = [next(sums).sum().item() for _ in groups[i]]
    order = sorted((i for i, same in enumerate(alike) if same), key=lambda i: groups[i][0][1])
    while order:
        size = groups[order[-1]][0][1] + longest
        batch = [order.pop() for _ in range(min(len(order), max(1, batch_tokens // size)))]
        for i, some in zip(batch, read_batch(model, [groups[i] for i in batch])):
            out[i] = some
    if not torch.tensor([x for some in out for x in some]).isfinite().all():
        raise NotFinite("the model's logits are not finite")
    return out
