"""
Byte-pair encoding as in the paper, slow and obvious: the lesson that bpe.py makes fast.

    python bpe/basic.py                                  # the paper's own example
    python bpe/basic.py --text "she sells sea shells" --merges 6
    python bpe/basic.py --check mine.py                  # your own train, encode and decode against these

A text is a list of bytes. Learning: find the most frequent pair of neighbours, give it the next id, put
the id wherever the pair stands, repeat. Encoding: the same merges again, in the same order. Decoding:
look every id up. Sennrich et al. 2016, section 3.2, algorithm 1: https://arxiv.org/abs/1508.07909;
on bytes, so that nothing is ever unknown: Radford et al. 2019, section 2.2.

Left out on purpose: the pattern (here words come in as a list), specials, files, speed.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import random
import runpy
from collections import Counter


def replace(ids, pair, new):
    """ids with every pair, from the left, replaced by the one id new."""
    out, i = [], 0
    while i < len(ids):
        if tuple(ids[i:i + 2]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def train(words, n_merges):
    """words: list of strings that no merge crosses -> list of pairs; ties go to the smallest pair of ids."""
    words = [list(word.encode()) for word in words]
    merges = []
    while len(merges) < n_merges:
        counts = Counter(pair for ids in words for pair in zip(ids, ids[1:]))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = [replace(ids, best, 256 + len(merges)) for ids in words]
        merges.append(best)
    return merges


def encode(word, merges):
    """A word -> ids: each merge, in the order learned."""
    ids = list(word.encode())
    for i, pair in enumerate(merges):
        ids = replace(ids, pair, 256 + i)
    return ids


def vocabulary(merges):
    """The bytes of every id."""
    vocab = [bytes([b]) for b in range(256)]
    for a, b in merges:
        vocab.append(vocab[a] + vocab[b])
    return vocab


def decode(ids, merges):
    """ids -> text; bytes that are no UTF-8 become U+FFFD."""
    vocab = vocabulary(merges)
    return b"".join(vocab[i] for i in ids).decode(errors="replace")


def check(path):
    """Exit with the first case in which the train, encode or decode of the file at path differs from ours."""
    mine, rng = runpy.run_path(path), random.Random(0)
    for case in range(200):
        words = ["".join(rng.choices("ab é", k=rng.randrange(1, 9))) for _ in range(rng.randrange(1, 20))]
        merges = train(words, 8)
        for name, args in [("train", (words, 8)), ("encode", (words[0], merges)),
                           ("decode", (encode(words[0], merges), merges))]:
            if name not in mine:
                sys.exit(f"{path} has no function {name}. Its form: see {name} in bpe/basic.py")
            got, want = mine[name](*args), globals()[name](*args)
            if got != want:
                sys.exit(f"{name}{args} gives {got}, not {want}. Correct it, then check again")
    print(f"{path}: train, encode and decode are right in 200 random cases")


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--text", default="low " * 5 + "lower " * 2 + "newest " * 6 + "widest " * 3,
                   help="words to learn from [the paper's]")
    p.add_argument("--merges", type=int, default=10, help="pairs to join [%(default)s]")
    p.add_argument("--check", metavar="FILE", help="a Python file with your train, encode and decode")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if args.check:
        return check(args.check)
    words = args.text.split()
    merges = train(words, args.merges)
    vocab = vocabulary(merges)
    for i, (a, b) in enumerate(merges):
        print(f"{256 + i}: {vocab[a]} + {vocab[b]} = {vocab[256 + i]}")
    for word in dict.fromkeys(words):
        print(f"{word:10} {[vocab[i].decode(errors='replace') for i in encode(word, merges)]}")


if __name__ == "__main__":
    main()
