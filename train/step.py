"""One step of training, and one validation, on batches of packed documents (train/pack.py)."""

import torch

from train.device import amp


def optimize(model, optimizers, batch, factor, clip, where):
    """
    Gradient, clipping by global norm (Pascanu et al. 2013, algorithm 1, https://arxiv.org/abs/1211.5063), update.
    optimizers: pairs of (optimizer, peak learning rate);  factor: of the peaks, from the schedule
    returns: (loss in nats per target, gradient norm before clipping), tensors
    """
    x, y, doc, positions = (t.to(where) for t in batch)
    with amp(where):
        loss = model(x, y, positions=positions, doc=doc)[1]
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for optimizer, peak in optimizers:
        optimizer.lr = peak * factor
        optimizer.step()
        optimizer.zero_grad()
    return loss.detach(), norm


@torch.no_grad()
def evaluate(model, batches, where):
    """Mean loss in nats per target over all targets of the batches."""
    model.eval()
    total = count = 0
    for x, y, doc, positions in batches:
        n = (y >= 0).sum().item()
        with amp(where):
            loss = model(x.to(where), y.to(where), positions=positions.to(where), doc=doc.to(where))[1]
        total, count = total + loss.item() * n, count + n
    model.train()
    return total / count
