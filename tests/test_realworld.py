"""
The corpus of real data: train and test share nothing, every file has the form that the embedded
corpus gives it, and the same seed gives the same bytes.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from bpe import datasets, realworld, template
from bpe.splits import near_duplicates


@pytest.mark.parametrize("answer, whole", [
    ("He has 48/2 = <<48/2=24>>24 left.\n#### 24", True),
    ("No marks at all.\n#### 1,024", True),
    ("Half: $<<0.5*5=2.50>>2.50\n#### -2.5", True),
    ("He has <<48/2=24>24 left.\n#### 24", False),             # a mark that does not close
    ("He has <<48 halves=24>>24 left.\n#### 24", False),       # no sum
    ("He has <<48/2=many>>many left.\n#### 24", False),        # no result
    ("He has <<48/2=24>>24 left.", False),                     # no last line
    ("He has <<48/2=24>>24 left.\n#### two dozen", False),
], ids=str)
def test_malformed_problems_are_seen(answer, whole):
    assert realworld.is_whole({"question": "?", "answer": answer}) is whole


def test_an_instruction_is_taken_once(tmp_path):
    """Twice in the published file, it could fall to train and to test."""
    rows = [{"instruction": "Name a colour.", "input": "", "output": "Red."},
            {"instruction": "Spell it.", "input": "freind", "output": "friend"},
            {"instruction": "Name a colour.", "input": "", "output": "Blue."}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found = realworld.instructions(tmp_path / "a.json")
    assert found == [("Name a colour.", "Blue."), ("Spell it.\n\nfreind", "friend")]


def test_train_gives_way_to_test():
    story = "once upon a time there was a small grey cat who lived beside the sea and liked the rain"
    other = "another story that has nothing to do with the first one"
    train = [{"text": text} for text in [story.title() + "!", other, story]]
    assert realworld.without(train, [{"text": story}], lambda r: r["text"]) == ([train[1]], 2)


def test_conversations_keep_to_their_share():
    rng = np.random.default_rng(0)
    fiction = [{"text": "x" * 900}] * 10
    talk = [realworld.conversation("q" * 40, "a" * 60, "instruct")] * 1000
    records = realworld.mix(fiction, talk, 0.25, rng)
    assert [sum("text" in r for r in records), sum("messages" in r for r in records)] == [10, 30]
    assert not any("messages" in r for r in realworld.mix(fiction, talk, 0, rng))


def has_data():
    mirror = Path(os.environ.get("DATA_MIRROR", "none"))
    return all(datasets.here(name) != "no" or (mirror / name).is_dir() for name in ["tinystories", "gsm8k", "instruct"])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A small corpus, written twice with one seed and once with another."""
    if not has_data():
        pytest.skip("no DATA_MIRROR or cache with tinystories, gsm8k and instruct")
    folders = []
    for seed in "001":
        folders.append(tmp_path_factory.mktemp("corpus"))
        realworld.main(["--out", str(folders[-1]), "--limit", "300", "--seed", seed])
    return folders


def rows(folder, name):
    return [json.loads(line) for line in open(folder / f"{name}.jsonl", encoding="utf-8")]


@pytest.mark.data
def test_the_seed_decides(corpus):
    a, b, c = ((folder / "pretrain_train.jsonl").read_bytes() for folder in corpus)
    assert a == b != c


@pytest.mark.data
def test_every_file_has_its_form(corpus):
    folder = corpus[0]
    meta = json.loads((folder / "meta.json").read_text())
    for name, stated in meta["files"].items():
        assert stated == {"records": len(rows(folder, name[:-6])), "bytes": (folder / name).stat().st_size}
    for record in rows(folder, "sft_train") + rows(folder, "sft_valid"):
        template.check(record["messages"], for_reply=False)
    for record in rows(folder, "prompts_test"):
        template.check(record["messages"], for_reply=True)
        assert record["check"]["type"] == "exact" and record["check"]["answer"]
    assert all(realworld.is_whole(record) for record in rows(folder, "arithmetic_train"))
    assert len(rows(folder, "arithmetic_test")) == 300


@pytest.mark.data
def test_train_and_test_share_nothing(corpus):
    folder = corpus[0]
    asked = [record["messages"][0]["content"] for record in rows(folder, "sft_train")]
    read = [record.get("text") or record["messages"][0]["content"] for record in rows(folder, "pretrain_train")]
    told = [record["text"] for record in rows(folder, "fiction_test")]
    problems = [record["question"] for record in rows(folder, "arithmetic_test")]
    prompts = [record["messages"][0]["content"] for record in rows(folder, "prompts_test")]
    held_out = [record["messages"][0]["content"] for record in rows(folder, "sft_valid")]
    assert not near_duplicates(told, read) and not near_duplicates(read, told)
    for kept in (problems, prompts, held_out):
        assert kept and not set(kept) & set(asked + read)
    assert not near_duplicates(asked + read, problems)


@pytest.mark.data
def test_no_twins_in_all_of_gsm8k():
    """The published files, whole: no training question is nearly a test question."""
    if not has_data():
        pytest.skip("no DATA_MIRROR or cache with gsm8k")
    train, test = ([json.loads(line)["question"] for line in open(path, encoding="utf-8")]
                   for path in datasets.fetch("gsm8k").values())
    assert not near_duplicates(train, test)
    assert near_duplicates([test[7].upper() + " Please."], test) == [0]     # teeth: one that was planted is found
