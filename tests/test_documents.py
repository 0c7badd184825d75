"""
The forms of a corpus: every one gives the same documents, and a damaged file is named in one line.
"""

import gzip
import json
import sys

import pytest

from bpe.documents import records

TEXTS = ["one\n\ntwo", "three\u2028four", "five"]
LINES = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in TEXTS).encode()
STORIES = "".join(f"{text}\n<|endoftext|>\n" for text in TEXTS).encode()


def write(path, data):
    path.write_bytes(data)
    return path


def texts(path):
    return [record["text"] for _, record in records(path)]


def refused(match, path):
    with pytest.raises(SystemExit, match=match) as e:
        texts(path)
    assert "\n" not in str(e.value) and str(path) in str(e.value) and "correct" in str(e.value)


@pytest.mark.parametrize("name, data", [
    ("a.jsonl", LINES), ("a.json", LINES), ("a.json.gz", gzip.compress(LINES)), ("a.b.jsonl.gz", gzip.compress(LINES)),
    ("a.txt", STORIES), ("a.txt.gz", gzip.compress(STORIES)), ("dos.txt", STORIES.replace(b"\n", b"\r\n")),
    ("open_ended.txt", STORIES[:-14]),
], ids=lambda v: v if isinstance(v, str) else "")
def test_every_form(tmp_path, name, data):
    assert texts(write(tmp_path / name, data)) == TEXTS


def test_places_are_named(tmp_path):
    assert [where for where, _ in records(write(tmp_path / "a.txt", STORIES))][1] == f"{tmp_path / 'a.txt'}, document 2"
    assert [where for where, _ in records(write(tmp_path / "a.json", LINES))][2] == f"{tmp_path / 'a.json'}, line 3"


@pytest.mark.parametrize("name, data, match", [
    ("a.json.gz", gzip.compress(LINES)[:-9], "to its end"), ("a.json.gz", b"garbage", "to its end"),
    ("a.json.gz", gzip.compress(LINES)[:20] + b"\xff" * 50, "to its end"),
    ("a.txt", STORIES.decode().encode("utf-16"), "line 1 is not UTF-8"), ("a.jsonl", LINES[:-9], "line 3 is not JSON"),
    ("a.jsonl", b"[1]\n", "line 1: not a JSON object"), ("a.csv", b"a,b\n", "none of"), ("corpus", LINES, "none of"),
], ids=["cut gz", "no gz", "bad gz", "utf-16", "cut json", "list", "csv", "no form"])
def test_what_cannot_be_read_is_named(tmp_path, name, data, match):
    refused(match, write(tmp_path / name, data))


def test_one_document_at_a_time(tmp_path):
    """The first documents are there before a damage further on is met: nothing is read ahead of need."""
    path = write(tmp_path / "a.jsonl", LINES * 10_000 + b"{")
    assert next(records(path))[1]["text"] == TEXTS[0]
    refused("line 30001", path)


@pytest.mark.peer
def test_zst(tmp_path):
    zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd",
                               reason="backports.zstd is not installed")
    for name, data in [("a.jsonl.zst", LINES), ("a.txt.zst", STORIES)]:
        packed = zstd.compress(data[:20]) + zstd.compress(data[20:])     # in two frames, as parallel packers write
        assert texts(write(tmp_path / name, packed)) == TEXTS
        refused("to its end", write(tmp_path / name, packed[:-3]))
        refused("to its end", write(tmp_path / name, b"garbage" + packed))


@pytest.mark.peer
def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"id": [1, 2, 3], "text": TEXTS}), path, row_group_size=2)
    assert texts(path) == TEXTS and [where for where, _ in records(path)][2] == f"{path}, row 3"
    whole = path.read_bytes()
    refused("damaged", write(path, whole[:-20]))
    refused("damaged", write(path, b"garbage"))
    parquet.write_table(pyarrow.table({"words": ["a"]}), path)
    refused("no column text", path)
