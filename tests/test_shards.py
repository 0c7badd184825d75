"""
Token shards: what was written is read back, document by document; the bytes are llm.c's, so that
published shards load; a killed run continues to the same bytes, in little memory; and every way in which
a file can be wrong is refused in one line.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bpe import shards, template
from bpe.bpe import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ["Once upon a time there was a cat.", "", "Füße, 漢字, 👩‍👩‍👧.", "The user typed <|bos|> here.", "a" * 700] * 40
TURNS = [{"role": "user", "content": "6*7?"},
         {"role": "assistant", "content": [{"type": "call", "text": "6*7"}, {"type": "result", "text": "42"}]}]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS, 320)


def jsonl(path, records):
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return str(path)


def tokenizer_at(tmp_path, tokenizer):
    tokenizer.save(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def command(tmp_path, tokenizer, train, *more, name="shards"):
    """The arguments of bpe/shards.py; train: path of a file"""
    if not (tmp_path / "valid.jsonl").exists():              # an input that was touched is another input
        jsonl(tmp_path / "valid.jsonl", [{"text": "held out"}])
    return ["--train", train, "--valid", str(tmp_path / "valid.jsonl"), "--tokenizer",
            str(tokenizer_at(tmp_path, tokenizer)), "--out", str(tmp_path / name), *more]


def make(tmp_path, tokenizer, train, *more, name="shards"):
    """Run the script; train: path of a file. The folder of shards."""
    shards.main(command(tmp_path, tokenizer, train, *more, name=name))
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
    assert len(list(one.iterdir())) > 4
    same(one, many)


def test_conversations_are_rendered_by_the_template(tmp_path, tokenizer):
    problem = {"question": "6*7?", "answer": "It is <<6*7=42>>42.\n#### 42"}
    folder = make(tmp_path, tokenizer, jsonl(tmp_path / "a.jsonl", [{"messages": TURNS}, problem]))
    ids, = shards.load(folder, "train")[0]
    first, second = documents(ids, tokenizer.specials["<|bos|>"])
    assert first == template.render(TURNS, tokenizer)[0]
    turns = [TURNS[0], {"role": "assistant", "content": template.from_gsm8k(problem["answer"])}]
    assert second == template.render(turns, tokenizer)[0]
    assert tokenizer.specials["<CALC>"] in second


def test_held_out_by_content(tmp_path, tokenizer):
    """Without --valid a document's content decides: not its file, its place, or what else its record says."""
    records = [{"text": f"text {n % 800}", "id": n} for n in range(1000)]                     # 200 come twice
    a, b = jsonl(tmp_path / "a.jsonl", records[:300]), jsonl(tmp_path / "b.jsonl", records[300:])
    found = []
    for n, files in enumerate([[a, b], [b, a]]):
        shards.main(["--train", *files, "--share", "0.2", "--tokenizer", str(tokenizer_at(tmp_path, tokenizer)),
                     "--out", str(tmp_path / f"{n}")])
        found.append([[tokenizer.decode(d[1:]) for ids in shards.load(tmp_path / f"{n}", split, tokenizer.hash)[0]
                       for d in documents(ids, tokenizer.specials["<|bos|>"])] for split in ["train", "valid"]])
    (train, valid), again = found
    assert len(train) + len(valid) == 1000 and not set(train) & set(valid)
    assert [sorted(texts) for texts in again] == [sorted(train), sorted(valid)] and again != found[0]
    assert 120 < len(set(valid)) < 200                                                       # of 800, about 160


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


def same(one, other):
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_killed_and_continued_to_the_same_bytes(tmp_path, tokenizer):
    """SIGKILL at three instants. What was whole is kept, no process is left behind, and the bytes are the same."""
    rng = np.random.default_rng(0)
    words = ["ant", "bee", "cat", "Füße", "eats", "漢字", "likes", "a", "the", "big"]
    texts = [" ".join(rng.choice(words, rng.integers(100))) for _ in range(9000)]
    source = jsonl(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    whole = make(tmp_path, tokenizer, source, "--size", "20000", name="whole")
    args = [sys.executable, "bpe/shards.py", *command(tmp_path, tokenizer, source, "--size", "20000", "--workers", "2")]
    folder, kept = tmp_path / "shards", []
    for least in [1, 8, 20]:
        process = subprocess.Popen(args, cwd=ROOT, stdout=subprocess.PIPE)
        while len(list(folder.glob("train_*.bin"))) < least and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        process.communicate(timeout=20)                      # in vain, if a worker still held the other end
        refused("unfinished", shards.load, folder, "train", tokenizer.hash)
        now = {path.name: path.stat().st_ino for path in folder.glob("*.bin")}
        assert not kept or kept[-1].items() <= now.items()   # the very files, not others of the same name
        kept.append(now)
    assert len(kept[-1]) < len(list(whole.iterdir()))
    done = subprocess.run(args, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert "continuing" in done.stdout, done.stderr
    same(whole, folder)


def test_another_request_starts_afresh(tmp_path, tokenizer, monkeypatch):
    """Stopped after two shards: another size, corpus or tokenizer must not go on from them."""
    source = jsonl(tmp_path / "a.jsonl", [{"text": f"short {n}"} for n in range(60)])
    close, calls = shards.Writer.close, []

    def stop_at_third(self):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(close(self))

    other = jsonl(tmp_path / "b.jsonl", [{"text": f"other {n}"} for n in range(60)])
    larger = Tokenizer.train(TEXTS, 330)
    requests = [(source, "70", tokenizer), (other, "60", tokenizer), (source, "60", larger)]
    for n, (path, size, using) in enumerate(requests):
        monkeypatch.setattr(shards.Writer, "close", stop_at_third)
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path, tokenizer, source, "--size", "60")
        monkeypatch.setattr(shards.Writer, "close", close)
        want = make(tmp_path, using, path, "--size", size, name=f"want {n}")
        same(want, make(tmp_path, using, path, "--size", size))


def test_a_corpus_larger_than_memory(tmp_path):
    """200 MB from a generator: the process that reads and writes grows by less than 40."""
    code = f"""
import resource, pathlib
from bpe import shards
from bpe.bpe import Tokenizer
text = ("a" * 59 + " ") * 2000
tokenizer = Tokenizer.train(text, 300)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
docs = lambda n: (("train", i, dict(text=text + str(i))) for i in range(n))
shards.write(docs(9), pathlib.Path({str(tmp_path)!r}), ["train"], tokenizer)
(pathlib.Path({str(tmp_path)!r}) / "train_000000.bin").unlink()
before = peak()
made = shards.write(docs(1700), pathlib.Path({str(tmp_path)!r}), ["train"], tokenizer, 10**6)
print(made["train"]["bytes"], peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    size, grown = map(int, done.stdout.split())
    assert size > 200e6 and grown * (1 if sys.platform == "darwin" else 1024) < 40e6, done.stderr


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
    refused("no share", make, tmp_path, tokenizer, good, "--share", "1")
    refused("has no <|bos|>", make, tmp_path, Tokenizer.train(TEXTS, 300, specials=["<|endoftext|>"]), good)
    refused("no tokenizer .*bpe/train.py", shards.main, [
        "--train", good, "--valid", good, "--tokenizer", str(tmp_path / "none"), "--out", str(tmp_path / "x")])
    (tmp_path / "empty.jsonl").write_text("")
    refused("no documents", make, tmp_path, tokenizer, str(tmp_path / "empty.jsonl"))
