"""
One step of training, and one validation, on batches of packed documents (train/pack.py).

The gradient is that of the mean loss over all targets of the step, in however many parts it is computed: by
microbatches, one after another, or by ranks, at the same time. Each part's mean counts by its share of the
targets. The mean of the parts' means is another number as soon as their masks differ, and they always do.
"""

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from train.amp import Mixed
from train.distributed import World, whole


def mean_loss(model, batch, where):
    """Nats per target. batch: x, y, doc, positions of packed documents, or x, y of windows (train/windows.py)"""
    x, y, *packed = (t.to(where, non_blocking=True) for t in batch)
    return model(x, y, **dict(zip(("doc", "positions"), packed)))[1]


def gradients(model, batch, where, micro, world, mixed):
    """
    Adds to every p.grad the gradient of the step's loss, and returns that loss, nats per target.
    batch: all rows of the step, the same on every rank, which takes its share;  micro: rows of one part, all if None
    """
    count, mine, total = (batch[1] >= 0).sum().item(), world.share(batch), 0
    parts = list(zip(*(t.split(micro or len(t)) for t in mine)))
    for n, part in enumerate(parts, 1):
        share = (part[1] >= 0).sum().item() / count
        with mixed.autocast():
            loss = mean_loss(model, part, where) * share
        world.last = n == len(parts)                         # only then are gradients complete, and sent
        mixed.scaled(loss).backward()
        total += loss.detach()
    world.finish()
    mixed.unscale(model.parameters())
    return world.sum(total)


def optimize(model, optimizers, batch, factor, clip, where, *, micro=None, world=None, mixed=None, guard=None):
    """
    Gradient, clipping by global norm (Pascanu et al. 2013, algorithm 1, https://arxiv.org/abs/1211.5063), update.
    A gradient that is not finite, or a loss that the guard (train/guard.py) turns down, changes nothing.

    optimizers: pairs of (optimizer, peak learning rate);  factor: of the peaks, from the schedule
    micro: rows of a microbatch [all];  world: the other ranks [none];  mixed: number format [the machine's]
    returns: (loss in nats per target, gradient norm before clipping), tensors
    """
    world, mixed = world or World(), mixed or Mixed(where)
    loss = gradients(model, batch, where, micro, world, mixed)
    norm = whole(get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
    finite = bool(norm.isfinite())
    good = finite if guard is None else guard.accepts(loss.item(), finite)
    if good and norm > clip:
        clip_grads_with_norm_(model.parameters(), clip, norm)
    for optimizer, peak in optimizers:
        if good:
            optimizer.lr = peak * factor
            optimizer.step()
        optimizer.zero_grad()
    mixed.update(finite)
    return loss, norm


@torch.no_grad()
def evaluate(model, batches, where, *, world=None, mixed=None):
    """Mean loss in nats per target over all targets of the batches."""
    world, mixed = world or World(), mixed or Mixed(where)
    model.eval()
    total = torch.zeros(2, dtype=torch.float64)              # nats, targets
    for batch in batches:
        mine = world.share(batch)
        n = (mine[1] >= 0).sum().item()
        with mixed.autocast():
            loss = mean_loss(model, mine, where)
        total += torch.tensor([loss.item() * n, n], dtype=torch.float64)
    model.train()
    nats, targets = world.sum(total.to(where)).tolist()
    return nats / targets
