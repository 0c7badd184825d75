"""
The speed of our tokenizer beside its peers', and its exactness on many random strings.

    python bpe/bench.py                                  # 20 MB of Python source, 8,192 entries
    python bpe/bench.py --text stories.txt               # another corpus
    python bpe/bench.py --fuzz 100000                    # ids against tiktoken's, GPT-4's and GPT-2's ranks
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
import string
import sysconfig
import tempfile
import time
import unicodedata
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bpe import datasets
from bpe.bpe import GPT4, Tokenizer
from bpe.record import peak_memory_bytes, write_metrics

PEERS = ("tiktoken", "tokenizers", "rustbpe")
ADDRESS = "https://openaipublic.blob.core.windows.net/"      # tiktoken's cache is named after its addresses
CACHED = {"cl100k_base.tiktoken": "encodings/", "vocab.bpe": "gpt-2/encodings/main/",
          "encoder.json": "gpt-2/encodings/main/"}
PIECE = 1 << 18                                              # characters that a process takes at a time
WORST = {                                                    # n characters that a simple merge loop takes n² for
    "one letter": lambda n: "a" * n,
    "spaces": lambda n: " " * n,
    "random letters": lambda n: "".join(random.Random(0).choices(string.ascii_lowercase, k=n)),
    "random bytes": lambda n: random.Random(0).randbytes(n).decode("latin-1")}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--text", type=Path, nargs="+", help="text files [the source in Python's library folder]")
    p.add_argument("--megabytes", type=float, default=20, help="MB to train on and encode [%(default)s]")
    p.add_argument("--vocab", type=int, default=8192, help="ids, without specials [%(default)s]")
    p.add_argument("--peers", default=",".join(PEERS), help="which to run beside ours, or none [%(default)s]")
    p.add_argument("--processes", type=int, default=2, help="for the parallel encoding [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/bpe/bench"), help="folder for metrics.json [%(default)s]")
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


def timed(label, work, size):
    """Run work(), print its seconds and MB/s; returns (what it returns, seconds)."""
    start = time.perf_counter()
    out = work()
    seconds = time.perf_counter() - start
    print(f"{label:44} {seconds:8.2f} s {size / seconds / 1e6:8.2f} MB/s", flush=True)
    return out, seconds


def bench_training(files, size, args, peers):
    """Every trainer on the same documents; returns our tokenizer and {who: seconds}."""
    def texts():
        return documents(files, args.megabytes)

    seconds = {}
    ours, seconds["ours"] = timed(f"train {args.vocab:,}: ours",
                                  lambda: Tokenizer.train(texts(), args.vocab, specials=()), size)
    print(f"peak memory {peak_memory_bytes() / 1e6:,.0f} MB")
    if "rustbpe" in peers:
        import rustbpe
        theirs = rustbpe.Tokenizer()
        _, seconds["rustbpe"] = timed("train: rustbpe", lambda: theirs.train_from_iterator(
            texts(), args.vocab, pattern=GPT4), size)
    if "tokenizers" in peers:
        from tokenizers import Regex, Tokenizer as HuggingFace, models, pre_tokenizers, trainers
        theirs = HuggingFace(models.BPE())
        theirs.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(GPT4), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        trainer = trainers.BpeTrainer(vocab_size=args.vocab, show_progress=False,
                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        _, seconds["tokenizers"] = timed("train: tokenizers", lambda: theirs.train_from_iterator(
            texts(), trainer), size)
    return ours, seconds


def bench_encoding(texts, size, ours, peers):
    """Every encoder with the same vocabulary, and whether the ids are the same; returns {who: seconds}."""
    fresh, seconds = copy(ours), {}
    ids, seconds["ours"] = timed("encode, one thread: ours", lambda: [i for text in texts for i in fresh.encode(text)],
                                 size)
    print(f"{size / len(ids):.3f} bytes per token")
    if "tiktoken" in peers:
        import tiktoken
        ranks = {ours.vocab[i]: i for i in range(256 + len(ours.merges))}
        theirs = tiktoken.Encoding("ours", pat_str=GPT4, mergeable_ranks=ranks, special_tokens={})
        got, seconds["tiktoken"] = timed("encode, one thread: tiktoken", lambda: [
            i for text in texts for i in theirs.encode_ordinary(text)], size)
        check(ids, got)
    if "tokenizers" in peers:
        from tokenizers import Tokenizer as HuggingFace
        with tempfile.TemporaryDirectory() as folder:
            ours.export_hf(folder)
            theirs = HuggingFace.from_file(f"{folder}/tokenizer.json")
        got, seconds["tokenizers"] = timed("encode, one thread: tokenizers", lambda: [
            i for text in texts for i in theirs.encode(text).ids], size)
        check(ids, got)
    return seconds


def bench_processes(texts, size, ours, processes):
    """The same text in pieces, shared by some processes that send the ids back; returns seconds."""
    text = "".join(texts)
    pieces = [text[i:i + PIECE] for i in range(0, len(text), PIECE)]
    with ProcessPoolExecutor(processes, initializer=start, initargs=(copy(ours),)) as pool:
        list(pool.map(encode, [""] * processes))                         # started before the clock
        _, seconds = timed(f"encode, {processes} processes: ours", lambda: list(pool.map(encode, pieces)), size)
    return seconds


def ratios(work, seconds):
    """How many times each peer's speed ours is, for metrics.json."""
    return {f"{work}_speed_over_{who}": s / seconds["ours"] for who, s in seconds.items() if who != "ours"}


