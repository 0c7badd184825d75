"""
A model as a policy: the log-probability of every token it wrote, in packed rows, and one step up the gradient.

    parts = pack(sequences, width=256, pad=pad)              # sequences: [(ids, mask of its own tokens)]
    for part in parts:
        logp = logprobs(model, part, mixed)                  # (N,), one number for each own token of the part
        part.owner                                           # (N,), which sequence each belongs to
    totals(logp, part)                                       # (S,), log-probabilities of whole replies

DPO needs one number a reply, GRPO one a token. Nothing is padded to be masked out again: what follows works on
flat tensors of the N tokens that count, and a quantity of a sequence reaches its tokens as `quantity[owner]`.

N = tokens that count, S = sequences, B = rows, T = width
"""

import torch
import torch.nn.functional as F
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from train.pack import batch


class Part:
    """Rows that go through the model at once: x, y, doc, positions (B, T), and `owner` (N,) of the targets in y."""

    def __init__(self, rows, sequences, width, pad):
        """rows: lists of numbers of sequences"""
        self.batch = batch([[sequences[n] for n in row] for row in rows], width, pad)
        _, y, doc, _ = self.batch
        most = max(map(len, rows))
        names = torch.tensor([row + [-1] * (most - len(row)) for row in rows])    # (B, documents of a row)
        self.owner = names.gather(1, doc.clamp(min=0))[y >= 0]                    # (N,)
        self.size, self.tokens = len(sequences), sum(len(sequences[n][0]) for row in rows for n in row)


def pack(sequences, width, pad, rows=None):
    """
    Parts of at most `rows` rows [all in one] that hold every sequence whole, the longest first, each in the first
    row with room for it (first-fit decreasing). sequences: list of (ids, mask), of at most width + 1 tokens each
    """
    lengths = [len(ids) for ids, _ in sequences]
    if max(lengths) > width + 1:
        raise ValueError(f"a sequence of {max(lengths)} tokens does not fit {width=}")
    packed, room = [], []
    for n in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        row = next((r for r, free in enumerate(room) if free >= lengths[n]), len(room))
        if row == len(room):
            packed.append([])
            room.append(width + 1)
        packed[row].append(n)
        room[row] -= lengths[n]
    rows = rows or len(packed)
    return [Part(packed[i:i + rows], sequences, width, pad) for i in range(0, len(packed), rows)]


def logprobs(model, part, mixed):
    """log p(token | what is before it in its sequence) in nats, (N,), in the order of part.owner."""
    x, y, doc, positions = (t.to(mixed.where) for t in part.batch)
    with mixed.autocast():
        logits, _ = model(x, doc=doc, positions=positions)                        # (B, T, V)
    counts = y >= 0
    z = logits[counts]                                                            # (N, V)
    return -F.cross_entropy(z.to(torch.promote_types(z.dtype, torch.float32)), y[counts], reduction="none")


def totals(values, part):
    """Sums over each sequence's tokens. values: (N,);  returns: (S,), 0 for a sequence of another part"""
    return values.new_zeros(part.size).index_add(0, part.owner.to(values.device), values)


@torch.no_grad()
def replies(model, sequences, width, pad, mixed, rows=16):
    """Log-probability of each sequence's own tokens, (S,) nats, computed `rows` rows at a time."""
    return sum(totals(logprobs(model, part, mixed), part) for part in pack(sequences, width, pad, rows))


def own(sequences):
    """How many tokens of each sequence count, (S,)."""
    return torch.tensor([int(sum(mask)) for _, mask in sequences])


def k3(logp, reference):
    """
    An estimate of KL(policy || reference) from tokens that the policy drew: r - 1 - log r, r = reference / policy.
    Its mean is the KL, since E[r] = 1, as that of -log r is; but every single value is >= 0, and they spread less.
    Schulman 2020: http://joschu.net/blog/kl-approx.html
    """
    r = reference - logp
    return r.exp() - 1 - r


def descend(model, rates, parts, loss_of, factor, clip, guard, mixed, world):
    """
    One update from the sum of loss_of(part) over the parts of all ranks, clipped by its global norm; a step that
    is not finite changes nothing. rates: pairs of (optimizer, peak learning rate);  mixed: number format
    returns: (loss, gradient norm before clipping), floats
    """
    total = 0
    for n, part in enumerate(parts, 1):
        loss = loss_of(part)
        world.last = n == len(parts)                         # only then are gradients complete, and sent
        mixed.scaled(loss).backward()
        total = total + loss.detach()
    world.finish()
    mixed.unscale(model.parameters())
    loss = world.sum(total).item()
    norm = get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    finite = bool(norm.isfinite())
    good = guard.accepts(loss, finite)
    if good and norm > clip:
        clip_grads_with_norm_(model.parameters(), clip, norm)
    for optimizer, peak in rates:
        if good:
            optimizer.lr = peak * factor
            optimizer.step()
        optimizer.zero_grad()
    mixed.update(finite)
    return loss, norm.item()
