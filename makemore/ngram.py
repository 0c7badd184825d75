"""
The n-gram as a serious opponent: interpolated modified Kneser-Ney, counted with numpy; and the older mixture
of relative frequencies (JelinekMercer), which Bengio's network is measured against as well.

    python makemore/ngram.py --train stories.jsonl --test held_out.jsonl         # bytes, best order up to 16
    python makemore/ngram.py --train train.txt --test valid.txt --order 4 --fixed # exactly order 4

The probability of a token after a context h is what its count there keeps after a discount, plus
the discounted mass times the probability after h without its first token; and a shorter context
counts not how often a token came but after how many different tokens (after "San", "Francisco" is
frequent; elsewhere it is not to be expected). With c the count in the context, D the discount of
counts 1, 2, and 3 and more, and N_k(h) how many tokens have count k after h:

    p(w | h) = (c(hw) - D(c(hw)) + (D_1 N_1(h) + D_2 N_2(h) + D_3 N_3+(h)) p(w | h')) / c(h)

Chen and Goodman 1999, section 3, eq. 15 to 17: https://doi.org/10.1006/csla.1999.0128. Departures:
the recursion ends in the uniform distribution, and after the paper's formula for D has given a
start, the discounts of every order and the order itself are chosen on held-out text.

Text is bytes, 0 to 255, and 256 begins each document: it is a context, its own probability is not
scored. So the bits per byte stand beside those of any model of the same documents.

N = tokens of a text, U_n = different n-grams in the training text, V = vocabulary
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np

from makemore.record import write_metrics

BOUNDARY = 256


class KneserNey:
    """A model of `order` tokens (contexts of order - 1) over ids 0 to vocab - 1."""

    def __init__(self, order, vocab):
        if order < 1 or vocab < 1:
            raise ValueError(f"{order=} and {vocab=} must be at least 1")
        self.order, self.vocab = order, vocab

    def fit(self, ids):
        """Count every n-gram up to the model's order; ids: (N,) ints. Returns the model."""
        self.ids = np.asarray(ids, dtype=np.int64)
        if len(self.ids) < self.order or self.ids.min() < 0 or self.ids.max() >= self.vocab:
            raise ValueError(f"{len(self.ids)} ids do not make one {self.order}-gram over {self.vocab} ids")
        self.gram = np.zeros(len(self.ids) + 1, dtype=np.int64)  # the empty context, before each token and at the end
        self.keys, self.counts, self.totals, self.kinds, self.discounts = [], [], [], [], []
        for _ in range(self.order):
            self.extend()
        return self

    def extend(self):
        """
        Count the n-grams that are one longer. An n-gram is named by its index among the sorted keys of its
        length, and its key is (index of its first n - 1 tokens) * V + last token: exact for any vocabulary.
        """
        self.order = n = len(self.keys) + 1
        keys = self.gram[:-1] * self.vocab + self.ids[n - 1:]    # (N - n + 1,)
        suffix = self.gram[1:]                                   # (N - n + 1,) the same n-gram but its first token
        keys, first, self.gram, counts = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True)   # (U_n,), gram: (N - n + 1,)
        if n > 1:                                                # what is no longer longest counts its left neighbours
            self.summarize(n - 2, np.bincount(suffix[first], minlength=len(self.keys[-1])))
        self.keys.append(keys)
        self.summarize(n - 1, counts)

    def summarize(self, i, counts):
        """Keep the counts of the n-grams of length i + 1, and what they say of each context; counts: (U_n,)"""
        contexts, after = len(self.keys[i - 1]) if i else 1, self.keys[i] // self.vocab
        kinds = [np.bincount(after, many, contexts) for many in (counts == 1, counts == 2, counts > 2)]
        for kept, new in [(self.counts, counts), (self.totals, np.bincount(after, counts, contexts)),
                          (self.kinds, np.stack(kinds, axis=1))]:
            kept[i:] = [new.astype(np.int32)]                    # c(hw): (U_n,), c(h): (U_{n-1},), N_k(h): (U_{n-1}, 3)
        self.discounts[i:] = [discounts(counts)]

    def evidence(self, ids):
        """Yield, for each order, what the counts say of each token: c(hw), c(h) and N_k(h), (N,), (N,), (N, 3)."""
        ids = np.asarray(ids, dtype=np.int64)
        gram = np.zeros(len(ids) + 1, dtype=np.int64)        # index of the context before each token; -1: never seen
        for keys, counts, totals, kinds in zip(self.keys, self.counts, self.totals, self.kinds):
            context = gram[:-1]                              # (N,)
            seen = context >= 0
            key = context * self.vocab + ids
            at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            known = seen & (keys[at] == key)
            yield (np.where(known, counts[at], 0), np.where(seen, totals[context], 0),
                   np.where(seen[:, None], kinds[context], 0))
            gram = np.concatenate([[-1], np.where(known, at, -1)])

    def mix(self, evidence, first=0, p=None):
        """(N,) probabilities under the present discounts; p: those from the orders before `first`, [uniform]."""
        p = 1 / self.vocab if p is None else p
        for (count, total, kinds), d in zip(evidence, self.discounts[first:]):
            kept = count - d[np.minimum(count, 3)]
            p = np.where(total > 0, (kept + kinds @ d[1:] * p) / np.maximum(total, 1), p)
        return p

    def logprob(self, ids):
        """(N,) natural logarithm of the probability of each token after those before it in ids."""
        return np.log(self.mix(self.evidence(ids)))

    def tune(self, ids, scored=slice(None), steps=(0.2, 0.1, 0.05, 0.02)):
        """
        Fit the discounts to held-out ids: move one at a time, by ever smaller steps, as long as it helps.
        scored: which of the ids count, an index or a mask;  returns: their nats a token
        """
        evidence = [tuple(x[scored] for x in order) for order in self.evidence(ids)]
        best = -np.log(self.mix(evidence)).mean()
        for step in steps:
            for n, d in enumerate(self.discounts):
                below = self.mix(evidence[:n])
                for k, move in [(k, sign * step) for k in (1, 2, 3) for sign in (1, -1)]:
                    while 0 <= d[k] + move <= k:             # a discount above its count is no probability
                        d[k] += move
                        loss = -np.log(self.mix(evidence[n:], n, below)).mean()
                        if loss >= best:
                            d[k] -= move
                            break
                        best = loss
        return best


