"""
Several short documents in one row, none seeing another: best-fit packing, and the tensors of a batch.

    row       <bos> once upon a time <bos> what is 3 + 4 ? <bos> a story cut at the ro
    doc          0    0    0 0   0      1    1   1 1 1 1 1   2   2   2    2  2   2  2
    position     0    1    2 3   4      0    1   2 3 4 5 6   0   1   2    3  4   5  6

Attention, positions and loss of a packed document equal those of the document alone.
B = batch, T = context
"""

import torch


class Packer:
    """
    Rows of whole documents from a stream of (key, length): a row takes the longest waiting document
    that still fits, until none does; `crop` then fills the rest with the beginning of the shortest.
    `waiting` is all the state there is besides the stream's own position.
    """

    def __init__(self, stream, lookahead=100):
        self.stream, self.lookahead, self.waiting = stream, lookahead, []

    def row(self, room, crop):
        """List of (key, tokens of it to take) whose total is at most `room`; [] when the stream has ended."""
        row = []
        while room > 0:
            while len(self.waiting) < self.lookahead and (item := next(self.stream, None)) is not None:
                self.waiting.append(item)
            fitting = [n for n, (_, length) in enumerate(self.waiting) if length <= room]
            if fitting:
                chosen = max(fitting, key=lambda n: self.waiting[n][1])
            elif self.waiting and (crop or not row):   # a document longer than a whole row is cut in any case
                chosen = min(range(len(self.waiting)), key=lambda n: self.waiting[n][1])
            else:
                break
            key, length = self.waiting.pop(chosen)
            row.append((key, min(length, room)))
            room -= row[-1][1]
        return row


def batch(rows, context, pad):
    """
    Tensors of packed rows. Each row is a list of (ids, mask): ids a document's tokens, mask 1 where
    the token is to be predicted. Rows hold at most context + 1 tokens; the rest is `pad`.

    returns: x, y, doc, positions, each (B, T) int64; y is -1 where nothing is predicted
    """
    ids = torch.full((len(rows), context + 1), pad)
    target = torch.full((len(rows), context + 1), -1)
    doc = torch.full((len(rows), context + 1), -1)
    positions = torch.zeros((len(rows), context + 1), dtype=torch.long)
    for b, row in enumerate(rows):
        start = 0
        for n, (tokens, mask) in enumerate(row):
            stop = start + len(tokens)
            here = torch.as_tensor(tokens, dtype=torch.long)
            ids[b, start:stop] = here
            target[b, start:stop] = here.where(torch.as_tensor(mask, dtype=torch.bool), -1)
            doc[b, start:stop] = n
            positions[b, start:stop] = torch.arange(len(tokens))
            start = stop
        # padding is a document of its own: it sees itself, nobody sees it, and its loss does not count
    return ids[:, :-1], target[:, 1:], doc[:, :-1], positions[:, :-1]
