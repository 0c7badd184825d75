"""
Documents to token shards and back: llm.c's `.bin` files, which a training loop maps into memory.

    python bpe/shards.py --train stories.jsonl --valid held_out.jsonl --tokenizer out/mine --out out/mine/shards
    python bpe/shards.py --train data/*.parquet --share 0.001 --tokenizer out/mine --out out/mine/shards

A shard is 256 int32 (magic, version, number of tokens, zeros) and then the ids, uint16 where the
vocabulary fits. Every document begins with <|bos|>, none is cut in two, and their order is the
order of the files, whatever the number of processes. Without --valid, a hash of each document's
content decides whether it is held out: the same one in every order of the files, and twins together.

Nothing is held in memory but the documents under way. `meta.json` is written last: a folder without
it is unfinished, and the same command continues it after its last whole shard, to the same bytes.
The files that can be read are those of bpe/documents.py. The published shards of
github.com/karpathy/llm.c load as they are.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bpe.bpe import Tokenizer
from bpe.documents import records
from bpe.parallel import encoded

HEADER = 256                                                 # int32 values
FORMS = {(20240520, 1): np.uint16, (20240801, 7): np.uint32}  # (magic, version): GPT-2's, Llama 3's
REMEDY = "python bpe/shards.py --train FILES --valid FILES --tokenizer DIR --out"


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--train", type=Path, nargs="+", required=True, help="files of training documents")
    p.add_argument("--valid", type=Path, nargs="+", default=[], help="files of validation documents")
    p.add_argument("--share", type=float, default=0.01, help="held out where there is no --valid [%(default)s]")
    p.add_argument("--primer", type=Path, nargs="+", default=[], help="files to be trained on first, if any")
    p.add_argument("--tokenizer", type=Path, required=True, help="folder of tokenizer.json")
    p.add_argument("--out", type=Path, required=True, help="folder to write to")
    p.add_argument("--size", type=int, default=100_000_000, help="tokens in a shard, at most [%(default)s]")
    p.add_argument("--workers", type=int, default=min(8, os.cpu_count()), help="processes [%(default)s]")
    return p.parse_args(argv)


# ---------------------------------------------------------------------------------------------------
# Ids to shards


def save(path, data):
    """Write bytes so that a kill at any instant leaves the old file or the new one, whole."""
    part = path.with_name(path.name + ".tmp")
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


class Writer:
    """
    The shards of one split, after those that an earlier attempt has finished. Documents go to a .tmp file,
    which gets its name when the next would not fit. size: tokens in a shard, at most; a longer document has
    one to itself. `bytes` are of the text that the tokens spell (specials spell none), `digest` is of all ids
    as uint32.
    """

    def __init__(self, folder, split, tokenizer, size):
        self.folder, self.split, self.size = folder, split, size
        self.boundary = tokenizer.specials["<|bos|>"]
        self.n_bytes = np.array([tokenizer.n_bytes(i) for i in range(tokenizer.n_vocab)])
        self.form = (20240520, 1) if tokenizer.n_vocab <= 2**16 else (20240801, 7)
        self.shards = self.documents = self.tokens = self.bytes = self.held = 0
        self.file, self.digest = None, hashlib.sha256()
        while self.path.exists():
            for ids in np.array_split(found := read(self.path), len(found) // 2**20 + 1):
                self.count(ids)
            self.shards += 1

    @property
    def path(self):
        return self.folder / f"{self.split}_{self.shards:06d}.bin"

    def count(self, ids):
        self.documents += int((ids == self.boundary).sum())
        self.tokens += len(ids)
        self.bytes += int(self.n_bytes[ids].sum())
        self.digest.update(ids.astype("<u4"))

    def append(self, ids):
        """ids: (n,), one document"""
        if self.held and self.held + len(ids) > self.size:
            self.close()
        if not self.file:
            self.file = open(self.path.with_suffix(".tmp"), "wb")
            self.file.write(bytes(4 * HEADER))               # filled in when the number of tokens is known
        self.file.write(ids.astype(np.dtype(FORMS[self.form]).newbyteorder("<")).tobytes())
        self.held += len(ids)
        self.count(ids)

    def close(self):
        """Finish the shard at hand, if there is one."""
        if not self.file:
            return
        self.file.seek(0)
        self.file.write(np.array([*self.form, self.held], dtype="<i4").tobytes())
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        os.replace(self.path.with_suffix(".tmp"), self.path)
        self.file, self.held, self.shards = None, 0, self.shards + 1

    def meta(self):
        return {"shards": self.shards, "documents": self.documents, "tokens": self.tokens, "bytes": self.bytes,
                "sha256": self.digest.hexdigest()}


def write(docs, folder, splits, tokenizer, size=100_000_000, workers=2):
    """
    Write the shards of these splits, after those that are there, and return what meta.json says of each.
    docs: iterable of (split, where, record), see bpe/documents.py, from the first one on, in any case
    """
    writers = {split: Writer(folder, split, tokenizer, size) for split in splits}
    left = {split: writer.documents for split, writer in writers.items()}
    if any(left.values()):
        print(f"continuing {folder} after {sum(w.shards for w in writers.values())} shards")

    def missing():
        for doc in docs:
            if left[doc[0]]:
                left[doc[0]] -= 1                            # an earlier attempt has written it
            else:
                yield doc

    for split, ids in tqdm(encoded(missing(), tokenizer, workers), unit=" documents", disable=None):
        writers[split].append(ids)
    for split, writer in writers.items():
        if not writer.documents:
            sys.exit(f"no documents for the split {split}; {REMEDY} {folder}")
        writer.close()
    return {split: writer.meta() for split, writer in writers.items()}


# ---------------------------------------------------------------------------------------------------
# Shards to ids


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


# ---------------------------------------------------------------------------------------------------


def prepare(folder, request):
    """Clear the folder, unless it holds an unfinished attempt at the same request: that is continued."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").unlink(missing_ok=True)           # from here on, unfinished
    asked = folder / "unfinished.json"
    if not asked.exists() or json.loads(asked.read_text()) != request:
        asked.unlink(missing_ok=True)
        for old in folder.glob("*_*.bin"):
            old.unlink()
        save(asked, json.dumps(request).encode())
    for old in folder.glob("*.tmp"):
        old.unlink()


