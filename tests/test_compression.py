"""
How large a vocabulary pays: that cutting merges is exact, that no vocabulary beats whole words, that what
is measured on was not trained on, and the script from end to end.
"""

import importlib.util
import json
import random
from pathlib import Path

import pytest

from bpe import compression, datasets
from bpe.bpe import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
CODE = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "bpe").glob("world_*.py"))]
PROSE = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("*/README.md"))]


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    """datasets.fetch gives files of the repository: lessons as fiction and as abstracts, scripts as code."""
    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    rows = [{"question": "Q?", "abstract": text, "conclusion": "no", "answer": "yes"} for text in PROSE[1:]]
    rows.append({"question": "Is it?", "answer": PROSE[0]})
    files = {"fiction": {f"{i}.txt": write(f"{i}.txt", text) for i, text in enumerate(PROSE)},
             "code": {f"{i}.py": write(f"{i}.py", text) for i, text in enumerate(CODE)},
             "science": {"a.jsonl": write("a.jsonl", "\n".join(map(json.dumps, rows)) + "\n")}}
    monkeypatch.setattr(datasets, "fetch", files.__getitem__)


def test_the_first_merges_are_a_smaller_training():
    text = "".join(CODE)[:60_000]
    long = Tokenizer.train(text, 900, specials=())
    for size in (256, 257, 500, 900):
        short = Tokenizer.train(text, size, specials=())
        assert short.n_vocab == size
        assert compression.shortened(long, size).hash == short.hash
    assert compression.shortened(long, 499).hash != Tokenizer.train(text, 500, specials=()).hash


def test_whole_words_are_the_most_there_is():
    """Trained until no pair is left, every pre-token of the text is one token; before, it takes more."""
    text = "".join(PROSE)[:8_000]
    tokenizer = Tokenizer.train(text, 10**6, specials=())
    assert compression.bytes_per_token(tokenizer, text) == compression.bytes_per_word(text)
    shorter = compression.shortened(tokenizer, tokenizer.n_vocab - 1)
    assert compression.bytes_per_token(shorter, text) < compression.bytes_per_word(text)


def test_bytes_per_token_counts_bytes_and_not_characters():
    assert compression.bytes_per_token(Tokenizer([], specials=()), "é你") == 1
    assert compression.bytes_per_token(Tokenizer([(195, 169)], specials=()), "éé你") == 7 / 5


def test_what_is_measured_on_is_not_trained_on():
    texts = [f"<{i}>" + "é" * 500 for i in range(100)]
    train, held = compression.split(texts, 0.02, 0.01, random.Random(3))
    assert 10_000 <= len(held.encode()) < 12_000 and 19_998 <= len(train.encode()) <= 20_000
    names = [{text[:5].split(">")[0] for text in part.replace("\n\n", "").split("<")[1:]} for part in (train, held)]
    assert names[0] and names[1] and not names[0] & names[1]
    assert compression.split(texts, 0.02, 0.01, random.Random(3)) == (train, held)
    assert compression.split(texts, 0.02, 0.01, random.Random(4)) != (train, held)
    with pytest.raises(SystemExit, match="--held 1 leaves nothing to train on"):
        compression.split(texts, 1, 1, random.Random(0))


def test_the_table_is_of_equal_amounts():
    parts = compression.alike({"a": "a" * 900, "b": "b" * 300, "c": "é" * 200})
    assert {kind: len(text.encode()) for kind, text in parts.items()} == {"a": 300, "b": 300, "c": 300, "mixed": 300}
    assert parts["mixed"] == "a" * 100 + "b" * 100 + "é" * 50


def test_documents(corpora):
    assert compression.documents("code") == CODE
    science = compression.documents("science")
    assert science[:-1] == PROSE[1:] and science[-1] == f"Is it? {PROSE[0]}"


def test_the_script(corpora, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    compression.main(["--vocab", "1024", "--table", "512", "--megabytes", "0.03", "--held", "0.02",
                      "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "compression.png").stat().st_size > 10_000
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    x = metrics["numbers"]
    assert metrics["script"] == "bpe/compression.py" and x["code_256_bytes_per_token"] == 1
    for kind in compression.KINDS:
        assert 1 < x[f"{kind}_512_bytes_per_token"] < x[f"{kind}_1024_bytes_per_token"]
        assert 1 < x[f"{kind}_on_{kind}_bytes_per_token"] < 1.05 * x[f"{kind}_512_bytes_per_token"]
    assert x["fiction_on_code_bytes_per_token"] < x["code_on_code_bytes_per_token"]
    assert x["code_on_fiction_bytes_per_token"] < x["fiction_on_fiction_bytes_per_token"]
    out = capsys.readouterr().out
    assert "     1,024" in out and "one a word" in out and "+0%" in out


def test_mistakes_are_named_before_the_work(monkeypatch):
    with pytest.raises(SystemExit, match="a vocabulary of 255 has no room for the 256 bytes"):
        compression.main(["--vocab", "255", "--no-picture"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="matplotlib.*--no-picture"):
        compression.main([])
