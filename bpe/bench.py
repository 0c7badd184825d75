"""
The speed of our tokenizer beside its peers', and its exactness on many random strings.

    python bpe/bench.py                                  # 20 MB of Python source, 8,192 entries
    python bpe/bench.py --text stories.txt               # another corpus
    python bpe/bench.py --fuzz 100000                    # ids against tiktoken's, GPT-4's ranks
    python bpe/bench.py --megabytes 1000 --peers none    # the corpus over and over: memory stays bounded

Peers run where they are installed (pip install tiktoken tokenizers rustbpe) and are named where not. Every
one gets the same documents; our encoder starts with an empty cache. Times are of the wall clock.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import hashlib
import importlib.util
import random
import shutil
import sysconfig
import tempfile
import time
import unicodedata
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from pathlib import Path

from tqdm import tqdm

from bpe import datasets
from bpe.bpe import GPT4, Tokenizer

PEERS = ("tiktoken", "tokenizers", "rustbpe")
ADDRESS = "https://openaipublic.blob.core.windows.net/"      # tiktoken's cache is named after its addresses
CACHED = {"cl100k_base.tiktoken": "encodings/", "vocab.bpe": "gpt-2/encodings/main/",
          "encoder.json": "gpt-2/encodings/main/"}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--text", type=Path, nargs="+", help="text files [Python's standard library]")
    p.add_argument("--megabytes", type=float, default=20, help="MB to train on and encode [%(default)s]")
    p.add_argument("--vocab", type=int, default=8192, help="ids, without specials [%(default)s]")
    p.add_argument("--peers", default=",".join(PEERS), help="which to run beside ours, or none [%(default)s]")
    p.add_argument("--processes", type=int, default=2, help="for the parallel encoding [%(default)s]")
    p.add_argument("--fuzz", type=int, default=0, help="random strings to compare with tiktoken [%(default)s]")
    return p.parse_args(argv)


def documents(files, megabytes):
    """Yield texts of together so many megabytes; the files over again where they are too few."""
    left = megabytes * 1e6
    for path in cycle(files):
        text = path.read_text(encoding="utf-8", errors="replace")
        yield text[:int(left)]
        left -= len(text.encode())
        if left <= 0:
            return


def timed(name, work, size):
    """Run work(), print its seconds and MB/s, return what it returns."""
    start = time.perf_counter()
    out = work()
    seconds = time.perf_counter() - start
    print(f"{name:44} {seconds:8.2f} s {size / seconds / 1e6:8.2f} MB/s", flush=True)
    return out


def bench_training(files, size, args, peers):
    """Print seconds for each trainer; returns our tokenizer."""
    def texts():
        return documents(files, args.megabytes)

    ours = timed(f"train {args.vocab:,}: ours", lambda: Tokenizer.train(texts(), args.vocab, specials=()), size)
    if "rustbpe" in peers:
        import rustbpe
        theirs = rustbpe.Tokenizer()
        timed("train: rustbpe", lambda: theirs.train_from_iterator(texts(), args.vocab, pattern=GPT4), size)
    if "tokenizers" in peers:
        from tokenizers import Regex, Tokenizer as HuggingFace, models, pre_tokenizers, trainers
        theirs = HuggingFace(models.BPE())
        theirs.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(GPT4), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        trainer = trainers.BpeTrainer(vocab_size=args.vocab, show_progress=False,
                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        timed("train: tokenizers", lambda: theirs.train_from_iterator(texts(), trainer), size)
    return ours


def bench_encoding(texts, size, ours, processes, peers):
    """Print MB/s of each encoder on the same vocabulary, and whether the ids are the same."""
    fresh = Tokenizer(ours.merges, ours.pattern, ours.specials)
    ids = timed("encode, one thread: ours", lambda: [i for text in texts for i in fresh.encode(text)], size)
    print(f"{size / len(ids):.3f} bytes per token")
    if "tiktoken" in peers:
        import tiktoken
        ranks = {ours.vocab[i]: i for i in range(256 + len(ours.merges))}
        theirs = tiktoken.Encoding("ours", pat_str=GPT4, mergeable_ranks=ranks, special_tokens={})
        check(ids, timed("encode, one thread: tiktoken",
                         lambda: [i for text in texts for i in theirs.encode_ordinary(text)], size))
    if "tokenizers" in peers:
        from tokenizers import Tokenizer as HuggingFace
        with tempfile.TemporaryDirectory() as folder:
            ours.export_hf(folder)
            theirs = HuggingFace.from_file(f"{folder}/tokenizer.json")
        check(ids, timed("encode, one thread: tokenizers",
                         lambda: [i for text in texts for i in theirs.encode(text).ids], size))
    if processes > 1:
        with ProcessPoolExecutor(processes, initializer=start, initargs=(fresh,)) as pool:
            list(pool.map(count, [""] * processes))                      # started before the clock
            timed(f"encode, {processes} processes: ours", lambda: sum(pool.map(count, texts, chunksize=16)), size)


def start(shared):
    """Give a worker process its tokenizer, once."""
    global tokenizer
    tokenizer = shared


def count(text):
    """A worker's share: how many tokens text has."""
    return len(tokenizer.encode(text))


