"""
Token shards: what was written is read back, document by document; the bytes are llm.c's, so that
published shards load; and every way in which a file can be wrong is refused in one line.
"""

import gzip
import json

import numpy as np
import pytest

from bpe import shards, template
from bpe.bpe import Tokenizer

TEXTS = ["Once upon a time there was a cat.", "", "Füße, 漢字, 👩‍👩‍👧.", "The user typed <|bos|> here.", "a" * 700] * 40
TURNS = [{"role": "user", "content": "6*7?"},
         {"role": "assistant", "content": [{"type": "call", "text": "6*7"}, {"type": "result", "text": "42"}]}]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS, 320)


def jsonl(path, records):
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return str(path)


def make(tmp_path, tokenizer, train, *more, name="shards"):
    """Run the script; train: path of a file. The folder of shards."""
    tokenizer.save(tmp_path / "tokenizer")
    valid = jsonl(tmp_path / "valid.jsonl", [{"text": "held out"}])
    shards.main(["--train", train, "--valid", valid, "--tokenizer", str(tmp_path / "tokenizer"),
                 "--out", str(tmp_path / name), *more])
    return tmp_path / name


@pytest.fixture
def made(tmp_path, tokenizer):
    """A folder of three or more training shards."""
    return make(tmp_path, tokenizer, jsonl(tmp_path / "a.jsonl", [{"text": t} for t in TEXTS]), "--size", "800")


def documents(ids, bos):
    return [d.tolist() for d in np.split(ids, np.flatnonzero(ids == bos))[1:]]


def refused(match, call, *args):
    with pytest.raises(SystemExit, match=match) as e:
        call(*args)
    assert "\n" not in str(e.value) and any(word in str(e.value) for word in ["python ", "correct", "choose"])


def test_reads_back_what_was_written(made, tokenizer):
    found, meta = shards.load(made, "train", tokenizer.hash)
    bos = tokenizer.specials["<|bos|>"]
    assert len(found) > 2 and all(len(s) <= 800 and s[0] == bos for s in found)     # none cut in two
    assert [tokenizer.decode(d[1:]) for s in found for d in documents(s, bos)] == TEXTS
    stated = meta["splits"]["train"]
    assert stated["documents"] == len(TEXTS) and stated["tokens"] == sum(map(len, found))
    assert stated["bytes"] == sum(len(t.encode()) for t in TEXTS)                    # specials spell no text
    assert (meta["boundary"], meta["vocab_size"], meta["tokenizer"]) == (bos, tokenizer.n_vocab, tokenizer.hash)
    assert len(shards.load(made, "valid")[0]) == 1


def test_any_number_of_processes_gives_the_same_bytes(tmp_path, tokenizer):
    source = jsonl(tmp_path / "a.jsonl", [{"text": t} for t in TEXTS * 3])
    one, many = (make(tmp_path, tokenizer, source, "--workers", n, "--size", "1500", name=n) for n in "13")
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in many.iterdir()) and len(names) > 4
    assert all((one / name).read_bytes() == (many / name).read_bytes() for name in names)


def test_conversations_are_rendered_by_the_template(tmp_path, tokenizer):
    problem = {"question": "6*7?", "answer": "It is <<6*7=42>>42.\n#### 42"}
    folder = make(tmp_path, tokenizer, jsonl(tmp_path / "a.jsonl", [{"messages": TURNS}, problem]))
    ids, = shards.load(folder, "train")[0]
    first, second = documents(ids, tokenizer.specials["<|bos|>"])
    assert first == template.render(TURNS, tokenizer)[0]
    turns = [TURNS[0], {"role": "assistant", "content": template.from_gsm8k(problem["answer"])}]
    assert second == template.render(turns, tokenizer)[0]
    assert tokenizer.specials["<CALC>"] in second


def test_every_form_of_file(tmp_path, tokenizer):
    texts = ["one\n\ntwo", "three\u2028four", "five"]
    (tmp_path / "a.txt").write_text("\n<|endoftext|>\n".join(texts) + "\n<|endoftext|>\n", encoding="utf-8")
    packed = gzip.compress(open(jsonl(tmp_path / "a.jsonl", [{"text": t} for t in texts]), "rb").read())
    (tmp_path / "a.json.gz").write_bytes(packed)
    for name in ["a.txt", "a.jsonl", "a.json.gz"]:
        assert [record["text"] for _, record in shards.records(tmp_path / name)] == texts


@pytest.mark.peer
def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet
    parquet.write_table(pyarrow.table({"id": [1, 2], "text": ["one", "two"]}), tmp_path / "a.parquet")
    assert [record["text"] for _, record in shards.records(tmp_path / "a.parquet")] == ["one", "two"]


