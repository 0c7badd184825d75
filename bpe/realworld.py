"""
The corpus of the speedrun from real data, in the files that bpe/tinyworld.py writes from its own.

    python bpe/realworld.py --out out/tinystories/corpus
    python bpe/realworld.py --out out/tinystories/corpus --limit 300     # seconds, to see that it runs

    fiction_{train,valid,test}.jsonl     TinyStories (Eldan and Li 2023, https://arxiv.org/abs/2305.07759);
                                         test is the published validation file, valid a share of train
    arithmetic_{train,valid,test}.jsonl  GSM8K (Cobbe et al. 2021, https://arxiv.org/abs/2110.14168),
                                         test is the published one, valid a share of train
    sft_{train,valid}.jsonl              conversations: those problems, each mark <<48/2=24>> a call of the
                                         calculator, and the instructions of rasbt/LLMs-from-scratch
    prompts_{valid,test}.jsonl           instructions that no training file holds, with the answer to expect
    pretrain_{train,valid}.jsonl         the stories, and as many conversations as make --share of the bytes

What a training file shares with a test file is removed from the training file and counted.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import re
from pathlib import Path

import numpy as np

from bpe import datasets, template
from bpe.documents import stories
from bpe.shards import save
from bpe.splits import near_duplicates

NUMBER = r"-?[\d.,]*\d"


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True, help="folder to write to")
    p.add_argument("--seed", type=int, default=0, help="of the splits and the order [%(default)s]")
    p.add_argument("--limit", type=int, help="records of each published file [all]")
    p.add_argument("--share", type=float, default=0.1, help="of conversations in pretraining, by bytes [%(default)s]")
    return p.parse_args(argv)


def conversation(question, answer, kind):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], "kind": kind}


def is_whole(problem):
    """Whether every mark of a GSM8K problem is a sum with its result, and its last line is `#### number`."""
    parts = template.from_gsm8k(problem["answer"])
    sums = all(re.fullmatch(r"[-+*/(). \d]+", part["text"]) for part in parts if part["type"] == "call")
    results = all(re.fullmatch(rf"{NUMBER}\.?", part["text"].strip()) for part in parts if part["type"] == "result")
    return bool(sums and results and not re.search("<<|>>", template.text_of(parts))
                and re.search(rf"\n#### {NUMBER}$", problem["answer"].strip()))


def instructions(path):
    """[(instruction with its input, output)], each instruction once."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return list({"\n\n".join(filter(None, [row["instruction"], row["input"]])): row["output"] for row in rows}.items())


def part(items, shares, rng):
    """Shuffle items and cut them at these cumulative shares."""
    items = [items[i] for i in rng.permutation(len(items))]
    cuts = [0, *(int(share * len(items)) for share in shares), len(items)]
    return [items[a:b] for a, b in zip(cuts, cuts[1:])]


def without(train, test, text):
    """Train without the near duplicates of test, and how many those were; text(record) is what is compared."""
    twins = set(near_duplicates(map(text, train), map(text, test)))
    return [record for i, record in enumerate(train) if i not in twins], len(twins)


def mix(fiction, conversations, share, rng):
    """All the stories and the first conversations up to their share of the bytes, shuffled."""
    budget = share / (1 - share) * sum(len(record["text"].encode()) for record in fiction)
    sizes = np.cumsum([sum(len(template.text_of(m["content"]).encode()) for m in c["messages"]) for c in conversations])
    kept = conversations[: np.searchsorted(sizes, budget, side="right")]
    records = fiction + [{"messages": c["messages"]} for c in kept]
    return [records[i] for i in rng.permutation(len(records))]


def read(args):
    """The published files: stories (train, test), problems (train, test), instructions, [:limit] of each."""
    texts = [stories(path) for path in datasets.fetch("tinystories").values()]
    texts = [[{"text": text} for text in some if text][:args.limit] for some in texts]
    files = datasets.fetch("gsm8k")
    problems = [[json.loads(line) for line in open(files[name], encoding="utf-8")][:args.limit]
                for name in ["train.jsonl", "test.jsonl"]]
    return *texts, *problems, instructions(datasets.fetch("instruct")["instruction-data.json"])[:args.limit]


def main(argv=None):
    args = parse(argv)
    if not 0 <= args.share < 1:
        sys.exit(f"--share {args.share} is no share; choose one from 0 to below 1, such as 0.1")
    rng = np.random.default_rng(args.seed)
    told, fiction_test, problems, problems_test, asked = read(args)
    sound = [problem for problem in problems if is_whole(problem)]
    told, story_twins = without(told, fiction_test, lambda r: r["text"])
    solved, problem_twins = without(sound, problems_test, lambda r: r["question"])

    fiction_train, fiction_valid = part(told, [0.95], rng)
    problems_train, problems_valid = part(solved, [0.95], rng)
    asked_train, asked_valid, prompts_valid, prompts_test = part(asked, [0.8, 0.85, 0.9], rng)
    talk = {}
    for split, some, more in [("train", problems_train, asked_train), ("valid", problems_valid, asked_valid)]:
        both = [conversation(p["question"], template.from_gsm8k(p["answer"]), "arithmetic") for p in some]
        both += [conversation(question, answer, "instruct") for question, answer in more]
        talk[split], = part(both, [], rng)
    prompts = {split: [{"messages": [{"role": "user", "content": question}], "kind": "instruct",
                        "check": {"type": "exact", "answer": answer}} for question, answer in some]
               for split, some in [("valid", prompts_valid), ("test", prompts_test)]}
    files = {
        "fiction_train": fiction_train, "fiction_valid": fiction_valid, "fiction_test": fiction_test,
        "arithmetic_train": problems_train, "arithmetic_valid": problems_valid, "arithmetic_test": problems_test,
        "sft_train": talk["train"], "sft_valid": talk["valid"],
        "prompts_valid": prompts["valid"], "prompts_test": prompts["test"],
        "pretrain_train": mix(fiction_train, talk["train"], args.share, rng),
        "pretrain_valid": mix(fiction_valid, talk["valid"], args.share, rng)}
    write(args, files, {"problems_malformed": len(problems) - len(sound), "stories_near_test": story_twins,
                        "problems_near_test": problem_twins, "conversations_share_of_pretraining": args.share})


def write(args, files, numbers):
    """Every file and meta.json, which is written last."""
    args.out.mkdir(parents=True, exist_ok=True)
    meta = {"source": "tinystories, gsm8k, instruct", "seed": args.seed, "files": {}, "numbers": numbers}
    for name, records in files.items():
        data = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
        save(args.out / f"{name}.jsonl", data)
        meta["files"][f"{name}.jsonl"] = {"records": len(records), "bytes": len(data)}
        print(f"{name + '.jsonl':24} {len(records):8,} records {len(data) / 1e6:8.2f} MB")
    save(args.out / "meta.json", json.dumps(meta, indent=1).encode())
    print(" | ".join(f"{key.replace('_', ' ')} {value}" for key, value in numbers.items()))
    print(f"wrote {args.out}; next: python bpe/train.py --data {args.out}/pretrain_train.jsonl")


if __name__ == "__main__":
    main()
