"""
BM25 by hand: the passages that fit a query best, by the words that both have.

    index = BM25()
    index.add("3f2a/0", "Zorvexes live under the ice of Lake Ammer.")
    index.search("Where do zorvexes live?", k=3)             # [(2.1, "3f2a/0"), ...], the best first
    index.remove("3f2a/0")

    score(q, d) = sum over words t of q:  idf(t) tf (k1 + 1) / (tf + k1 (1 - b + b |d| / mean |d|))
    idf(t) = log(1 + (N - n + 0.5) / (n + 0.5))              N passages, n of them with t, tf times in d

Robertson and Zaragoza 2009, section 3.4, https://doi.org/10.1561/1500000019; the idf, never below zero, is Lucene's.
A word counts more the rarer it is; its tenth appearance in a passage adds little (k1); long passages are not better
for having more words (b). An index without a passage is equal to one that never had it.

Left out on purpose: positions and phrases, compression, meaning (chat/rag.py sets vectors beside it).
"""

import heapq
import math
from collections import Counter, defaultdict

from continual.wording import stem, words


def terms(text):
    """The stems of all words, in order: the idf, not a list, says which of them mean little."""
    return [stem(word) for word in words(text)]


class BM25:
    """k1: how soon further appearances count no more;  b: how much a passage's length is held against it"""

    def __init__(self, k1=1.2, b=0.75):
        self.k1, self.b = k1, b
        self.passages, self.lengths, self.postings = {}, {}, {}   # key -> its terms; key -> words; term -> {key: count}
        self.total = 0                                            # words in all

    def __len__(self):
        return len(self.passages)

    def add(self, key, text):
        """A passage under a key, which replaces one that is there."""
        if key in self.passages:
            self.remove(key)
        counts = Counter(terms(text))
        self.passages[key], self.lengths[key] = set(counts), counts.total()
        self.total += self.lengths[key]
        for term, count in counts.items():
            self.postings.setdefault(term, {})[key] = count

    def remove(self, key):
        """KeyError if there is none of this key."""
        self.total -= self.lengths.pop(key)
        for term in self.passages.pop(key):
            del self.postings[term][key]
            if not self.postings[term]:
                del self.postings[term]

    def idf(self, term):
        n = len(self.postings.get(term, ()))
        return math.log(1 + (len(self) - n + 0.5) / (n + 0.5))

    def search(self, query, k=3):
        """[(score, key), ...] of at most k passages that share a word with the query; equal scores by key."""
        scores, fixed, mean = defaultdict(float), self.k1 * (1 - self.b), self.total / max(1, len(self))
        for term in dict.fromkeys(terms(query)):
            idf = self.idf(term)
            for key, count in self.postings.get(term, {}).items():
                held = fixed + self.k1 * self.b * self.lengths[key] / mean
                scores[key] += idf * count * (self.k1 + 1) / (count + held)
        return heapq.nsmallest(k, ((score, key) for key, score in scores.items()), key=lambda s: (-s[0], s[1]))