@pytest.mark.parametrize("magic, version, dtype", [(20240520, 1, "<u2"), (20240801, 7, "<u4")], ids=["gpt2", "llama3"])
def test_a_published_shard_loads(tmp_path, magic, version, dtype):
    """Bytes put together here as llm.c's dev/data/data_common.py does; no meta.json, other names."""
    ids = np.array([50256, 1, 2, 50256, 3], dtype=dtype)
    header = np.zeros(256, dtype="<i4")
    header[:3] = magic, version, len(ids)
    (tmp_path / "fineweb_train_000001.bin").write_bytes(header.tobytes() + ids.tobytes())
    (read,), meta = shards.load(tmp_path, "train", vocab_size=50257)
    assert read.dtype == dtype and read.tolist() == ids.tolist() and meta == {}
    assert isinstance(read, np.memmap) and not read.flags.writeable
    refused("holds the id 50256", lambda: shards.load(tmp_path, "train", vocab_size=50256))


def test_a_large_vocabulary_takes_four_bytes(tmp_path, tokenizer):
    specials = {name: 65_600 + i for i, name in enumerate(template.SPECIALS)}
    large = Tokenizer(tokenizer.merges, specials=specials)
    folder = make(tmp_path, large, jsonl(tmp_path / "a.jsonl", [{"text": "one"}]))
    ids, = shards.load(folder, "train", large.hash)[0]
    assert ids.dtype == np.uint32 and ids[0] == 65_600
    assert (folder / "train_000000.bin").read_bytes()[:12] == np.array([20240801, 7, len(ids)], "<i4").tobytes()


def damage(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("change, match", [
    (lambda b: b[:-1], "damaged"), (lambda b: b[:-2], "damaged"), (lambda b: b + b"\0\0", "damaged"),
    (lambda b: b[:1000], "not a token shard"), (lambda b: b"", "not a token shard"),
    (lambda b: bytes(4) + b[4:], "not a token shard"), (lambda b: b[:4] + b"\2" + b[5:], "not a token shard"),
    (lambda b: b[:8] + b"\xff\xff\xff\xff" + b[12:], "damaged"),
    (lambda b: b[:-2] + b"\xff\xff", "holds the id 65535"),
], ids=["half an id", "cut", "longer", "half a header", "empty", "magic", "version", "count", "id"])
def test_a_damaged_shard_is_refused(made, tokenizer, change, match):
    damage(made / "train_000001.bin", change)
    refused(match, shards.load, made, "train", tokenizer.hash)


def test_a_folder_that_is_not_what_it_says(made, tokenizer):
    refused("made with tokenizer", shards.load, made, "train", "0" * 64)
    refused("no shards of the split test", shards.load, made, "test", tokenizer.hash)
    (made / "train_000001.bin").write_bytes((made / "valid_000000.bin").read_bytes())   # whole, of another split
    refused("meta.json says", shards.load, made, "train", tokenizer.hash)
    (made / "train_000001.bin").unlink()
    refused("no .*train_000001.bin", shards.load, made, "train", tokenizer.hash)
    (made / "meta.json").unlink()
    refused("unfinished", shards.load, made, "train", tokenizer.hash)


def test_an_interrupted_run_is_seen_and_mended(made, tmp_path, tokenizer, monkeypatch):
    """Stopped after two shards of a smaller corpus: nothing of the earlier run passes for part of it."""
    source, save, calls = jsonl(tmp_path / "b.jsonl", [{"text": "short"}] * 50), shards.save_shard, []

    def stop_at_third(*args):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(save(*args))

    monkeypatch.setattr(shards, "save_shard", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, tokenizer, source, "--size", "60")
    refused("unfinished", shards.load, made, "train", tokenizer.hash)
    monkeypatch.setattr(shards, "save_shard", save)
    make(tmp_path, tokenizer, source, "--size", "5000")
    assert len(shards.load(made, "train", tokenizer.hash)[0]) == 1
    assert sorted(p.name for p in made.iterdir()) == ["meta.json", "train_000000.bin", "valid_000000.bin"]


@pytest.mark.parametrize("line, match", [
    ("{", "line 3 is not JSON"), ('["text"]', "line 3: not a JSON object"), ('{"txt": "a"}', r"line 3: no text.*txt"),
    ('{"messages": [{"role": "user", "content": "a"}]}', "line 3: message 0"), ('{"text": 3}', "line 3"),
    ('{"text": "\\ud800"}', "line 3: .*surrogate"), (b'{"text": "\xff"}', "line 3 is not JSON in UTF-8"),
], ids=["no json", "list", "key", "conversation", "number", "surrogate", "latin-1"])
def test_a_bad_record_is_named(tmp_path, tokenizer, line, match):
    line = line if isinstance(line, bytes) else line.encode()
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n{"text": "b"}\n' + line + b"\n")
    refused(match, make, tmp_path, tokenizer, str(tmp_path / "a.jsonl"))


def test_mistakes_on_the_command_line(tmp_path, tokenizer):
    good = jsonl(tmp_path / "a.jsonl", [{"text": "a"}])
    refused("no .*absent.jsonl", make, tmp_path, tokenizer, str(tmp_path / "absent.jsonl"))
    refused("does not fit", make, tmp_path, tokenizer, good, "--size", "3000000000")
    refused("no tokenizer .*bpe/train.py", shards.main, [
        "--train", good, "--valid", good, "--tokenizer", str(tmp_path / "none"), "--out", str(tmp_path / "x")])
    (tmp_path / "empty.jsonl").write_text("")
    refused("no documents", make, tmp_path, tokenizer, str(tmp_path / "empty.jsonl"))
