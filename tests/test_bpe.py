"""
The tokenizer: the fast merges are the slow ones, every text and every byte comes back, and with the
published ranks the ids are tiktoken's and Hugging Face's.
"""

import hashlib
import json
import os
import pickle
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import regex

from bpe import basic, bench, datasets, merges, pattern, show, train
from bpe.bpe import GPT2, GPT4, QWEN, Tokenizer
from bpe.template import SPECIALS

ROOT = Path(__file__).resolve().parent.parent
TEXT = " ".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "bpe").glob("w*.py")))[:60_000]
PATTERNS = {"gpt2": GPT2, "gpt4": GPT4, "qwen": QWEN}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXT + "héllo wörld 你好 👩‍👩‍👧‍👦 " * 20, 700, QWEN)


def random_words(rng, letters="ab", count=30, length=12):
    return {"".join(rng.choices(letters, k=rng.randrange(1, length))): rng.randrange(1, 5) for _ in range(count)}


# Learning

@pytest.mark.parametrize("letters", ["a", "ab", "abcde", "aé你"])
def test_fast_merges_are_the_slow_ones(letters):
    """Few letters make runs ("aaaa") and ties, where two trainers come apart first."""
    for seed in range(40):
        words = random_words(random.Random(seed), letters)
        spread = [word for word, count in words.items() for _ in range(count)]
        assert merges.learn(words, 25) == basic.train(spread, 25)


def test_fast_merges_are_the_slow_ones_on_text():
    words = regex.findall(GPT4, TEXT[:6000])
    assert Tokenizer.train(TEXT[:6000], 256 + 100 + len(SPECIALS)).merges == basic.train(words, 100)


def test_ties_go_to_the_smallest_pair():
    """All pairs occur once; a trainer that took the first or the largest would begin elsewhere."""
    assert merges.learn({"zy": 1, "ba": 1, "ab": 1}, 3) == [(97, 98), (98, 97), (122, 121)]


def test_overlapping_pairs_count_as_in_the_paper():
    """"aaa" has the pair aa twice, and merging leaves one aa and one a."""
    assert merges.learn({"aaa": 1, "bc": 1}, 9) == [(97, 97), (98, 99), (256, 97)]


def test_an_iterator_of_documents_is_read_once_and_gives_the_same():
    documents = TEXT.split("\n\n")
    from_iterator = Tokenizer.train(iter(documents), 400)
    assert from_iterator.hash == Tokenizer.train(documents, 400).hash
    assert Tokenizer.train(iter([TEXT]), 400).hash == Tokenizer.train(TEXT, 400).hash


def test_the_same_corpus_gives_the_same_tokenizer_in_another_process():
    """Under another hash seed sets and dicts of strings come in another order."""
    code = f"from bpe.bpe import Tokenizer; print(Tokenizer.train({TEXT[:5000]!r}, 400).hash)"
    for seed in "12":
        out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True,
                             env={**os.environ, "PYTHONHASHSEED": seed})
        assert out.stdout.strip() == Tokenizer.train(TEXT[:5000], 400).hash


def test_the_size_asked_for():
    assert Tokenizer.train(TEXT, 500).n_vocab == 500
    assert Tokenizer.train("ab", 500).n_vocab == 257 + len(SPECIALS)      # it has no second pair
    with pytest.raises(ValueError, match="less than 256 bytes and 21 specials"):
        Tokenizer.train(TEXT, 270)


# Cutting

@pytest.mark.parametrize("name", PATTERNS)
def test_fast_split_is_the_pattern(name):
    """Every character that is not half a surrogate, in five neighbourhoods; and blocks cut nowhere else."""
    def split(text):
        return [piece for pieces in pattern.splitter(PATTERNS[name])(text) for piece in pieces]

    for start in range(0, 0x11000, 0x100):
        text = "".join(f" {c}a1{c}\n{c} '{c}  {c}" for c in map(chr, range(start, start + 0x100))
                       if not "\ud800" <= c <= "\udfff")
        assert split(text) == regex.findall(PATTERNS[name], text)
    long = "".join(random.Random(0).choices(["a", "b ", " ", "\n", "'s", "12", ", ", "👋"], k=200_000))
    assert split(long) == regex.findall(PATTERNS[name], long)


