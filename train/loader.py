"""
Batches of packed documents, each document once an epoch, in a new random order every epoch. A primer,
if there is one, is read once, at the beginning, and dissolves: its share of the tokens falls from all
of them to none in a straight line.

The position in the data (epoch, documents taken, documents waiting) is a few integers, so a resumed
run reads exactly the batches that the uninterrupted one would have read.
"""

import numpy as np

from train.pack import Packer, batch


class Shards:
    """
    The documents of token shards; n -> (ids, mask of what is to be predicted).
    shards: list of (n,) id arrays, every document beginning with `boundary`. All of it is predicted, so a
    document's last token predicts the next one's `boundary`: that is how a model learns where texts end.
    n_bytes: of the text that an epoch of them spells, where that is known
    exercises: (n, id) where the first n documents are exercises, of which only what follows `id` is predicted
    """

    def __init__(self, shards, boundary, n_bytes=0, exercises=(0, None)):
        starts = [np.flatnonzero(np.asarray(ids) == boundary) for ids in shards]
        if not sum(map(len, starts)):
            raise ValueError(f"no document begins with id {boundary} in these shards")
        ends = [np.append(s[1:], len(ids)) for s, ids in zip(starts, shards)]
        self.n_bytes, self.exercises = n_bytes, exercises
        self.shards, self.shard = shards, np.repeat(np.arange(len(shards)), [len(s) for s in starts])
        self.start, self.lengths = np.concatenate(starts), np.concatenate(ends) - np.concatenate(starts)

    def __getitem__(self, n):
        ids = self.shards[self.shard[n]][self.start[n]:self.start[n] + self.lengths[n]].astype(np.int64)
        mask, (exercises, answer) = np.ones(len(ids), dtype=bool), self.exercises
        if n < exercises:
            mask[:np.flatnonzero(ids == answer)[0] + 1] = False
        return ids, mask


class Conversations:
    """A list of (ids, mask), as bpe/template.py renders them."""

    def __init__(self, examples):
        self.examples, self.lengths = examples, np.array([len(ids) for ids, _ in examples])

    def __getitem__(self, n):
        return self.examples[n]


def dissolve(primer, rest, lengths):
    """
    One order of both, in which the primer's share of the tokens at time t is 1 - t/T, so that T is twice
    its length. A primer that ends at once leaves a model that knows nothing else: the loss jumps.
    """
    p, r = lengths[primer].cumsum(), lengths[rest].cumsum()
    end = 2 * p[-1]                                                       # T
    when_primer = end * (1 - np.sqrt(1 - p / p[-1]))                      # solves t - t^2/2T = p
    when_rest = np.where(r < end / 2, np.sqrt(2 * end * np.minimum(r, end / 2)), r + end / 2)    # t^2/2T = r
    return np.append(primer, rest)[np.argsort(np.append(when_primer, when_rest), kind="stable")]


class Loader:
    """
    documents: Shards or Conversations;  crop: fill a row's end with the beginning of a document
    primer: so many documents at the beginning are the primer
    next() -> x, y, doc, positions, each (rows, context): see train/pack.py
    """

    def __init__(self, documents, pad, rows, context, seed=0, crop=True, primer=0):
        self.documents, self.pad, self.rows, self.context = documents, pad, rows, context
        self.seed, self.crop, self.primer = seed, crop, primer
        self.epoch, self.taken = 0, 0
        self.packer = Packer(self.stream())

    def stream(self):
        """Endless (document number, tokens): epoch after epoch, from the saved position on."""
        while True:
            rng, n = np.random.default_rng([self.seed, self.epoch]), len(self.documents.lengths)
            order = self.primer + rng.permutation(n - self.primer)
            if self.epoch == 0 and self.primer:
                order = dissolve(rng.permutation(self.primer), order, self.documents.lengths)
            while self.taken < len(order):
                n = int(order[self.taken])
                self.taken += 1
                yield n, int(self.documents.lengths[n])
            self.epoch, self.taken = self.epoch + 1, 0

    def next(self):
        rows = []
        for _ in range(self.rows):
            picked = self.packer.row(self.context + 1, self.crop)
            examples = [(self.documents[n], length) for n, length in picked]
            rows.append([(ids[:length], mask[:length]) for (ids, mask), length in examples])
        return batch(rows, self.context, self.pad)

    @property
    def epochs(self):
        """How often each document has been taken so far, as a fraction; the primer is not counted."""
        n = len(self.documents.lengths) - self.primer
        return self.epoch + max(0, self.taken - self.primer * (self.epoch == 0)) / n

    def state_dict(self):
        return {"epoch": self.epoch, "taken": self.taken, "waiting": list(self.packer.waiting)}

    def load_state_dict(self, state):
        self.epoch, self.taken = state["epoch"], state["taken"]
        self.packer = Packer(self.stream())
        self.packer.waiting = [tuple(item) for item in state["waiting"]]
