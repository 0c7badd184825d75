"""
How fast data comes: text to shards (bpe/shards.py), and shards to batches (train/windows.py, train/loader.py).

    python train/bench_data.py                      # TinyStories, over and over, to 50 MB
    python train/bench_data.py --set fiction        # novels: a document is a whole book
    python train/bench_data.py --megabytes 1        # seconds, to see that it runs

The first figure is of the whole command as a user runs it, from start-up to the last fsync; a text that comes again
is encoded a little faster, since its words are known. Batches are read from pages that the system holds in memory.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import subprocess
import tempfile
import time
from itertools import cycle
from pathlib import Path

from bpe import datasets, shards
from bpe.documents import records
from train.loader import Loader, Shards
from train.windows import DocumentOrder, RandomWindows

ROOT = Path(__file__).resolve().parent.parent


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--set", nargs="+", default=["tinystories"], help="of bpe/datasets.py, with texts [tinystories]")
    p.add_argument("--megabytes", type=float, default=50, help="MB of text [%(default)s]")
    p.add_argument("--vocab", type=int, default=4096, help="ids of the tokenizer [%(default)s]")
    p.add_argument("--workers", type=int, default=2, help="processes that encode [%(default)s]")
    p.add_argument("--rows", type=int, default=32, help="of a batch [%(default)s]")
    p.add_argument("--context", type=int, default=1024, help="tokens of a row [%(default)s]")
    p.add_argument("--seconds", type=float, default=2, help="to measure each loader for [%(default)s]")
    return p.parse_args(argv)


def corpus(files, path, size):
    """Write the documents of files to path, again and again, until they are of this size; bytes of their text."""
    texts, written = [record["text"] for file in files for _, record in records(file)], 0
    with open(path, "w", encoding="utf-8") as out:
        for text in cycle(texts):
            out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            written += len(text.encode())
            if written >= size:
                return written


def run(*command):
    """Run a script of ours quietly; the seconds it took."""
    start = time.perf_counter()
    if subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"{command[0]} failed; give --set a set whose files have texts")
    return time.perf_counter() - start


def rate(loader, seconds):
    """Tokens per second that loader.next() delivers."""
    x = loader.next()[0]                                     # the first call may sort and fault pages in
    batches, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        loader.next()
        batches += 1
    return batches * x.numel() / spent


def main(argv=None):
    args = parse(argv)
    files = [path for name in args.set for path in datasets.fetch(name).values()]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text, tokenizer, out = folder / "text.jsonl", folder / "tokenizer", folder / "shards"
        size = corpus(files, text, args.megabytes * 1e6)
        run("bpe/train.py", "--data", *files, "--vocab", args.vocab, "--pattern", "gpt4", "--out", tokenizer)
        seconds = run("bpe/shards.py", "--train", text, "--valid", files[0], "--tokenizer", tokenizer,
                      "--out", out, "--workers", args.workers)
        ids, meta = shards.load(out, "train")
        size += meta["splits"]["valid"]["bytes"]
        print(f"text to shards, {args.workers} processes: {size / 1e6:.1f} MB in {seconds:.2f} s, "
              f"{size / seconds / 1e6:.1f} MB/s")
        documents, shape = Shards(ids, meta["boundary"]), (args.rows, args.context)
        print(f"batches of {args.rows} x {args.context} tokens from {meta['splits']['train']['tokens']:,}, "
              "millions of tokens per second, one thread:")
        for name, loader in [("random windows", RandomWindows(ids, *shape)),
                             ("documents in random order", DocumentOrder(documents, *shape)),
                             ("documents as filed", DocumentOrder(documents, *shape, shuffle=False)),
                             ("packed (train/loader.py)", Loader(documents, meta["boundary"], *shape))]:
            print(f"  {name:26} {rate(loader, args.seconds) / 1e6:8.1f}", flush=True)


if __name__ == "__main__":
    main()