def test_patterns_differ_where_they_should():
    cut = {name: regex.findall(p, "I'LL pay 12345\n\n  now") for name, p in PATTERNS.items()}
    assert cut["gpt2"] == ["I", "'", "LL", " pay", " 12345", "\n\n ", " now"]
    assert cut["gpt4"] == ["I", "'LL", " pay", " ", "123", "45", "\n\n", " ", " now"]
    assert cut["qwen"] == ["I", "'LL", " pay", " ", "1", "2", "3", "4", "5", "\n\n", " ", " now"]


# There and back

def any_text(rng, length=40):
    """Letters of all planes, spaces, contractions, emoji with joiners, the names of specials."""
    planes = [lambda: chr(rng.randrange(0x20, 0x7F)), lambda: chr(rng.randrange(0x80, 0x3000)),
              lambda: chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])),
              lambda: rng.choice([" ", "  ", "\n", "\r\n", "\t", "\xa0", "\u2028", "\0", "\x1c", "\x85"]),
              lambda: rng.choice(["'s", "'LL", "'ſ", "İ", "ß", "123", "👩‍👩‍👧‍👦", "🇫🇷", "e\u0301", *SPECIALS])]
    return "".join(rng.choice(planes)() for _ in range(rng.randrange(length)))


def test_any_text_comes_back(tokenizer):
    for seed in range(500):
        text = any_text(random.Random(seed))
        for specials in (False, True):
            assert tokenizer.decode(tokenizer.encode(text, specials)) == text


def test_any_bytes_decode(tokenizer):
    """Whatever ids a model writes: decode never raises, and the bytes are exact."""
    byte = {tokenizer.vocab[i]: i for i in range(256)}
    for seed in range(200):
        rng = random.Random(seed)
        data = rng.randbytes(50)
        ids = [byte[bytes([b])] for b in data]
        assert tokenizer.decode_bytes(ids) == data
        assert tokenizer.decode(ids) == data.decode(errors="replace")
        tokenizer.decode(rng.choices(range(tokenizer.n_vocab), k=50))


def test_n_bytes_is_exact(tokenizer):
    text = TEXT[:3000] + "wörld 你 👋"
    assert sum(map(tokenizer.n_bytes, tokenizer.encode(text))) == len(text.encode())
    assert [tokenizer.n_bytes(i) for i in tokenizer.specials.values()] == [0] * len(SPECIALS)


@pytest.mark.parametrize("id", [-1, 700, 10**9])
def test_an_id_out_of_range_is_named(tokenizer, id):
    with pytest.raises(ValueError, match=f"id {id} is outside the vocabulary of 700"):
        tokenizer.decode([65, id])


def test_a_lone_surrogate_is_named(tokenizer):
    with pytest.raises(ValueError, match=r"character 3 is the lone surrogate U\+D83D"):
        tokenizer.encode("abc\ud83d")
    with pytest.raises(ValueError, match=r"character 8 is the lone surrogate U\+DE00"):
        tokenizer.encode("a<|end|>\ude00", specials=True)


def test_specials_come_from_text_only_when_asked(tokenizer):
    for name, id in tokenizer.specials.items():
        assert id not in tokenizer.encode(f"a {name} b")
        assert tokenizer.encode(f"a{name}b", specials=True) == [97, id, 98]
    assert sorted(tokenizer.specials.values()) == list(range(700 - len(SPECIALS), 700))
    nested = Tokenizer([], specials=["<a>", "<a>b"])
    assert nested.encode("<a>b<a>c", specials=True) == [257, 256, 99]
    assert Tokenizer([], specials=()).encode("<a>", specials=True) == [*b"<a>"]


# Merging

def test_applying_is_the_slow_way(tokenizer):
    """basic.encode runs every merge over the word, apply() only those that occur, apply_long() on arrays."""
    rank = {pair: 256 + i for i, pair in enumerate(tokenizer.merges)}
    for seed in range(60):
        rng = random.Random(seed)
        word = any_text(rng, 30) + "".join(rng.choices(["a", "e", "in", "the", "  "], k=rng.randrange(40)))
        want = basic.encode(word, tokenizer.merges)
        assert merges.apply(list(word.encode()), rank) == want
        assert merges.apply_long(list(word.encode()), rank) == want
        assert basic.decode(want, tokenizer.merges) == word


@pytest.mark.parametrize("unit", ["a", " ", "\n", "ab", "你", "thein"])
def test_a_long_pretoken_is_merged_as_a_short_one(tokenizer, unit, monkeypatch):
    text = unit * 1001
    fast = tokenizer.encode(text)
    monkeypatch.setattr(merges, "LONG", 10**9)
    assert fast == Tokenizer(tokenizer.merges, QWEN).encode(text)
    assert tokenizer.decode(fast) == text


