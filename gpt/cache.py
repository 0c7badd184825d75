"""
What a model keeps of the tokens that it has already read, so that the next one costs one position.

    cache = Cache(model.config, slots=1, context=256)
    logits, _ = model(prompt, cache=cache)                  # (1, T, V): all T positions are read once
    logits, _ = model(id, cache=cache)                      # (1, 1, V): one position, T + 1 keys

What is kept is up to the model: config.cached names the shapes of it, keys and values (G, D) each for most,
a latent vector and one rotated key for multi-head latent attention (gpt/mla.py).

B = batch, T = new tokens, S = tokens so far, G = key/value heads, D = channels of a head
"""

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

    def places(self, rows, positions):
        """Where positions (B, T) of slots `rows` (B,) stand among all (slot, head, position) of a layer, (B G T,)."""
        _, _, G, context, _ = self.stores[0].shape
        rows = torch.arange(len(positions), device=positions.device) if rows is None else rows
        heads = rows[:, None] * G + torch.arange(G, device=rows.device)           # (B, G)
        return (heads[:, :, None] * context + positions[:, None]).flatten()

    def extend(self, layer, rows, positions, *new, S=None, at=None):
        """
        Store each new (B, G, T, D) at positions (B, T) of slots `rows` (B,); return what these slots hold in their
        first S places [up to the last position], (B, G, S, D) each. rows = None: slots 0 to B - 1, which costs no copy.
        at: places(rows, positions), which are the same for all layers
        """
        S = S or int(positions.max()) + 1
        at = self.places(rows, positions) if at is None else at
        for store, x in zip(self.stores, new):
            store[layer].view(-1, store.size(4)).index_copy_(0, at, x.reshape(len(at), -1))
        if rows is None:
            return tuple(store[layer, :len(positions), :, :S] for store in self.stores)
        return tuple(store[layer, rows, :, :S] for store in self.stores)

    def part(self, first, n):
        """The n slots from `first` on as a cache of their own, which writes through to this one."""
        part = Cache.__new__(Cache)
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
    One forward pass of T tokens a row, over slots `rows` (B,) of a cache, the first B by default, or over no cache.
    counts: (B,) how many of a row's T tokens are real, the rest is padding on the right [all]
    positions: (B, T) or (T,), where the tokens stand; padding stands where no token of the row will be read from
    """

    def __init__(self, idx, cache=None, rows=None, counts=None):
        B, self.T = idx.shape
        self.cache, self.rows, self.counts = cache, rows, counts
        self.positions = torch.arange(self.T, device=idx.device)                  # (T,)
        if cache is None:
            return
        self.start = cache.lengths[:B] if rows is None else cache.lengths[rows]   # (B,)
        self.positions = self.start[:, None] + self.positions                     # (B, T)
        if counts is not None and self.T > 1:
            self.positions = self.positions.clamp(max=cache.stores[0].size(3) - 1)
        self.at, starts = cache.places(rows, self.positions), self.start.tolist()
        self.S = min(max(starts) + self.T, cache.stores[0].size(3))
        self.lengths = None if min(starts) == max(starts) else self.start + self.T  # equal rows need no mask

    def layer(self, n):
        """store(*new) of layer n, which returns all so far, then lengths (B,) or None; None without a cache."""
        if self.cache is None:
            return None
        return lambda *new: (*self.cache.extend(n, self.rows, self.positions, *new, S=self.S, at=self.at), self.lengths)

    def close(self, x):
        """
        From now on the slots hold the new tokens. x: (B, T, C);  returns: (B, T, C), or with counts each row's last
        real one alone, (B, 1, C): what comes next hangs on no other, and the head is the largest matrix of all
        """
        if self.cache is not None:
            slots = slice(0, len(self.start)) if self.rows is None else self.rows
            self.cache.lengths[slots] = self.start + (self.T if self.counts is None else self.counts)
        if self.counts is None or self.T == 1:
            return x
        return x[torch.arange(len(x), device=x.device), self.counts - 1, None]
