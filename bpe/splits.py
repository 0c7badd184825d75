"""
Which split a record belongs to, and the check that two splits share no near duplicate.

A record has a key, the content that must not leak: the numbers of a problem, the combination of a
story. Its split is a hash of that key and of nothing else, so a content that falls to test is
drawn again wherever train would use it, whatever the seed, the order or the number of workers.

The check is w-shingling (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900): a text is the
set of its runs of eight words, and it is a near duplicate of the other split when most of its
runs occur there. It compares with all texts at once rather than pair by pair, which can only find
more, and takes linear time.
"""

import re
import zlib

SHARES = {"train": 90, "valid": 93, "test": 100}  # cumulative percent: 90 train, 3 valid, 7 test
RUN = 8                                           # words in a shingle


def split(key):
    """`train`, `valid` or `test` for a key with a stable repr (tuples of str and int)."""
    bucket = zlib.crc32(repr(key).encode()) % 100
    return next(name for name, end in SHARES.items() if bucket < end)


def drawn(rng, only, draw, key):
    """draw(rng), drawn again until key(item) falls into the split `only`."""
    while split(key(item := draw(rng))) != only:
        pass
    return item


def shingles(text):
    """The hashes of the text's runs of RUN words (one run of all of them where it is shorter)."""
    words = re.findall(r"\w+", text.lower())
    return {hash(tuple(words[i:i + RUN])) for i in range(max(1, len(words) - RUN + 1))}


def near_duplicates(a, b, share=0.9):
    """Indices of the texts of `a` of whose shingles at least `share` occur in the texts of `b`."""
    seen = set().union(*map(shingles, b))
    found = []
    for i, text in enumerate(a):
        grams = shingles(text)
        if len(grams & seen) >= share * len(grams):
            found.append(i)
    return found
