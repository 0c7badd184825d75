"""
Train the tokenizer on a corpus and say what it compresses to.

    python bpe/train.py --data out/tinyworld/corpus/pretrain_train.jsonl --out out/tinyworld/tokenizer
    python bpe/train.py --data stories.txt --vocab 4096 --pattern gpt4 --out out/mine

Reads the files of bpe/documents.py, one document at a time: a corpus larger than memory works. The specials of
bpe/template.py are part of the vocabulary and never of the text: messages are learned from part by part.
Every hundredth document is held out to measure bytes per token on.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import time
from pathlib import Path

from bpe import template
from bpe.bpe import GPT2, GPT4, QWEN, Tokenizer
from bpe.documents import records
from bpe.record import write_metrics

PATTERNS = {"qwen": QWEN, "gpt4": GPT4, "gpt2": GPT2}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, nargs="+", required=True, help="files of documents, see bpe/documents.py")
    p.add_argument("--vocab", type=int, default=2048, help="ids: 256 bytes, merges, 21 specials [%(default)s]")
    p.add_argument("--pattern", choices=PATTERNS, default="qwen", help="qwen: a digit is a token [%(default)s]")
    p.add_argument("--out", type=Path, required=True, help="folder to write tokenizer.json to")
    return p.parse_args(argv)


def texts_of(record):
    """The plain texts of one record, cut where the template puts a special; ValueError if it has none."""
    if "text" in record:
        return [record["text"]]
    if "question" in record and isinstance(record["question"], str):
        return [record["question"], *(part["text"] for part in template.from_gsm8k(record["answer"]))]
    if "messages" in record:
        template.check(record["messages"], for_reply=record["messages"][-1]["role"] == "user")
        return [part["text"] for message in record["messages"]
                for part in template.parts_of(message["content"])]
    raise ValueError(f"no text, messages or question among its keys {sorted(record)}")


def texts(files, held):
    """Yield every text of the files but those of each hundredth document, which go to the list held."""
    for path in files:
        for n, (where, record) in enumerate(records(path), 1):
            try:
                found = texts_of(record)
                [text.encode() for text in found]             # raises for what is no text
            except (AttributeError, KeyError, IndexError, TypeError, ValueError) as e:
                sys.exit(f"{where}: {type(e).__name__} {e}; correct or remove it")
            if n % 100:
                yield from found
            else:
                held += found


def main(argv=None):
    args = parse(argv)
    for path in args.data:
        if not path.is_file():
            sys.exit(f"no {path}; python bpe/tinyworld.py --out {path.parent}")
    if (least := 256 + len(template.SPECIALS)) > args.vocab:
        sys.exit(f"--vocab {args.vocab} has no room for 256 bytes and the specials; choose at least {least}")
    held, start = [], time.perf_counter()
    tokenizer = Tokenizer.train(texts(args.data, held), args.vocab, PATTERNS[args.pattern])
    print(f"{len(tokenizer.merges):,} merges and {len(tokenizer.specials)} specials, a vocabulary of "
          f"{tokenizer.n_vocab:,}, in {time.perf_counter() - start:.1f} s")
    if tokenizer.n_vocab < args.vocab:
        print(f"the corpus ran out of pairs before {args.vocab:,}")
    numbers = {"vocabulary": tokenizer.n_vocab, "train_seconds": time.perf_counter() - start}
    if tokens := sum(len(tokenizer.encode(text)) for text in held):
        size = sum(len(text.encode()) for text in held)
        numbers["bytes_per_token"] = size / tokens
        print(f"{size / tokens:.3f} bytes per token on {size:,} held-out bytes; single bytes are 1.000")
    tokenizer.save(args.out)
    write_metrics(args.out, "bpe/train.py", argv, seconds=time.perf_counter() - start, numbers=numbers)
    print(f"wrote {args.out / 'tokenizer.json'}; next: python bpe/shards.py --tokenizer {args.out} "
          f"--train FILES --valid FILES --out {args.out.parent / 'shards'}")


if __name__ == "__main__":
    main()
