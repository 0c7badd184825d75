"""
The two loops of byte-pair encoding, fast: learn merges from counted words, apply them to one word.

What it adds to bpe/basic.py: basic.py walks through the whole text once for every merge. Here
every pair knows where it occurs, so that a merge touches only its own occurrences, all at once in numpy.

N = symbols of all words, with one separator after each word
"""

import heapq

import numpy as np

END, GONE = -1, -2       # in place of an id: after a word; a symbol that its left neighbour has swallowed
HALF = (1 << 32) - 1     # a pair (a, b) of ids as one integer is a << 32 | b: it sorts as (a, b) does
LONG = 400               # symbols from which numpy wins over lists; lists alone would be quadratic


class Chain:
    """Words as linked lists of ids, in which merge() joins every occurrence of a pair at once."""

    def __init__(self, words, weights):
        """words: list of lists of ids; weights: how often each word counts"""
        self.ids = np.array([i for word in words for i in (*word, END)], dtype=np.int32)         # (N,)
        self.next = np.arange(1, len(self.ids) + 1, dtype=np.int32)                              # (N,)
        self.prev = self.next - 2                                                                # (N,)
        self.weight = np.repeat(np.array(weights, np.int64), [len(word) + 1 for word in words])  # (N,)

    def pairs(self):
        """The pairs at the start, as list of (pair, positions of its left half, summed weight)."""
        return self.group(np.flatnonzero((self.ids[:-1] >= 0) & (self.ids[1:] >= 0)))

    def group(self, at):
        """Positions of left halves -> list of (pair, its positions, their summed weight)."""
        if not len(at):
            return []
        pairs = self.ids[at].astype(np.int64) << 32 | self.ids[self.next[at]]
        order = np.argsort(pairs, kind="stable")              # keeps each pair's positions ascending
        pairs, at = pairs[order], at[order]
        first = np.flatnonzero(np.diff(pairs, prepend=-1))
        weight = np.add.reduceat(self.weight[at], first).tolist()
        ends = [*first[1:].tolist(), len(at)]
        return [(pair, at[i:j], w) for pair, i, j, w in zip(pairs[first].tolist(), first, ends, weight)]

    def merge(self, a, b, at, new):
        """
        Every pair (a, b), all of whose positions are among at, ascending, becomes the one id new.
        Returns the pairs that new has made, as pairs() does.
        """
        ids, next, prev = self.ids, self.next, self.prev
        at = at[(ids[at] == a) & (ids[next[at]] == b)]        # the others have changed since they were listed
        if a == b:
            at = at[every_second(at, next)]
        gone = next[at]
        after = next[gone]
        ids[at], ids[gone] = new, GONE
        next[at], prev[after] = after, at
        left = prev[at]
        left = left[(ids[left] >= 0) & (ids[left] != new)]    # (new, new) counts once, at its left half
        right = at[ids[next[at]] >= 0]
        return self.group(np.concatenate([left, right]))


def every_second(at, next):
    """Which of the overlapping pairs in a run such as "aaaa" to merge: the first, the third …"""
    if not len(at):
        return at
    i = np.arange(len(at))
    starts = np.append(True, at[1:] != next[at[:-1]])
    return (i - np.maximum.accumulate(i * starts)) % 2 == 0


def learn(words, n_merges):
    """
    words: dict pre-token -> count; returns n_merges pairs of ids, fewer where the words run out of pairs.
    Byte b is id b, merge i makes id 256 + i. The most frequent pair comes first, among equals the
    smallest, so that the same corpus gives the same merges on every machine.
    Sennrich et al. 2016, algorithm 1: https://arxiv.org/abs/1508.07909
    """
    chain = Chain([word.encode() for word in words], list(words.values()))
    where, total, heap, merges = {}, {}, [], []
    for pair, at, weight in chain.pairs():
        where[pair], total[pair] = at, weight
        heap.append((-weight, pair))
    heapq.heapify(heap)
    while len(merges) < n_merges and heap:
        weight, pair = heapq.heappop(heap)
        if total[pair] != -weight:                            # counts only fall: back to where it belongs now
            if total[pair]:
                heapq.heappush(heap, (-total[pair], pair))
            continue
        a, b, new = pair >> 32, pair & HALF, 256 + len(merges)
        merges.append((a, b))
        for made, at, weight in chain.merge(a, b, where.pop(pair), new):
            where[made], total[made] = at, weight
            heapq.heappush(heap, (-weight, made))
            x, y = made >> 32, made & HALF                    # (x, new) was (x, a); (new, y) was (b, y)
            total[x << 32 | a if x != new else b << 32 | (a if y == new else y)] -= weight
    return merges


def apply(ids, rank):
    """
    ids, a list that may be changed, with every pair that rank knows joined: lowest rank first, leftmost first.
    rank: dict pair -> the id it makes; earlier merges have smaller ids.
    """
    if len(ids) > LONG:
        return apply_long(ids, rank)
    none = 1 << 62
    ranks = [rank.get(pair, none) for pair in zip(ids, ids[1:])]
    while ranks and (new := min(ranks)) < none:
        i = ranks.index(new)
        ids[i:i + 2] = [new]
        del ranks[i]
        if i < len(ranks):
            ranks[i] = rank.get((new, ids[i + 1]), none)
        if i:
            ranks[i - 1] = rank.get((ids[i - 1], new), none)
    return ids


def apply_long(ids, rank):
    """apply() in near linear time: a megabyte of one letter, or a chapter of Chinese, is one pre-token."""
    chain = Chain([ids], [1])
    where, heap = {}, []
    made = chain.pairs()
    while made or heap:
        for pair, at, _ in made:
            a, b = pair >> 32, pair & HALF
            if (a, b) in rank:
                where[rank[a, b]] = a, b, at
                heapq.heappush(heap, rank[a, b])
        if not heap:
            break
        new = heapq.heappop(heap)
        made = chain.merge(*where.pop(new), new)
    return chain.ids[chain.ids >= 0].tolist()
