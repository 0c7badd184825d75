"""
Documents to token shards and back: llm.c's `.bin` files, which a training loop maps into memory.

    python bpe/shards.py --train stories.jsonl --valid held_out.jsonl --tokenizer out/tinyworld/tokenizer --out shards

A shard is 256 int32 (magic, version, number of tokens, zeros) and then the ids, uint16 where the
vocabulary fits. Every document begins with <|bos|>, none is cut in two, and their order is the
order of the files, whatever the number of processes. `meta.json` is written last: a folder
without it is unfinished. The published shards of github.com/karpathy/llm.c load as they are.

Documents: .jsonl (also .json.gz, .jsonl.gz) with {"text"}, {"messages"} or {"question", "answer"}
in GSM8K's form; .parquet with a column `text` (needs pyarrow); .txt with <|endoftext|> on a line
of its own between documents.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import gzip
import hashlib
import json
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bpe import template
from bpe.bpe import Tokenizer

HEADER = 256                                                 # int32 values
FORMS = {(20240520, 1): np.uint16, (20240801, 7): np.uint32}  # (magic, version) of GPT-2's, of Llama 3's
REMEDY = "python bpe/shards.py --train FILES --valid FILES --tokenizer DIR --out"
BATCH = 64                                                   # documents that a process takes at a time


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--train", type=Path, nargs="+", required=True, help="files of training documents")
    p.add_argument("--valid", type=Path, nargs="+", required=True, help="files of validation documents")
    p.add_argument("--primer", type=Path, nargs="+", default=[], help="files to be trained on first, if any")
    p.add_argument("--tokenizer", type=Path, required=True, help="folder of tokenizer.json")
    p.add_argument("--out", type=Path, required=True, help="folder to write to")
    p.add_argument("--size", type=int, default=100_000_000, help="tokens in a shard, at most [%(default)s]")
    p.add_argument("--workers", type=int, default=min(8, os.cpu_count()), help="processes [%(default)s]")
    return p.parse_args(argv)


def records(path):
    """Yield (where, record) for each document of a file; where is what an error message calls it."""
    if path.suffix == ".txt":
        yield from ((f"{path}, document {n}", {"text": text}) for n, text in enumerate(stories(path), 1))
    elif path.suffix == ".parquet":
        try:
            from pyarrow import parquet
        except ImportError:
            sys.exit(f"{path} needs pyarrow: pip install -r requirements-extra.txt")
        for batch in parquet.ParquetFile(path).iter_batches(columns=["text"]):
            yield from ((f"{path}", {"text": text}) for text in batch["text"].to_pylist())
    else:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as lines:
            for n, line in enumerate(lines, 1):
                try:
                    yield f"{path}, line {n}", json.loads(line)
                except ValueError as e:
                    sys.exit(f"{path}, line {n} is not JSON in UTF-8 ({e}); correct or remove it")


def stories(path):
    """Yield the texts that lines of <|endoftext|> separate, without the white space around them."""
    lines = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip() == "<|endoftext|>":
                yield "".join(lines).strip()
                lines = []
            else:
                lines.append(line)
    if text := "".join(lines).strip():
        yield text


def document(record, tokenizer):
    """One record's ids, <|bos|> first; ValueError if it is none of the three forms."""
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    if "messages" in record:
        return template.render(record["messages"], tokenizer)[0]
    if "question" in record:
        answer = template.from_gsm8k(record["answer"])
        turns = [{"role": "user", "content": record["question"]}, {"role": "assistant", "content": answer}]
        return template.render(turns, tokenizer)[0]
    if "text" in record:
        return [tokenizer.specials["<|bos|>"]] + tokenizer.encode(record["text"])
    raise ValueError(f"no text, messages or question among its keys {sorted(record)}")


def start(shared):
    """Give a worker process its tokenizer, once."""
    global tokenizer
    tokenizer = shared


def encode(batch):
    """A worker's share: the ids of each (where, record), or the message of the first that is bad."""
    out = []
    for where, record in batch:
        try:
            out.append(np.array(document(record, tokenizer), dtype=np.uint32))
        except (KeyError, TypeError, ValueError) as e:
            return f"{where}: {e}"
    return out


def encoded(docs, tokenizer, workers):
    """Yield the ids of each document, in order; a few batches are under way, the rest is not yet read."""
    def finish(future):
        if isinstance(out := future.result(), str):
            sys.exit(f"{out}; correct or remove it")
        return out

    docs, waiting = iter(docs), deque()
    with ProcessPoolExecutor(workers, initializer=start, initargs=(tokenizer,)) as pool:
        while batch := list(islice(docs, BATCH)):
            waiting.append(pool.submit(encode, batch))
            if len(waiting) > 4 * workers:
                yield from finish(waiting.popleft())
        while waiting:
            yield from finish(waiting.popleft())


def save(path, data):
    """Write bytes so that a kill at any instant leaves the old file or the new one, whole."""
    part = path.with_name(path.name + ".tmp")
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def save_shard(path, ids, dtype):
    """ids: list of (n,) arrays, one a document."""
    ids = np.concatenate(ids).astype(dtype)                  # (N,)
    (magic, version), = [key for key, value in FORMS.items() if value == dtype]
    header = np.zeros(HEADER, dtype="<i4")
    header[:3] = magic, version, len(ids)
    save(path, header.tobytes() + ids.astype(ids.dtype.newbyteorder("<")).tobytes())


