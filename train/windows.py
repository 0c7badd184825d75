"""
Batches straight from mapped token shards, in windows of T tokens: the fast way to read a corpus larger than memory.

    windows = RandomWindows(shards.load(folder, "train", tokenizer.hash)[0], rows=8, context=1024)
    x, y = windows.next()                                    # (B, T) int64 twice, y one token later

Two orders. RandomWindows begins a row anywhere, as nanoGPT does: nothing to remember, but some tokens come twice
before others come once. DocumentOrder lays the documents end to end, in a new random order every epoch, and cuts
that into rows: every token once an epoch. The position in either is one integer, `taken`, so that a resumed run
reads exactly what the uninterrupted one would have read.

What train/loader.py adds, and pays for in speed: whole documents in a row, none seeing its neighbour, a primer.
B = rows, T = context
"""

import numpy as np
import torch


class RandomWindows:
    """shards: list of (n,) id arrays. Every window of context + 1 tokens within a shard is equally likely."""

    def __init__(self, shards, rows, context, seed=0):
        self.shards, self.rows, self.context, self.seed = [np.asarray(ids) for ids in shards], rows, context, seed
        self.ends = np.cumsum([max(0, len(ids) - context) for ids in shards])
        self.taken = 0                                       # batches
        if not self.ends[-1]:
            raise ValueError(f"no shard has the {context + 1} tokens of a window")

    def next(self):
        rng = np.random.default_rng([self.seed, self.taken])
        at = rng.integers(self.ends[-1], size=self.rows)                          # (B,) of all windows there are
        shard = np.searchsorted(self.ends, at, side="right")
        start = at - np.append(0, self.ends)[shard]
        out = np.empty((self.rows, self.context + 1), dtype=np.int64)
        for row, s, i in zip(out, shard.tolist(), start.tolist()):
            row[:] = self.shards[s][i:i + self.context + 1]
        self.taken += 1
        out = torch.from_numpy(out)                                               # (B, T + 1)
        return out[:, :-1], out[:, 1:]

    def state_dict(self):
        return {"taken": self.taken}

    def load_state_dict(self, state):
        self.taken = state["taken"]


class DocumentOrder:
    """
    documents: train.loader.Shards;  shuffle=False: the order of the files, in every epoch.
    A row may begin inside a document and hold several; the last row of an epoch goes on into the next.
    """

    def __init__(self, documents, rows, context, seed=0, shuffle=True):
        self.shards, self.shard = [np.asarray(ids) for ids in documents.shards], documents.shard
        self.start, self.lengths = documents.start, documents.lengths
        self.rows, self.context, self.seed, self.shuffle = rows, context, seed, shuffle
        self.total = int(self.lengths.sum())                 # tokens of an epoch
        self.taken, self.epoch = 0, None                     # tokens; the epoch that `order` and `ends` are of

    def enter(self, epoch):
        if epoch != self.epoch:
            n, rng = len(self.lengths), np.random.default_rng([self.seed, epoch])
            self.order = rng.permutation(n) if self.shuffle else np.arange(n)
            self.ends, self.epoch = self.lengths[self.order].cumsum(), epoch

    def tokens(self, at, n):
        """The n tokens from position `at` on, counted from the beginning of the first epoch; (n,) int64"""
        out, filled = np.empty(n, dtype=np.int64), 0
        while filled < n:
            epoch, here = divmod(at + filled, self.total)
            self.enter(epoch)
            stop = min(here + n - filled, self.total)
            first, last = np.searchsorted(self.ends, [here, stop - 1], side="right")
            picked = self.order[first:last + 1]              # the documents that these tokens are of
            start = self.start[picked]
            end = start + self.lengths[picked]
            end[-1] -= self.ends[last] - stop                # the last may go on after them,
            start[0] = end[0] - (min(self.ends[first], stop) - here)      # the first may have begun before
            parts = [self.shards[s][i:j] for s, i, j in
                     zip(self.shard[picked].tolist(), start.tolist(), end.tolist())]
            np.concatenate(parts, out=out[filled:filled + stop - here])
            filled += stop - here
        return out

    def next(self):
        n = self.rows * self.context
        out = torch.from_numpy(self.tokens(self.taken, n + 1))
        self.taken += n
        return out[:-1].view(self.rows, -1), out[1:].view(self.rows, -1)          # (B, T) twice

    def state_dict(self):
        return {"taken": self.taken}

    def load_state_dict(self, state):
        self.taken = state["taken"]
