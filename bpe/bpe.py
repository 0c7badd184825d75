"""
Byte-level byte-pair encoding, fast: text to ids and back, exact for GPT-2's and GPT-4's published ranks.

    from bpe.bpe import Tokenizer, QWEN
    tokenizer = Tokenizer.train(texts, vocab_size=2048, pattern=QWEN)
    tokenizer.decode(tokenizer.encode("Hello, world")) == "Hello, world"

A text is cut into pre-tokens by a pattern; a pre-token's bytes are then joined pair by pair, the
earliest learned pair first. Ids 0-255 are bytes, 256 + i is what the i-th merge makes, specials follow.
Sennrich et al. 2016: https://arxiv.org/abs/1508.07909; on bytes, with a pattern: Radford et al. 2019, section 2.2.
"""

import hashlib, heapq, json, os
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path

import regex

from bpe.template import SPECIALS

# The published patterns. "++" (possessive: never give back) changes speed and not the match.
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s+"
GPT4 = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = GPT4.replace(r"\p{N}{1,3}+", r"\p{N}")  # one digit a token, so that numbers line up

CACHED = 1 << 20  # pre-tokens whose ids are remembered; about 200 MB at most


class Pieces(dict):
    """Pre-token -> its ids; what is not there yet is worked out and remembered."""

    def __init__(self, vocab, rank):
        self.byte = {token[0]: i for i, token in vocab.items() if len(token) == 1}
        self.rank = rank

    def __missing__(self, piece):
        if len(self) >= CACHED:
            self.clear()
        ids = self[piece] = merge([self.byte[b] for b in piece.encode()], self.rank)
        return ids


def merge(ids, rank):
    """ids with every known pair joined, the lowest rank first, the leftmost of equals first."""
    while len(ids) > 1:
        best = min(zip(ids, ids[1:]), key=lambda pair: rank.get(pair, 1 << 62))
        if best not in rank:
            break
        ids = replace(ids, best, rank[best])
    return ids


def replace(ids, pair, new):
    """ids with each pair, from the left, replaced by new."""
    out, i = [], 0
    while i < len(ids):
        if ids[i] == pair[0] and i + 1 < len(ids) and ids[i + 1] == pair[1]:
            out.append(new)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def learn(words, n_merges):
    """words: Counter of pre-tokens -> n_merges pairs of ids, most frequent first, ties: smallest pair."""
    counts = list(words.values())
    words = [list(word.encode()) for word in words]
    total, where = Counter(), defaultdict(set)
    for w, ids in enumerate(words):
        for pair in zip(ids, ids[1:]):
            total[pair] += counts[w]
            where[pair].add(w)
    heap = [(-count, pair) for pair, count in total.items()]
    heapq.heapify(heap)
    merges = []
    while len(merges) < n_merges and heap:
        count, pair = heapq.heappop(heap)
        if -count != total[pair]:                     # the count has changed since it was pushed
            if total[pair] > 0:
                heapq.heappush(heap, (-total[pair], pair))
            continue
        new = 256 + len(merges)
        merges.append(pair)
        touched = set()
        for w in where.pop(pair):
            old = words[w]
            ids = words[w] = replace(old, pair, new)
            if len(ids) == len(old):
                continue
            for p in zip(old, old[1:]):
                total[p] -= counts[w]
            for p in zip(ids, ids[1:]):
                total[p] += counts[w]
                if new in p:
                    where[p].add(w)
                    touched.add(p)
        for p in touched:
            heapq.heappush(heap, (-total[p], p))
        total[pair] = 0
    return merges