def copy(tokenizer):
    """The same tokenizer with an empty cache."""
    return Tokenizer(tokenizer.merges, tokenizer.pattern, tokenizer.specials)


def start(shared):
    """Give a worker process its tokenizer, once."""
    global tokenizer
    tokenizer = shared


def encode(text):
    """A worker's share."""
    return np.array(tokenizer.encode(text), dtype=np.uint32)


def check(ours, theirs):
    """Say whether two lists of ids are the same."""
    if ours != theirs:
        at = next(i for i, (a, b) in enumerate(zip([*ours, None], [*theirs, None])) if a != b)
        print(f"  the ids differ, first at token {at:,}")


def bench_worst(tokenizer, n):
    """Seconds for n, 2 n and 4 n characters; returns the largest growth, time a character at 4 n over that at n."""
    growth = []
    for name, make in WORST.items():
        seconds = []
        for text in (make(n), make(2 * n), make(4 * n)):
            fresh, begin = copy(tokenizer), time.perf_counter()
            fresh.encode(text)
            seconds.append(time.perf_counter() - begin)
        growth.append(seconds[2] / seconds[0] / 4)
        print(f"{n / 1e6:g}, {2 * n / 1e6:g} and {4 * n / 1e6:g} million of {name:24}"
              + "".join(f"{s:8.2f} s" for s in seconds), flush=True)
    print(f"time a character grows at most {max(growth):.2f} times: 1 is linear, 4 would be quadratic")
    return max(growth)


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
    begin = time.perf_counter()
    ours, training = bench_training(files, size, args, peers)
    numbers = {"train_seconds": training["ours"], "train_peak_memory_bytes": peak_memory_bytes(),
               **ratios("train", training)}
    texts = list(documents(files, min(args.megabytes, 100)))             # encoding holds them in memory
    size = sum(len(text.encode()) for text in texts)
    encoding = bench_encoding(texts, size, ours, peers)
    numbers |= {"encode_megabytes_per_second": size / encoding["ours"] / 1e6, **ratios("encode", encoding)}
    if args.processes > 1:
        numbers["speedup_by_processes"] = encoding["ours"] / bench_processes(texts, size, ours, args.processes)
    numbers["worst_growth"] = bench_worst(ours, int(1e6 * min(args.megabytes, 1)))
    write_metrics(args.out, "bpe/bench.py", argv, seconds=time.perf_counter() - begin, numbers=numbers)
    print(f"wrote {args.out / 'metrics.json'}; next: python bpe/compression.py")


if __name__ == "__main__":
    main()