def held_out(record, share):
    """Whether this content, wherever it occurs, is in the validation split."""
    content = record.get("text") or record.get("messages") or record.get("question")
    return zlib.crc32(json.dumps(content, sort_keys=True).encode()) < share * 2**32


def documents(files, share):
    """Yield (split, where, record) of all files; share: of the training files' documents that are held out."""
    for split, paths in files.items():
        for path in paths:
            for where, record in records(path):
                out = share and split == "train" and held_out(record, share)
                yield "valid" if out else split, where, record


def main(argv=None):
    args = parse(argv)
    files = {"train": args.train, "valid": args.valid, "primer": args.primer}
    for path in sum(files.values(), []):
        if not path.is_file():
            sys.exit(f"no {path}; python bpe/tinyworld.py --out {path.parent}")
    if not 0 < args.size < 2**31:
        sys.exit(f"--size {args.size} does not fit the header; choose between 1 and {2**31 - 1}")
    if not 0 < args.share < 1:
        sys.exit(f"--share {args.share} is no share; choose one between 0 and 1, such as 0.01")
    try:
        tokenizer = Tokenizer.load(args.tokenizer)
    except ValueError as e:
        sys.exit(str(e))
    if "<|bos|>" not in tokenizer.specials:
        sys.exit(f"{args.tokenizer} has no <|bos|> to begin a document with; make one with python bpe/train.py")
    share = 0 if args.valid else args.share
    state = {split: [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
             for split, paths in files.items()}
    prepare(args.out, {"tokenizer": tokenizer.hash, "size": args.size, "share": share, "files": state})
    splits = [split for split in files if files[split] or split == "valid"]
    made = write(documents(files, share), args.out, splits, tokenizer, args.size, args.workers)
    meta = {"tokenizer": tokenizer.hash, "vocab_size": tokenizer.n_vocab,
            "boundary": tokenizer.specials["<|bos|>"], "splits": {}}
    for split, entry in made.items():
        sources = files[split] or args.train
        meta["splits"][split] = entry | {"source": [path.name for path in sources]}
        print(f"{split}: {entry['documents']:,} documents, {entry['tokens']:,} tokens of "
              f"{entry['bytes'] / entry['tokens']:.2f} bytes, {entry['shards']} shards")
    save(args.out / "meta.json", json.dumps(meta, indent=1).encode())
    (args.out / "unfinished.json").unlink()
    print(f"wrote {args.out}; next: python train/train.py --data {args.out}")


if __name__ == "__main__":
    main()