class Tokenizer:
    """
    pattern: str; merges: list of pairs of ids; specials: dict name -> id; n_vocab: highest id + 1;
    vocab: dict id -> bytes (a special's are its name's).
    """

    def __init__(self, merges, pattern=GPT4, specials=SPECIALS, first=range(256)):
        """specials: names, numbered after the merges, or dict name -> id; first: the bytes of ids 0-255."""
        self.merges, self.pattern, self.first = [tuple(m) for m in merges], pattern, list(first)
        if not isinstance(specials, dict):
            specials = {name: 256 + len(self.merges) + i for i, name in enumerate(specials)}
        self.specials = specials
        self.vocab = {i: bytes([b]) for i, b in enumerate(self.first)}
        for pair in self.merges:
            self.vocab[len(self.vocab)] = b"".join(self.vocab[i] for i in pair)
        self.n_vocab = max([len(self.vocab) - 1, *specials.values()]) + 1
        self._split = regex.compile(pattern).findall
        rank = {pair: 256 + i for i, pair in enumerate(self.merges)}
        self._pieces = Pieces(self.vocab, rank)
        for name, i in specials.items():
            self.vocab[i] = name.encode()
        names = sorted(specials, key=len, reverse=True)
        self._special = regex.compile("(" + "|".join(map(regex.escape, names)) + ")") if names else None

    @classmethod
    def train(cls, texts, vocab_size, pattern=GPT4, specials=SPECIALS):
        """
        texts: one string or an iterable of strings, read once; vocab_size counts bytes, merges and specials.
        The most frequent pair is joined first; among equals the smallest pair of ids, so that
        the same corpus gives the same merges everywhere. A small corpus may run out of pairs early.
        """
        n_merges = vocab_size - 256 - len(specials)
        if n_merges < 0:
            raise ValueError(f"{vocab_size=} is less than 256 bytes and {len(specials)} specials")
        split, words = regex.compile(pattern).findall, Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            words.update(split(text))
        return cls(learn(words, n_merges), pattern, specials)

    def encode(self, text, specials=False):
        """text -> list of ids. A special's name is plain text unless specials=True."""
        if specials and self._special:
            parts = self._special.split(text)           # text and names in turn
            return [i for part in parts for i in
                    ([self.specials[part]] if part in self.specials else self.encode(part))]
        try:
            return list(chain.from_iterable(map(self._pieces.__getitem__, self._split(text))))
        except UnicodeEncodeError:
            at = next(i for i, c in enumerate(text) if "\ud800" <= c <= "\udfff")
            raise ValueError(f"character {at} is the lone surrogate U+{ord(text[at]):04X}, which is no text; "
                             "read the input with errors='replace'") from None

    def decode_bytes(self, ids):
        """ids -> bytes; a special gives its name. ValueError for an id outside the vocabulary."""
        try:
            return b"".join(map(self.vocab.__getitem__, ids))
        except KeyError as e:
            raise ValueError(f"id {e} is outside the vocabulary of {self.n_vocab}") from None

    def decode(self, ids):
        """ids -> str; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def n_bytes(self, id):
        """Bytes of text that id stands for; 0 for a special."""
        return 0 if id in self.specials.values() else len(self.vocab[id])

    def _json(self):
        return json.dumps({"format": "nanochat-from-scratch bpe 1", "pattern": self.pattern, "first": self.first,
                           "merges": self.merges, "specials": self.specials}, separators=(",", ":"))

    @property
    def hash(self):
        """sha256 of the saved bytes, in hexadecimal."""
        return hashlib.sha256(self._json().encode()).hexdigest()

    def save(self, path):
        """Write path (a folder: tokenizer.json in it), all or nothing."""
        path = Path(path)
        if path.suffix != ".json":
            path.mkdir(parents=True, exist_ok=True)
            path = path / "tokenizer.json"
        part = path.with_suffix(".part")
        part.write_text(self._json(), encoding="utf-8")
        os.replace(part, path)

    @classmethod
    def load(cls, path):
        """path: what save wrote, or its folder. ValueError, in one line, for anything else."""
        path = Path(path)
        path = path / "tokenizer.json" if path.is_dir() else path
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            return cls(saved["merges"], saved["pattern"], saved["specials"], saved["first"])
        except OSError:
            raise ValueError(f"no tokenizer at {path}") from None
        except (ValueError, KeyError, TypeError, IndexError, regex.error) as e:
            raise ValueError(f"{path} is no tokenizer of ours ({type(e).__name__}: {e})") from None
