"""
What the engine keeps of texts that are over, so that the next turn of a conversation is read from where it is new.

    engine = Engine(model, tokenizer, prefixes=Prefixes(limit=256 << 20))
    engine.version = info["hash"]                            # whoever changes the weights changes this

A chat sends its whole history with each message. Keys and values of a token hang on nothing behind it, so those of any
common start serve again: a conversation's own last turn, or a system message that many share (Zheng et al. 2024,
SGLang, section 3, https://arxiv.org/abs/2312.07104; it keeps a tree of pages in place, we copy whole texts, which
costs a thousandth of reading them). It holds for whatever a model caches, latents too, and for a sliding window,
since the cache keeps all positions. An entry serves only the same weights and the same adapter.

G = key/value heads, n = tokens, D = channels of a head
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np


@dataclass(eq=False)
class Entry:
    owner: tuple             # (weights version, adapter)
    ids: np.ndarray          # (n,)
    stores: list             # (n_layer, G, n, D) of each kind that the cache keeps

    @property
    def bytes(self):
        return sum(store.nbytes for store in self.stores)


def common(a, b):
    """How many ids two arrays have in common from their start."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n


class Prefixes:
    """
    limit: bytes to hold at most; the entries used longest ago go first
    hits: tokens that were not read again;  misses: those that were
    """

    def __init__(self, limit=256 << 20):
        self.limit, self.bytes, self.hits, self.misses = limit, 0, 0, 0
        self.entries = OrderedDict()                         # Entry -> None, the one used last at the end

    def keep(self, cache, slot, owner, ids):
        """Keep what a slot holds of `ids`; what is a start of another entry, or of this one, is not held twice."""
        ids = np.array(ids[:int(cache.lengths[slot])])
        stores = [store[:, slot, :, :len(ids)] for store in cache.stores]         # (n_layer, G, n, D)
        if sum(store.nbytes for store in stores) > self.limit:
            return
        for entry in [entry for entry in self.entries if entry.owner == owner]:
            n = common(entry.ids, ids)
            if n == len(ids):
                self.entries.move_to_end(entry)
                return
            if n == len(entry.ids):
                self.drop(entry)
        entry = Entry(owner, ids, [store.clone() for store in stores])
        self.entries[entry] = None
        self.bytes += entry.bytes
        while self.bytes > self.limit:
            self.drop(next(iter(self.entries)))

    def drop(self, entry):
        del self.entries[entry]
        self.bytes -= entry.bytes

    def restore(self, cache, slot, owner, ids):
        """
        Put the longest start of `ids` that is kept into a slot and say how long it is. The last id is always left to
        be read, since what follows it is not in the cache.
        """
        ids, best, most = np.array(ids), None, 0
        for entry in self.entries:
            if entry.owner == owner and (n := common(entry.ids, ids[:-1])) > most:
                best, most = entry, n
        if best:
            self.entries.move_to_end(best)
            for store, kept in zip(cache.stores, best.stores):
                store[:, slot, :, :most] = kept[:, :, :most]
        cache.lengths[slot] = most
        self.hits, self.misses = self.hits + most, self.misses + len(ids) - most
        return most
