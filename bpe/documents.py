"""
The documents of a corpus, one at a time: what bpe/train.py learns from and bpe/shards.py turns into ids.

    from bpe.documents import records
    for where, record in records(Path("stories.jsonl")): ...

The name of a file says how it is read:

    .jsonl .json    a document is a line: {"text"}, {"messages"} or {"question", "answer"} in GSM8K's form
    .txt            what stands between lines of <|endoftext|>
    .parquet        a row of the column `text` (needs pyarrow)

and .gz or .zst after .jsonl, .json or .txt, that it is unpacked on the way. Only the document at hand is in
memory, whatever the size of the file.
"""

import gzip
import importlib
import json
import sys
import zlib


def zstd(path):
    """Python's module for .zst, which older Pythons than 3.14 have as a package."""
    for name in ["compression.zstd", "backports.zstd"]:
        try:
            return importlib.import_module(name)
        except ImportError:
            pass
    sys.exit(f"{path} needs Python 3.14, or else: pip install backports.zstd")


def lines(path):
    """Yield the lines of a file as bytes, unpacked."""
    opened, broken = open, ()
    if path.suffix == ".gz":
        opened, broken = gzip.open, (EOFError, OSError, zlib.error)
    if path.suffix == ".zst":
        opened, broken = zstd(path).open, (EOFError, zstd(path).ZstdError)
    try:
        with opened(path, "rb") as file:
            yield from file
    except broken as e:
        sys.exit(f"{path} cannot be unpacked to its end ({e}); fetch or correct it")


def stories(path):
    """Yield the texts that lines of <|endoftext|> separate, without the white space around them."""
    held = []
    for n, line in enumerate(lines(path), 1):
        try:
            line = line.decode().replace("\r\n", "\n")
        except UnicodeDecodeError as e:
            sys.exit(f"{path}, line {n} is not UTF-8 ({e}); correct or remove it")
        if line.strip() == "<|endoftext|>":
            yield "".join(held).strip()
            held = []
        else:
            held.append(line)
    if text := "".join(held).strip():
        yield text


def column(path):
    """Yield the texts of a Parquet file."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        sys.exit(f"{path} needs pyarrow: pip install -r requirements-extra.txt")
    try:
        file = parquet.ParquetFile(path)
        if "text" not in file.schema_arrow.names:
            sys.exit(f"{path} has no column text, only {file.schema_arrow.names}; correct or remove it")
        for batch in file.iter_batches(batch_size=256, columns=["text"]):
            yield from batch["text"].to_pylist()
    except (ArrowException, OSError) as e:
        sys.exit(f"{path} is damaged, or no Parquet file ({str(e).splitlines()[0]}); fetch or correct it")


def records(path):
    """Yield (where, record) for each document of a file; where is what an error message calls it."""
    form = next((s for s in reversed(path.suffixes) if s not in (".gz", ".zst")), "")
    if form == ".txt":
        yield from ((f"{path}, document {n}", {"text": text}) for n, text in enumerate(stories(path), 1))
    elif form == ".parquet":
        yield from ((f"{path}, row {n}", {"text": text}) for n, text in enumerate(column(path), 1))
    elif form in (".jsonl", ".json"):
        for n, line in enumerate(lines(path), 1):
            try:
                record = json.loads(line)
            except ValueError as e:
                sys.exit(f"{path}, line {n} is not JSON in UTF-8 ({e}); correct or remove it")
            if not isinstance(record, dict):
                sys.exit(f"{path}, line {n}: not a JSON object; correct or remove it")
            yield f"{path}, line {n}", record
    else:
        sys.exit(f"{path} is none of .jsonl, .json, .txt (also with .gz or .zst) and .parquet; correct its name")
