"""
Preference pairs: a prompt, a reply that was chosen and one that was rejected; and a real set of them.

    python align/preferences.py --out out/instruct/corpus    # 1,100 instructions with pairs, made into our files
    python align/dpo.py --checkpoint RUN --data out/instruct/corpus

A line of a file is {"prompt": [messages up to the user's last] or a text, "chosen": content, "rejected": content};
a content is a text or a list of parts (bpe/template.py). The command writes preferences_{train,valid,test}.jsonl and,
of the same split, sft_{train,valid}.jsonl with the chosen replies, since DPO starts from a model that has seen such.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
from pathlib import Path

import numpy as np

from bpe.datasets import fetch
from bpe.template import render
from eval.inputs import read_jsonl, write_jsonl

SHARES = {"train": 0.8, "valid": 0.9, "test": 1.0}           # cumulative


def sequence(prompt, reply, tokenizer):
    """
    (ids, mask) of a reply behind its prompt; the mask is 1 on what the assistant itself wrote of that reply,
    not on a calculator's results and not on earlier replies, which both members of a pair share.
    """
    begin = len(render(prompt, tokenizer, for_reply=True)[0])
    ids, mask = render([*prompt, {"role": "assistant", "content": reply}], tokenizer)
    return np.array(ids), np.array([0] * begin + mask[begin:], dtype=bool)


def pairs(path, tokenizer, length):
    """
    ([(chosen, rejected)], each an (ids, mask), and how many pairs were left out for being longer than length + 1
    tokens). Exits naming the line of a malformed record.
    """
    kept, long = [], 0
    for number, record in enumerate(read_jsonl(path, "prompt", "chosen", "rejected"), 1):
        prompt = record["prompt"]
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        try:
            pair = tuple(sequence(prompt, record[key], tokenizer) for key in ("chosen", "rejected"))
        except ValueError as e:
            sys.exit(f"{path}, line {number}: {e}. Correct or remove it.")
        if max(len(ids) for ids, _ in pair) > length + 1:
            long += 1
        else:
            kept.append(pair)
    if not kept:
        sys.exit(f"{path} holds no pair of at most {length + 1} tokens. Give other data, or a larger --length.")
    return kept, long


def instruct(path, seed):
    """{split: records} of the real set; pairs whose two replies are the same say nothing and are left out."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    records = [{"prompt": "\n\n".join(filter(None, [row["instruction"], row["input"]])),
                "chosen": row["chosen"], "rejected": row["rejected"]} for row in rows]
    records = [record for record in records if record["chosen"] != record["rejected"]]
    records = list({record["prompt"]: record for record in records}.values())     # no prompt in two splits
    records = [records[i] for i in np.random.default_rng(seed).permutation(len(records))]
    cuts = [0, *(int(share * len(records)) for share in SHARES.values())]
    return {name: records[a:b] for name, a, b in zip(SHARES, cuts, cuts[1:])}


def conversation(record):
    return {"messages": [{"role": "user", "content": record["prompt"]},
                         {"role": "assistant", "content": record["chosen"]}], "kind": "instruct"}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("out/instruct/corpus"), help="folder to write to [%(default)s]")
    p.add_argument("--seed", type=int, default=0, help="of the split [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    splits = instruct(fetch("instruct")["instruction-data-with-preference.json"], args.seed)
    for name, records in splits.items():
        write_jsonl(args.out / f"preferences_{name}.jsonl", records)
        if name != "test":
            write_jsonl(args.out / f"sft_{name}.jsonl", map(conversation, records))
        print(f"{name:6} {len(records):5,} pairs")
    print(f"wrote {args.out}; next: python align/sft.py --checkpoint RUN --data {args.out} --out out/instruct/sft")


if __name__ == "__main__":
    main()