def discounts(counts):
    """[0, D_1, D_2, D_3+] from how many n-grams have count 1, 2, 3, 4 (eq. 17), kept within 0 and the count."""
    n1, n2, n3, n4 = (max(1, int((counts == k).sum())) for k in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    return np.clip([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3], 0, [0, 1, 2, 3])


def mixture(p, bins, size, rounds=20):
    """
    The weights, in each bin, under which the mixture of M models finds held-out tokens likeliest: EM, in which a
    token is shared out among the models by how much each expected it. Jelinek and Mercer 1980.

    p: (N, M) probability of each token by each model;  bins: (N,) ints below `size`;  returns: (size, M)
    """
    weights = np.full((size, p.shape[1]), 1 / p.shape[1])
    for _ in range(rounds):
        share = weights[bins] * p                                # (N, M)
        share /= share.sum(axis=1, keepdims=True)
        sums = np.stack([np.bincount(bins, column, size) for column in share.T], axis=1)
        weights = (sums + 1e-3) / (sums + 1e-3).sum(axis=1, keepdims=True)   # an empty bin weighs all alike
    return weights


class JelinekMercer(KneserNey):
    """
    The older n-gram: a weighted sum of the relative frequencies of order 0 (uniform) to `order`, the weights
    learned on held-out text, others where the whole context is rarer.
    As in Bengio et al. 2003, section 4.1: https://www.jmlr.org/papers/v3/bengio03a.html
    """

    def fit(self, ids):
        super().fit(ids)
        self.bins = int(np.ceil(np.log(len(ids)))) + 1           # the last for contexts never seen
        self.weights = np.full((self.bins, self.order + 1), 1 / (self.order + 1))
        return self

    def summarize(self, i, counts):
        """An n-gram's first, plain count stays, whatever comes to its left."""
        if i == len(self.counts):
            super().summarize(i, counts)

    def estimates(self, ids):
        """(N, order + 1) relative frequencies, order 0 first; (N,) bins, one more where contexts are e times rarer."""
        p = [np.full(len(ids), 1 / self.vocab)]
        for count, total, _ in self.evidence(ids):
            p.append(np.where(total > 0, count / np.maximum(total, 1), p[-1]))   # a context never seen passes on
        bins = np.ceil(-np.log((1 + total) / len(self.ids))).astype(np.int64).clip(0)
        return np.stack(p, axis=1), bins

    def tune(self, ids):
        """Learn the weights from held-out ids; returns their nats a token."""
        p, bins = self.estimates(ids)
        self.weights = mixture(p, bins, self.bins)
        return -np.log((self.weights[bins] * p).sum(axis=1)).mean()

    def logprob(self, ids):
        """(N,) natural logarithm of the probability of each token after those before it in ids."""
        p, bins = self.estimates(ids)
        return np.log((self.weights[bins] * p).sum(axis=1))


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--train", type=Path, required=True,
                   help='.jsonl with {"text"}, or .txt with lines of <|endoftext|> between documents')
    p.add_argument("--test", type=Path, required=True, help="documents to score, same forms")
    p.add_argument("--valid", type=Path, help="documents that choose order and discounts [last tenth of --train]")
    p.add_argument("--order", type=int, default=16, help="longest n-gram to try, bytes [%(default)s]")
    p.add_argument("--fixed", action="store_true", help="take --order as it is and the paper's discounts")
    p.add_argument("--out", type=Path, default=Path("out/makemore/ngram"), help="folder of metrics.json [%(default)s]")
    return p.parse_args(argv)


