"""
The tokenizer: text to ids and back, exact for GPT-2's and GPT-4's published ranks.

    from bpe.bpe import Tokenizer, QWEN
    tokenizer = Tokenizer.train(texts, vocab_size=2048, pattern=QWEN)
    tokenizer.decode(tokenizer.encode("Hello, world")) == "Hello, world"

A text is cut into pre-tokens by a pattern (pattern.py); the bytes of each are joined pair by pair,
the earliest learned pair first (merges.py). Ids 0-255 are the bytes, 256 + i is what merge i makes,
then come the specials, which plain text never gives. What it adds to basic.py: the pattern, the
specials, speed, files. Radford et al. 2019, section 2.2: https://openai.com/research/better-language-models
"""

import base64, functools, hashlib, json, os
from collections import Counter
from itertools import chain
from pathlib import Path

import regex

from bpe.merges import apply, learn
from bpe.pattern import GPT2, GPT4, QWEN, splitter  # noqa: F401 (others import them from here)
from bpe.template import JINJA, SPECIALS

CACHED = 1 << 20  # pre-tokens of up to SHORT characters that are remembered: under 300 MB
SHORT = 64


class Pieces(dict):
    """Pre-token -> its ids. What is not there yet is worked out, and remembered."""

    def __init__(self, vocab, rank):
        self.byte = {token[0]: i for i, token in vocab.items() if len(token) == 1}
        self.rank = rank
        super().__init__((token.decode(), [i]) for i, token in vocab.items() if is_text(token))
        self.limit = len(self) + CACHED

    def __missing__(self, piece):
        ids = apply([self.byte[b] for b in piece.encode()], self.rank)
        if len(piece) <= SHORT and len(self) < self.limit:
            self[piece] = ids
        return ids


def is_text(token):
    """Whether bytes are whole UTF-8 characters."""
    return token.decode(errors="ignore").encode() == token