def check(ours, theirs):
    """Say whether two lists of ids are the same."""
    if ours != theirs:
        at = next(i for i, (a, b) in enumerate(zip([*ours, None], [*theirs, None])) if a != b)
        print(f"  the ids differ, first at token {at:,}")


def bench_worst(tokenizer, n):
    """n characters of what makes a simple merge loop quadratic."""
    rng = random.Random(0)
    for name, text in [("one letter", "a" * n), ("spaces", " " * n),
                       ("random letters, no space", "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=n))),
                       ("random bytes", rng.randbytes(n).decode("latin-1"))]:
        timed(f"{n / 1e6:g} million of {name}", lambda: tokenizer.encode(text), len(text.encode()))


def tiktoken_cache(files):
    """A temporary folder in which tiktoken, under TIKTOKEN_CACHE_DIR, finds the published files."""
    cache = tempfile.TemporaryDirectory()
    for file, folder in CACHED.items():
        shutil.copy(files[file], Path(cache.name) / hashlib.sha1((ADDRESS + folder + file).encode()).hexdigest())
    return cache


def random_text(rng):
    """Up to 60 characters of all planes, with what tokenizers stumble over. Only characters that Python's
    tables know: on younger ones the Unicode tables of two libraries may disagree."""
    odd = [" ", "  ", "\n", "\r\n", "\t", "\xa0", "\u2028", "\0", "\x1c", "\x85", "'s", "'LL", "'ſ", "İ", "ß", "12345",
           "👩‍👩‍👧‍👦", "🇫🇷", "e\u0301", "<|endoftext|>", "the ", " and"]
    text = "".join(rng.choice([rng.choice(odd), chr(rng.randrange(32, 127)), chr(rng.randrange(0x80, 0xD800)),
                               chr(rng.randrange(0xE000, 0x110000))]) for _ in range(rng.randrange(60)))
    return "".join(c for c in text if unicodedata.category(c) != "Cn")


def fuzz(count):
    """Ids of random strings against tiktoken's, with GPT-4's and GPT-2's ranks; exits at the first difference."""
    import tiktoken
    files = datasets.fetch("tokenizers")
    with tiktoken_cache(files) as folder:
        os.environ["TIKTOKEN_CACHE_DIR"] = folder
        gpt4, gpt2 = tiktoken.get_encoding("cl100k_base"), tiktoken.get_encoding("gpt2")
    pairs = [(Tokenizer.from_tiktoken(files["cl100k_base.tiktoken"]), gpt4),
             (Tokenizer.from_gpt2(files["vocab.bpe"], files["encoder.json"]), gpt2)]
    rng = random.Random(0)
    for n in tqdm(range(count), desc="fuzz", unit=" strings", disable=None):
        text = random_text(rng)
        for ours, theirs in pairs:
            if ours.encode(text) != theirs.encode_ordinary(text) or ours.decode(ours.encode(text)) != text:
                sys.exit(f"string {n:,} has other ids with {theirs.name}: {text!r}")
    print(f"{count:,} random strings: the same ids as tiktoken, with GPT-4's ranks and with GPT-2's")


def main(argv=None):
    args = parse(argv)
    asked = [] if args.peers == "none" else args.peers.split(",")
    peers = [name for name in asked if importlib.util.find_spec(name)]
    if missing := set(asked) - set(peers):
        print(f"not installed, so left out: {', '.join(sorted(missing))}")
    if args.fuzz:
        if "tiktoken" not in peers:
            sys.exit("--fuzz compares with tiktoken. pip install -r requirements-test.txt")
        return fuzz(args.fuzz)
    files = args.text or sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    if gone := [path for path in files if not path.is_file()]:
        sys.exit(f"no {gone[0]}. Give --text files that exist, or leave it out")
    size = sum(len(text.encode()) for text in documents(files, args.megabytes))
    print(f"{size / 1e6:.1f} MB, {os.cpu_count()} cores")
    ours = bench_training(files, size, args, peers)
    texts = list(documents(files, min(args.megabytes, 100)))             # encoding holds them in memory
    bench_encoding(texts, sum(len(text.encode()) for text in texts), ours, args.processes, peers)
    bench_worst(ours, int(1e6 * min(args.megabytes, 1)))


if __name__ == "__main__":
    main()
