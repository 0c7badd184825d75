"""
The embedded corpus: the same bytes from the same seed, splits that share nothing, answers that pass.
"""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bpe import template, tinyworld, world_chat, world_episodes, world_science
from bpe.splits import near_duplicates, split
from bpe.world_skeletons import UNSEEN
from eval.check import passes

ROOT = Path(__file__).resolve().parent.parent
NEEDS = {"fiction": {"text", "bits"}, "science": {"text"}, "code": {"text"},
         "arithmetic": {"question", "answer", "skeleton"}, "logic": {"question", "answer"},
         "questions": {"id", "question", "answerKey"}, "chat": {"messages", "kind"},
         "preferences": {"prompt", "chosen", "rejected", "kind"},
         "prompts": {"messages", "check", "kind"}, "canaries": {"messages", "check", "kind"},
         "primer": {"messages", "kind"}, "sft": {"messages", "kind"}, "pretrain": set()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """{file: records} of a small corpus; "meta" is its meta.json."""
    out = tmp_path_factory.mktemp("corpus")
    tinyworld.main(["--out", str(out), "--megabytes", "0.5"])
    records = {path.stem: list(map(json.loads, path.open())) for path in out.glob("*.jsonl")}
    return records | {"meta": json.loads((out / "meta.json").read_text())}


def text(record):
    return " ".join(tinyworld.texts(record))


def asked(records):
    """Every line that a user says."""
    return {line for record in records for message in record.get("messages", record.get("prompt", ()))
            if message["role"] == "user" for line in message["content"].split("\n")}


def calls(record):
    """The key of a word problem: its skeleton and its calls."""
    parts = template.from_gsm8k(record["answer"])
    return record["skeleton"], tuple(part["text"] for part in parts if part["type"] == "call")


def test_files_and_records(corpus):
    names = {f"{part}_{only}" for part in NEEDS for only in ("train", "valid", "test")} - {
        "prompts_train", "pretrain_test", "sft_test", "primer_valid", "primer_test",
        *(f"canaries_{s}" for s in tinyworld.SPLITS)}
    assert set(corpus) == names | {"canaries", "fiction_heldout", "arithmetic_unseen", "meta"}
    for name, records in corpus.items():
        if name != "meta":
            assert records and all(NEEDS[name.split("_")[0]] <= set(record) for record in records)
            assert corpus["meta"]["files"][f"{name}.jsonl"]["records"] == len(records)
    for record in corpus["pretrain_train"]:
        assert "text" in record or template.check(record["messages"], False) is None
    for name in ("sft_train", "chat_test"):
        assert all(template.check(record["messages"], False) is None for record in corpus[name])
    for record in corpus["prompts_test"] + corpus["canaries"]:
        template.check(record["messages"], for_reply=True)


def test_same_seed_same_bytes(tmp_path):
    """Neither the number of workers nor the order of a set changes a byte; another seed changes all."""
    bytes_of = []
    for n, seed in ((1, 0), (2, 0), (2, 1)):
        out = tmp_path / f"{n}{seed}"
        subprocess.run([sys.executable, ROOT / "bpe/tinyworld.py", "--out", out, "--megabytes", "0.05",
                        "--workers", str(n), "--seed", str(seed)], check=True, stdout=subprocess.DEVNULL,
                       env=os.environ | {"PYTHONHASHSEED": str(n)})
        bytes_of.append({path.name: path.read_bytes() for path in out.iterdir()})
    one, two, other = bytes_of
    assert one == two
    assert not [name for name in one if one[name] == other[name]]


def test_mixes(corpus):
    """The stated shares of the bytes, and of SFT, 0.35 of those."""
    files = corpus["meta"]["files"]
    total = files["pretrain_train.jsonl"]["bytes"]
    assert total == pytest.approx(500_000, rel=0.03)
    assert files["sft_train.jsonl"]["bytes"] == pytest.approx(0.35 * total, rel=0.05)
    assert files["primer_train.jsonl"]["bytes"] == pytest.approx(total * tinyworld.PRIMER, rel=0.1)
    for part, made_of in (("fiction", ["fiction"]), ("science", ["science", "almanac"]), ("code", ["code"])):
        share = files[f"{part}_train.jsonl"]["bytes"] / total
        assert share == pytest.approx(sum(map(tinyworld.PRETRAIN_MIX.get, made_of)), abs=0.01)
    numbers = corpus["meta"]["numbers"]
    assert numbers["distinct_words"] > 1500
    assert 0.35 < numbers["fiction_floor_bits_per_byte"] < 1.2
    assert 0.35 < numbers["fiction_heldout_floor_bits_per_byte"] < 1.2


def test_no_content_in_two_splits(corpus):
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        problems = [{calls(record) for record in corpus[f"arithmetic_{only}"]} for only in (a, b)]
        assert not set.intersection(*problems)
        for part in ("fiction", "science", "code", "logic", "questions", "preferences"):
            kept = [{json.dumps(record) for record in corpus[f"{part}_{only}"]} for only in (a, b)]
            assert not set.intersection(*kept), part
    assert {record["skeleton"] for record in corpus["arithmetic_unseen"]} == set(UNSEEN)
    assert not {record["skeleton"] for record in corpus["arithmetic_train"]} & set(UNSEEN)
    canaries, prompts = ({json.dumps(record["messages"]) for record in corpus[name]}
                         for name in ("canaries", "prompts_test"))
    assert not canaries & prompts


def test_train_never_asks_a_fact_of_test(corpus):
    """Every wording of every test question against every line a user says in train."""
    fill, wording = world_science.fill, world_science.wording()
    held = {fill(template, fact.subject) for fact in world_episodes.askable("test")
            for template in wording[fact.column][1]}
    for name in ("primer_train", "pretrain_train", "sft_train", "chat_train", "preferences_train"):
        assert not held & asked(corpus[name]), name
    assert held & asked(corpus["canaries"])  # teeth: where they may be asked, they are found


@pytest.mark.parametrize("part, most", [
    ("fiction", 0), ("science", 0.01), ("code", 0.01), ("arithmetic", 0.01), ("questions", 0.01),
    ("logic", 0.05), ("chat", 0.05), ("preferences", 0.05)])  # short sentences, few ways to say them
def test_near_duplicates(corpus, part, most):
    test, train = (list(map(text, corpus[f"{part}_{only}"])) for only in ("test", "train"))
    assert len(near_duplicates(test, train)) <= most * len(test)
    planted = train[7].replace(".", " indeed.", 1)  # one word more, eight shingles less
    if len(planted.split()) > 100:
        assert near_duplicates([*test, planted], train)[-1] == len(test)


def test_near_duplicates_has_teeth():
    words = [str(n) for n in range(100)]
    a = " ".join(words)
    other_end = " ".join(words[:95] + ["x"] * 5)
    other_half = " ".join(words[:50] + ["x"] * 50)
    assert near_duplicates([a, other_end, other_half, "y"], ["z", a]) == [0, 1]
    assert near_duplicates([a.upper() + "!"], [a]) == [0]
    assert near_duplicates(["red hat", "red"], ["red hat"]) == [0]


def test_letters_are_uniform(corpus):
    letters = Counter(record["answerKey"] for record in corpus["questions_test"])
    n = sum(letters.values())
    assert n == len(world_episodes.askable("test")) >= 540
    assert all(0.19 < letters[letter] / n < 0.31 for letter in "ABCD")  # 0.25, three standard errors


def test_preferences_are_of_equal_length():
    rng = random.Random(0)
    pairs = [world_chat.preference(rng, "train") for _ in range(3000)]
    chosen, rejected = (sum(len(template.text_of(pair[side])) for pair in pairs)
                        for side in ("chosen", "rejected"))
    assert rejected / chosen == pytest.approx(1, abs=0.05)
    assert all(pair["chosen"] != pair["rejected"] for pair in pairs)


@pytest.mark.parametrize("name", world_chat.WEIGHTS)
def test_replies_pass_and_wrong_ones_do_not(name):
    """Each episode in each split: its last reply passes its own check, and its content is in the split."""
    rng = random.Random(name)
    for only in tinyworld.SPLITS:
        for _ in range(2 if name == "function" else 20):  # a check of code starts an interpreter
            *_, turn = getattr(world_episodes, name)(rng, only)
            assert passes(turn.check, turn.reply), turn
            if name != "function":  # a slip may show on other inputs than the five of the check
                assert not passes(turn.check, turn.wrong), turn
            assert turn.reply != turn.wrong
            if isinstance(turn.key, world_science.Fact):
                assert world_science.split(turn.key) == only
            elif only != "train":
                assert split(turn.key) == only


def test_canaries_and_prompts(corpus):
    assert {record["kind"] for record in corpus["canaries"]} == set(world_chat.KINDS)
    for record in corpus["canaries"] + corpus["prompts_valid"]:
        assert record["check"]["type"] in ("exact", "number", "contains", "choice", "story", "code")
        assert record["check"]["answer"]


def test_bad_arguments(capsys):
    with pytest.raises(SystemExit) as stop:
        tinyworld.main(["--out", "nowhere", "--megabytes", "0"])
    assert stop.value.code == 2 and "above zero" in capsys.readouterr().err