class Tokenizer:
    """
    n_vocab: the highest id + 1;  vocab: dict id -> bytes, a special's are its name's;
    merges: list of pairs of ids;  specials: dict name -> id;  pattern: str;
    hash: sha256 of what save() writes, in hexadecimal
    """

    def __init__(self, merges, pattern=GPT4, specials=SPECIALS, first=range(256)):
        """specials: names, numbered after the merges, or dict name -> id; first: the bytes of ids 0-255"""
        self.merges, self.pattern, self.first = [tuple(parts) for parts in merges], pattern, list(first)
        n = 256 + len(self.merges)
        numbered = {name: n + i for i, name in enumerate(specials)}
        self.specials = dict(specials) if isinstance(specials, dict) else numbered
        own = set(self.specials.values())
        if sorted(self.first) != list(range(256)) or len(own) < len(self.specials):
            raise ValueError("an id or a byte stands twice")
        if not all(n <= i < n + (1 << 20) for i in own):
            raise ValueError(f"the specials' ids must follow the merges', from {n} on")
        self.vocab = {i: bytes([byte]) for i, byte in enumerate(self.first)}
        for i, parts in enumerate(self.merges):
            self.vocab[256 + i] = b"".join(self.vocab[part] for part in parts)
        self._split = splitter(pattern)
        self._pieces = Pieces(self.vocab, {parts: 256 + i for i, parts in enumerate(self.merges)})
        self.n_vocab = max(own, default=n - 1) + 1
        self.vocab.update((i, b"") for i in range(n, self.n_vocab))      # GPT-4's ids have gaps
        self.vocab.update((i, name.encode()) for name, i in self.specials.items())

    def __reduce__(self):                                                # what a worker process is sent
        return Tokenizer, (self.merges, self.pattern, self.specials, self.first)

    @classmethod
    def train(cls, texts, vocab_size, pattern=GPT4, specials=SPECIALS):
        """
        texts: a string, or an iterable of strings, read once and never held together;
        vocab_size counts bytes, merges and specials; a small corpus may run out of pairs before.
        Deterministic: of the most frequent pairs the smallest is merged, see merges.learn.
        """
        n_merges = vocab_size - 256 - len(specials)
        if n_merges < 0:
            raise ValueError(f"{vocab_size=} is less than 256 bytes and {len(specials)} specials")
        split, words = splitter(pattern), Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            for pieces in split(text):
                words.update(pieces)
        return cls(learn(words, n_merges), pattern, specials)

    def encode(self, text, specials=False):
        """text -> list of ids. A special's name is plain text, unless specials=True."""
        special = self.specials if specials else {}
        ids = []
        try:
            for part in self._names.split(text) if special else [text]:
                if part in special:
                    ids.append(special[part])
                else:
                    for pieces in self._split(part):
                        ids += chain.from_iterable(map(self._pieces.__getitem__, pieces))
            return ids
        except UnicodeEncodeError:
            at = regex.search(r"[\ud800-\udfff]", text).start()
            raise ValueError(f"character {at} is the lone surrogate U+{ord(text[at]):04X}, which is no "
                             "text; read the file with errors='replace'") from None

    @functools.cached_property
    def _names(self):
        names = sorted(self.specials, key=len, reverse=True)             # a name may begin with another
        return regex.compile(f"({'|'.join(map(regex.escape, names))})")

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
        """How many bytes of text an id stands for: 0 for a special."""
        return len(self.decode_bytes([id])) if id not in self.specials.values() else 0

    def _saved(self):
        return json.dumps({"format": "bpe 1", "pattern": self.pattern, "specials": self.specials,
                           "first": self.first, "merges": self.merges}, separators=(",", ":")).encode()

    @functools.cached_property
    def hash(self):
        return hashlib.sha256(self._saved()).hexdigest()

    def save(self, path):
        """Write path, or tokenizer.json in the folder path, whole or not at all."""
        path = Path(path)
        path = path if path.suffix == ".json" else path / "tokenizer.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(self._saved())
        os.replace(part, path)

    @classmethod
    def load(cls, path):
        """What save() wrote, or its folder. ValueError, one line, for anything else."""
        path = Path(path)
        path = path / "tokenizer.json" if path.is_dir() else path
        if not path.is_file():
            raise ValueError(f"no tokenizer {path}. Train one with "
                             f"python bpe/train.py --data FILE --out {path.parent}")
        try:
            saved = json.loads(path.read_bytes())
            if saved["format"] != "bpe 1":
                raise ValueError(f"format {saved['format']!r}")
            return cls(saved["merges"], saved["pattern"], saved["specials"], saved["first"])
        except (ValueError, KeyError, TypeError, AttributeError, regex.error) as e:
            reason = f"{type(e).__name__}: {e}".splitlines()[0]
            raise ValueError(f"{path} is damaged or no tokenizer of ours ({reason})") from None

    @classmethod
    def from_tiktoken(cls, path, pattern=GPT4, specials=()):
        """
        tiktoken's ranks, one line "base64 rank" for each token, as merges: the two parts of a token
        are what all earlier merges leave of its bytes. https://github.com/openai/tiktoken
        """
        lines = [line.split() for line in Path(path).read_bytes().splitlines() if line]
        tokens = [base64.b64decode(token) for token, _ in lines]
        ordered = [int(rank) for _, rank in lines] == list(range(len(lines)))
        if not ordered or {len(token) for token in tokens[:256]} != {1}:
            raise ValueError(f"{path}: ranks must be 0, 1, 2 … and begin with the 256 bytes")
        byte, rank = {token[0]: i for i, token in enumerate(tokens[:256])}, {}
        for i, token in enumerate(tokens[256:], 256):
            rank[tuple(apply([byte[b] for b in token], rank))] = i
        return cls(rank, pattern, specials, [token[0] for token in tokens[:256]])

    @classmethod
    def from_gpt2(cls, vocab_bpe, encoder_json):
        """GPT-2's two files: merges in the order learned, ids by token. https://github.com/openai/gpt-2"""
        ids = json.loads(Path(encoder_json).read_text(encoding="utf-8"))
        byte = {c: b for b, c in enumerate(printable())}
        first = [byte[token] for token, i in sorted(ids.items(), key=lambda item: item[1])[:256]]
        pairs = [line.split() for line in Path(vocab_bpe).read_text(encoding="utf-8").splitlines()[1:] if line]
        if [ids[a + b] for a, b in pairs] != list(range(256, 256 + len(pairs))):
            raise ValueError(f"{encoder_json}: the ids must follow the merges of {vocab_bpe}, from 256 on")
        merges = [(ids[a], ids[b]) for a, b in pairs]
        return cls(merges, GPT2, {"<|endoftext|>": ids["<|endoftext|>"]}, first)

    def export_hf(self, folder):
        """tokenizer.json and tokenizer_config.json for Hugging Face's tokenizers and transformers."""
        letter = printable()
        name = ["".join(letter[b] for b in self.vocab[i]) for i in range(256 + len(self.merges))]
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        split = {"type": "Split", "pattern": {"Regex": self.pattern}, "behavior": "Isolated", "invert": False}
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        tokenizer = {
            "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
            "added_tokens": [{"id": i, "content": s, **flags} for s, i in self.specials.items()],
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
            "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "ignore_merges": True, "vocab": {token: i for i, token in enumerate(name)} | self.specials,
                      "merges": [[name[i] for i in parts] for parts in self.merges if len(parts) == 2]}}
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        if set(SPECIALS) <= set(self.specials):
            config |= {"bos_token": "<|bos|>", "eos_token": "<|end|>", "pad_token": "<|pad|>",
                       "chat_template": JINJA}
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in [("tokenizer.json", tokenizer), ("tokenizer_config.json", config)]:
            (folder / file).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def printable():
    """GPT-2's one visible character for each byte: itself where it has a shape, else from U+0100 on."""
    shown = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = iter(range(256, 512))
    return [chr(b if b in shown else next(hidden)) for b in range(256)]