def test_a_token_is_its_own_encoding(tokenizer):
    """The cache begins with the vocabulary; that is right only if every token's text gives back its id."""
    rank = {pair: 256 + i for i, pair in enumerate(tokenizer.merges)}
    for i in range(256 + len(tokenizer.merges)):
        assert merges.apply(list(tokenizer.vocab[i]), rank) == [i]


# Files

def test_load_gives_what_was_saved(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "here")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["tokenizer.json"]
    assert hashlib.sha256((tmp_path / "here" / "tokenizer.json").read_bytes()).hexdigest() == tokenizer.hash
    for path in (tmp_path / "here", tmp_path / "here" / "tokenizer.json"):
        loaded = Tokenizer.load(path)
        assert vars(loaded)["vocab"] == tokenizer.vocab and loaded.hash == tokenizer.hash
        assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
    assert pickle.loads(pickle.dumps(tokenizer)).encode(TEXT) == tokenizer.encode(TEXT)


@pytest.mark.parametrize("damage", [
    lambda saved: saved[:len(saved) // 2], lambda saved: b"", lambda saved: b"\xff" + saved, lambda saved: b"[1]",
    lambda saved: re.sub(rb'"merges":\[\[\d+', b'"merges":[[999999', saved),
    lambda saved: saved.replace(b'"first":[0,', b'"first":[7,'),
    lambda saved: saved.replace(b'"pattern":"', b'"pattern":"('),
    lambda saved: saved.replace(b'"<|bos|>":', b'"<|bos|>":-')])
def test_a_damaged_file_is_one_line(tokenizer, tmp_path, damage):
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="damaged or no tokenizer of ours") as error:
        Tokenizer.load(path)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="no tokenizer .* python bpe/train.py"):
        Tokenizer.load(tmp_path / "missing")


# Scripts

def test_train_script(tmp_path, capsys):
    records = [{"text": TEXT[i:i + 200]} for i in range(0, 40_000, 200)]
    records += [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]},
                {"question": "1+1?", "answer": "<<1+1=2>>2\n#### 2"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "b.txt").write_text("one\n<|endoftext|>\ntwo\n")
    data = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.txt")]
    train.main(["--data", *data, "--vocab", "400", "--out", str(tmp_path / "out")])
    assert Tokenizer.load(tmp_path / "out").n_vocab == 400
    said = re.search(r"([1-4]\.\d+) bytes per token on 400 held-out bytes", capsys.readouterr().out)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["script"] == "bpe/train.py" and f"{metrics['numbers']['bytes_per_token']:.3f}" == said[1]


@pytest.mark.parametrize("line", ['{"txt": "a"}', '{"text": 3}', '{"text": "\\ud800"}', "3", "{", '{"messages": []}'])
def test_train_script_names_the_bad_line(tmp_path, line):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n' + line)
    with pytest.raises(SystemExit, match="a.jsonl, line 2") as error:
        train.main(["--data", str(tmp_path / "a.jsonl"), "--out", str(tmp_path)])
    assert "\n" not in str(error.value)


def test_show(tmp_path, capsys):
    Tokenizer.train("to to to", 256 + len(SPECIALS) + 1).save(tmp_path)
    show.main(["to\n 你<|end|>", "--tokenizer", str(tmp_path), "--specials"])
    out = capsys.readouterr().out
    assert out == "[to][\\n][ ][<E4>][<BD>][<A0>][<|end|>]\n7 tokens, 14 bytes, 2.00 bytes per token\n"


def test_check_accepts_ours_and_rejects_a_wrong_tie(tmp_path):
    source = (ROOT / "bpe" / "basic.py").read_text()
    (tmp_path / "good.py").write_text(source)
    basic.main(["--check", str(tmp_path / "good.py")])
    (tmp_path / "bad.py").write_text(source.replace("(-counts[pair], pair)", "(-counts[pair], pair[1], pair[0])"))
    with pytest.raises(SystemExit, match="train"):
        basic.main(["--check", str(tmp_path / "bad.py")])


def test_bench_runs_without_peers(tmp_path, capsys):
    bench.main(["--megabytes", "0.05", "--vocab", "400", "--peers", "none", "--processes", "1", "--out", str(tmp_path)])
    assert "MB/s" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "metrics.json").read_text())["numbers"]
    assert numbers["encode_megabytes_per_second"] > 0.1 and numbers["train_peak_memory_bytes"] > 1e7