def write(docs, folder, split, tokenizer, size=100_000_000, workers=2):
    """
    Write the shards of one split; holds at most one shard in memory.

    docs: iterable of (where, record), see records();  size: tokens in a shard, at most (a longer document
    has one to itself);  returns what meta.json says of the split, bytes being those of the text that the
    ordinary tokens spell (special tokens spell none).
    """
    dtype = np.uint16 if tokenizer.n_vocab <= 2**16 else np.uint32
    n_bytes = np.array([tokenizer.n_bytes(i) for i in range(tokenizer.n_vocab)])
    digest = hashlib.sha256()
    meta = {"shards": 0, "documents": 0, "tokens": 0, "bytes": 0}
    held, tokens = [], 0
    for ids in tqdm(encoded(docs, tokenizer, workers), desc=split, unit=" documents", disable=None):
        if held and tokens + len(ids) > size:
            save_shard(folder / f"{split}_{meta['shards']:06d}.bin", held, dtype)
            held, tokens, meta["shards"] = [], 0, meta["shards"] + 1
        held.append(ids)
        tokens += len(ids)
        digest.update(ids)
        meta["documents"] += 1
        meta["tokens"] += len(ids)
        meta["bytes"] += int(n_bytes[ids].sum())
    if not held:
        sys.exit(f"no documents for the split {split}; {REMEDY} {folder}")
    save_shard(folder / f"{split}_{meta['shards']:06d}.bin", held, dtype)
    return meta | {"shards": meta["shards"] + 1, "sha256": digest.hexdigest()}


def read(path, vocab_size=None):
    """The ids of one shard, (N,) uint16 or uint32, mapped read-only; exits if the file is not what it should be."""
    path = Path(path)
    again = f"make it again: {REMEDY} {path.parent}"
    if not path.exists():
        sys.exit(f"no {path}; {again}")
    header = np.fromfile(path, dtype="<i4", count=HEADER)
    if len(header) < HEADER or tuple(header[:2]) not in FORMS:
        sys.exit(f"{path} is not a token shard (its header begins {header[:2].tolist()}); {again}")
    dtype, n = np.dtype(FORMS[tuple(header[:2])]).newbyteorder("<"), int(header[2])
    have = (path.stat().st_size - 4 * HEADER) / dtype.itemsize
    if n < 1 or have != n:
        sys.exit(f"{path} is damaged: its header promises {n:,} tokens and {have:,.1f} follow; {again}")
    ids = np.memmap(path, dtype=dtype, mode="r", offset=4 * HEADER, shape=(n,))
    if vocab_size and (top := int(ids.max())) >= vocab_size:
        sys.exit(f"{path} holds the id {top}, and the vocabulary ends at {vocab_size - 1}; {again}")
    return ids


def load(folder, split, tokenizer_hash=None, vocab_size=None):
    """
    Every shard of a split, in order, and meta.json as a dict; all checks are made here, once.
    A folder of published shards has no meta.json: give vocab_size and no tokenizer_hash, and meta is empty.
    """
    folder = Path(folder)
    again = f"{REMEDY} {folder}"
    if (folder / "meta.json").exists():
        meta = json.loads((folder / "meta.json").read_text())
        names = [f"{split}_{i:06d}.bin" for i in range(meta["splits"].get(split, {"shards": 0})["shards"])]
    elif tokenizer_hash:
        sys.exit(f"no {folder}/meta.json (unfinished, or never made); {again}")
    else:
        meta, names = {}, sorted(path.name for path in folder.glob(f"*{split}_*.bin"))
    if not names:
        sys.exit(f"no shards of the split {split} in {folder}; {again}")
    if tokenizer_hash and meta["tokenizer"] != tokenizer_hash:
        sys.exit(f"{folder} was made with tokenizer {meta['tokenizer'][:12]}, not {tokenizer_hash[:12]}; {again}")
    shards = [read(folder / name, meta.get("vocab_size", vocab_size)) for name in names]
    found, stated = sum(map(len, shards)), meta and meta["splits"][split]["tokens"]
    if meta and found != stated:
        sys.exit(f"{folder} holds {found:,} tokens of {split}, its meta.json says {stated:,}; {again}")
    return shards, meta


def main(argv=None):
    args = parse(argv)
    for path in args.train + args.valid + args.primer:
        if not path.is_file():
            sys.exit(f"no {path}; python bpe/tinyworld.py --out {path.parent}")
    if not 0 < args.size < 2**31:
        sys.exit(f"--size {args.size} does not fit the header; choose between 1 and {2**31 - 1}")
    try:
        tokenizer = Tokenizer.load(args.tokenizer)
    except ValueError as e:
        sys.exit(str(e))
    args.out.mkdir(parents=True, exist_ok=True)
    for old in [args.out / "meta.json", *args.out.glob("*_*.bin")]:
        old.unlink(missing_ok=True)                          # meta.json first: from here on, unfinished
    meta = {"tokenizer": tokenizer.hash, "vocab_size": tokenizer.n_vocab,
            "boundary": tokenizer.specials["<|bos|>"], "splits": {}}
    for split, files in [("train", args.train), ("valid", args.valid), ("primer", args.primer)]:
        if not files:
            continue
        docs = (item for path in files for item in records(path))
        entry = write(docs, args.out, split, tokenizer, args.size, args.workers)
        meta["splits"][split] = entry | {"source": [path.name for path in files]}
        print(f"{split}: {entry['documents']:,} documents, {entry['tokens']:,} tokens of "
              f"{entry['bytes'] / entry['tokens']:.2f} bytes, {entry['shards']} shards")
    save(args.out / "meta.json", json.dumps(meta, indent=1).encode())
    print(f"wrote {args.out}; next: python train/train.py --data {args.out}")


if __name__ == "__main__":
    main()
