"""
What a model keeps of the tokens that it has already read, so that the next one costs one position.

    cache = Cache(model.config, slots=1, context=256)
    logits, _ = model(prompt, cache=cache)                  # (1, T, V): all T positions are read once
    logits, _ = model(id, cache=cache)                      # (1, 1, V): one position, T + 1 keys

What is kept is up to the model: config.cached names the shapes of it, keys and values (G, D) each for most,
a latent vector and one rotated key for multi-head latent attention (gpt/mla.py).

B = batch, T = new tokens, S = tokens so far, G = key/value heads, D = channels of a head
"""

import copy

import torch


class Cache:
    """
    One slot a sequence, preallocated.
    stores: for each shape (G, D) in config.cached a tensor (n_layer, slots, G, context, D);
    lengths: (slots,) tokens each slot holds
    """

    def __init__(self, config, slots, context, dtype=torch.float32, device="cpu"):
        self.stores = [torch.zeros(config.n_layer, slots, G, context, D, dtype=dtype, device=device)
                       for G, D in config.cached]
        self.lengths = torch.zeros(slots, dtype=torch.long, device=device)

    def extend(self, layer, rows, positions, *new):
        """Store each new (B, G, T, D) at positions (B, T) of slots `rows` (B,); return all so far, (B, G, S, D)."""
        S = int(positions[:, -1].max()) + 1
        for store, x in zip(self.stores, new):
            store[layer][rows[:, None], :, positions] = x.transpose(1, 2)         # (B, T, G, D)
        if len(rows) == self.lengths.numel() and torch.equal(rows, torch.arange(len(rows), device=rows.device)):
            return tuple(store[layer, :, :, :S] for store in self.stores)         # views, not copies
        return tuple(store[layer, rows, :, :S] for store in self.stores)

    def part(self, first, n):
        """The n slots from `first` on as a cache of their own, which writes through to this one."""
        part = copy.copy(self)
        part.stores = [store[:, first:first + n] for store in self.stores]
        part.lengths = self.lengths[first:first + n]
        return part

    def move(self, source, target):
        """Copy a slot into another."""
        n = int(self.lengths[source])
        for store in self.stores:
            store[:, target, :, :n] = store[:, source, :, :n]
        self.lengths[target] = n


class Reading:
    """
    One forward pass of T tokens a row, over slots `rows` (B,) of a cache, all of them by default, or over no cache:
    positions, (B, T) or (T,), where the tokens stand, and what each layer calls to keep what is new.
    """

    def __init__(self, idx, cache=None, rows=None):
        B, self.T = idx.shape
        self.cache, ahead = cache, torch.arange(self.T, device=idx.device)        # (T,)
        if cache is None:
            self.positions = ahead
            return
        self.rows = torch.arange(B, device=idx.device) if rows is None else rows
        self.start = cache.lengths[self.rows]                                     # (B,)
        self.positions = self.start[:, None] + ahead                              # (B, T)

    def layer(self, n):
        """store(*new) of layer n, which returns all so far and then lengths (B,); None without a cache."""
        if self.cache is None:
            return None
        return lambda *new: (*self.cache.extend(n, self.rows, self.positions, *new), self.start + self.T)

    def close(self, counts=None):
        """From now on the slots hold the new tokens; counts: (B,) how many of the T were real, the rest was padding"""
        if self.cache is not None:
            self.cache.lengths[self.rows] = self.start + (self.T if counts is None else counts)