def test_worst_cases_stay_linear():
    """A merge loop that looks at the whole word for each merge would take 4 times longer a character at 4 times
    the length; the bound leaves room for a busy machine."""
    trained = Tokenizer.train(TEXT, 400, specials=())
    assert min(bench.bench_worst(trained, 20_000) for _ in range(2)) < 2.5


# The peers

def published(kind):
    """Our tokenizer and tiktoken's, from the same published ranks, read from the mirror or the cache."""
    tiktoken = pytest.importorskip("tiktoken")
    if datasets.here("tokenizers") == "no":
        pytest.skip("no DATA_MIRROR or cache with tokenizers")
    files = datasets.fetch("tokenizers")
    cache = bench.tiktoken_cache(files)
    os.environ["TIKTOKEN_CACHE_DIR"] = cache.name
    theirs = tiktoken.get_encoding("gpt2" if kind == "gpt2" else "cl100k_base")
    cache.cleanup()
    del os.environ["TIKTOKEN_CACHE_DIR"]
    if kind == "gpt2":
        return Tokenizer.from_gpt2(files["vocab.bpe"], files["encoder.json"]), theirs, files
    return Tokenizer.from_tiktoken(files["cl100k_base.tiktoken"], GPT4, theirs._special_tokens), theirs, files


def known(text):
    """text without the characters younger than Python's tables: tiktoken and regex may disagree on what they are."""
    return "".join(c for c in text if unicodedata.category(c) != "Cn")


@pytest.mark.peer
@pytest.mark.data
@pytest.mark.parametrize("kind", ["gpt2", "cl100k"])
def test_ids_are_tiktokens(kind):
    ours, theirs, files = published(kind)
    assert ours.n_vocab == theirs.n_vocab and ours.specials == theirs._special_tokens
    texts = [files["taylorswift.txt"].read_text(encoding="utf-8"), TEXT]
    texts += [known(any_text(random.Random(seed))) for seed in range(500)]
    texts += ["a" * 5000, " " * 5000, "\n \n" * 700, random.Random(0).randbytes(5000).decode("latin-1")]
    for text in texts:
        assert ours.encode(text) == theirs.encode_ordinary(text)
    ids = ours.encode("a<|endoftext|>b", specials=True)
    assert ids == theirs.encode("a<|endoftext|>b", allowed_special="all") and ours.decode(ids) == "a<|endoftext|>b"
    ours.decode(range(ours.n_vocab))


@pytest.mark.data
def test_gpt2_files_that_do_not_fit_are_refused(tmp_path):
    if datasets.here("tokenizers") == "no":
        pytest.skip("no DATA_MIRROR or cache with tokenizers")
    files = datasets.fetch("tokenizers")
    ids = json.loads(files["encoder.json"].read_text(encoding="utf-8"))
    shifted = {token: i + 4 * (i > 256) for token, i in ids.items()}      # as RoBERTa has them
    (tmp_path / "encoder.json").write_text(json.dumps(shifted))
    with pytest.raises(ValueError, match="encoder.json: the ids must follow the merges of .*vocab.bpe"):
        Tokenizer.from_gpt2(files["vocab.bpe"], tmp_path / "encoder.json")


@pytest.mark.peer
@pytest.mark.data
def test_wrong_digits_would_be_noticed():
    """The comparison has teeth: Qwen's pattern on GPT-4's ranks fails on the first long number."""
    ours, theirs, files = published("cl100k")
    wrong = Tokenizer(ours.merges, QWEN, ours.specials, ours.first)
    assert wrong.encode("12345") != theirs.encode_ordinary("12345") == ours.encode("12345")


@pytest.mark.peer
@pytest.mark.parametrize("name, step", [("gpt2", 1), ("gpt4", 3), ("qwen", 1)])
def test_the_export_gives_hugging_face_the_same_ids(name, step, tmp_path):
    """The ids of GPT-4's specials have gaps, as step 3 makes them; Hugging Face closes them unless told."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    ours = Tokenizer.train(TEXT, 700, PATTERNS[name], specials=())
    ours = Tokenizer(ours.merges, PATTERNS[name], {special: 700 + step * i for i, special in enumerate(SPECIALS)})
    ours.export_hf(tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    transformed = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.get_vocab_size() == 700 + len(SPECIALS)
    for text in [TEXT] + [known(any_text(random.Random(seed))) for seed in range(300)]:
        ids = ours.encode(text, specials=True)
        assert theirs.encode(text).ids == transformed(text)["input_ids"] == ids
        assert theirs.decode(ids, skip_special_tokens=False) == text