def read(path):
    """The documents of a file as one (N,) array of ids, each document beginning with BOUNDARY."""
    if not path.is_file():
        sys.exit(f"no {path}; python bpe/datasets.py --list shows what there is")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            records = [json.loads(line) for line in text.split("\n") if line]
            docs = [record["text"] for record in records if "text" in record]
        else:
            docs = [doc.strip() for doc in text.split("<|endoftext|>")]
    except ValueError as e:
        sys.exit(f"{path} is not {path.suffix[1:]} in UTF-8 ({e}); correct it")
    docs = [np.frombuffer(doc.encode(), dtype=np.uint8) for doc in docs if doc]
    if not docs:
        sys.exit(f"{path} holds no documents; give a .txt, or a .jsonl whose records have a text")
    return np.concatenate([part for doc in docs for part in ([BOUNDARY], doc)]).astype(np.int64)


def choose(train, valid, longest):
    """The order and discounts that do best on valid: returns (order, discounts, {order: bits per byte})."""
    model, scored, held_out = KneserNey(1, BOUNDARY + 1).fit(train), valid != BOUNDARY, {}
    while True:
        began, order = time.time(), model.order
        held_out[order] = model.tune(valid, scored, steps=(0.1,)) / np.log(2)
        print(f"order {order:2d} | held-out {held_out[order]:.4f} bits per byte | {time.time() - began:.1f} s")
        if order == longest or order > 1 and held_out[order] > 0.998 * held_out[order - 1]:
            break                                            # longer contexts only repeat the text
        model.extend()
    best = min(held_out, key=held_out.get)
    if best < model.order:
        model = KneserNey(best, BOUNDARY + 1).fit(train)
    model.tune(valid, scored)
    return best, model.discounts, held_out


def main(argv=None):
    args = parse(argv)
    began = time.time()
    train, test = read(args.train), read(args.test)
    cut = len(train) * 9 // 10
    counted, valid = (train, read(args.valid)) if args.valid else (train[:cut], train[cut:])
    print(f"{len(train):,} bytes to count, {len(test):,} to score; a uniform guess costs {np.log2(257):.4f} bits each")
    order, chosen, held_out = args.order, None, {}
    if not args.fixed:
        order, chosen, held_out = choose(counted, valid, order)
    model = KneserNey(order, BOUNDARY + 1).fit(train)        # all of it, once order and discounts are known
    model.discounts = chosen or model.discounts
    bits = -model.logprob(test)[test != BOUNDARY] / np.log(2)
    print(f"test {bits.mean():.4f} bits per byte, order {order}, {len(bits):,} bytes")

    write_metrics(args.out, "makemore/ngram.py", argv, seconds=round(time.time() - began, 2),
                  data_sha=hashlib.sha256(args.train.read_bytes()).hexdigest(),
                  numbers={"order": order, "test_bits_per_byte": bits.mean(), "test_bytes": len(bits),
                           "held_out_bits_per_byte": held_out, "discounts": [d[1:].tolist() for d in model.discounts]})
    print(f"wrote {args.out}/metrics.json; next: python eval/perplexity.py --ngram {args.out}/metrics.json")


if __name__ == "__main__":
    main()
