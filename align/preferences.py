"""
Preference pairs: a prompt, a reply that was chosen and one that was rejected. How they are read, and where from.

    python align/preferences.py --checkpoint out/tinyworld/sft/run --out out/tinyworld/pairs     # its own mistakes
    python align/preferences.py --instruct --out out/instruct/corpus     # 1,100 real instructions with pairs

A line of a file is {"prompt": [messages up to the user's last] or a text, "chosen": content, "rejected": content};
a content is a text or a list of parts (bpe/template.py). Both write preferences_{train,valid,test}.jsonl.

--checkpoint: the model answers prompts of the embedded world several times. Its likeliest wrong answer is rejected in
favour of a right one of its own, or, where it has none, of the world's. Pairs that others wrote are mostly easy: the
model gives the better reply more probability before it has learned anything of them, and learning from them changes
little of what it writes. Its own mistakes are likely by themselves (Tajwar et al. 2024, arxiv.org/abs/2404.14367).

--instruct also writes sft_{train,valid}.jsonl of the same split, since DPO starts from a model that has seen such.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import random
from pathlib import Path

import numpy as np

from align.rollout import sample
from bpe import world_chat
from bpe.datasets import fetch
from bpe.template import parse_reply, render
from eval.check import passes_all
from eval.inputs import load_model, read_jsonl, write_jsonl

KINDS = "story", "science", "code", "arithmetic", "logic", "format", "chat"
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


def likely(reply):
    """Mean log-probability of the tokens that the model wrote itself."""
    own = [logprob for logprob, forced in zip(reply.logprobs, reply.forced) if not forced]
    return sum(own) / len(own)


def own_mistakes(model, tokenizer, only, prompts, tries, seed, kinds=None, max_new=160):
    """
    Records {"prompt", "chosen", "rejected", "kind"}: one for each of so many prompts of the split `only`, of these
    kinds [all], that the model has answered wrong in one of `tries` replies. A reply that did not end has no place in
    a pair.
    """
    rng, room = random.Random(f"{seed} {only}"), model.config.context - max_new
    asked = []
    while len(asked) < prompts:
        turns = world_chat.some_turns(rng, only)
        prompt = world_chat.messages(turns, False)[:-1]
        ids, _ = render(prompt, tokenizer, for_reply=True)
        if len(ids) <= room and (not kinds or turns[-1].kind in kinds):
            asked.append((prompt, ids, turns[-1]))
    replies = sample(model, tokenizer, [ids for _, ids, _ in asked for _ in range(tries)], max_new, seed)
    said = [parse_reply(reply.ids, tokenizer) for reply in replies]
    passed = passes_all([turn.check for _, _, turn in asked for _ in range(tries)], said)
    records = []
    for n, (prompt, _, turn) in enumerate(asked):
        mine = [i for i in range(n * tries, (n + 1) * tries) if replies[i].finished == "end"]
        right, wrong = [said[i] for i in mine if passed[i]], [i for i in mine if not passed[i]]
        if wrong:
            records.append({"prompt": prompt, "chosen": right[0] if right else turn.reply,
                            "rejected": said[max(wrong, key=lambda i: likely(replies[i]))], "kind": turn.kind})
    return records


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
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", type=Path, help="the fine-tuned run whose mistakes are wanted")
    what.add_argument("--instruct", action="store_true", help="the real set")
    p.add_argument("--out", type=Path, required=True, help="folder to write to")
    p.add_argument("--prompts", type=int, default=2000, help="that the model answers, for training [%(default)s]")
    p.add_argument("--tries", type=int, default=4, help="at each of them [%(default)s]")
    p.add_argument("--kinds", nargs="+", choices=KINDS, help="of prompts [all]")
    p.add_argument("--seed", type=int, default=0, help="of the prompts and the answers, or of the split [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if args.instruct:
        splits = instruct(fetch("instruct")["instruction-data-with-preference.json"], args.seed)
    else:
        model, tokenizer, _ = load_model(args.checkpoint)
        counts = {"train": args.prompts, "valid": args.prompts // 4, "test": args.prompts // 4}
        splits = {name: own_mistakes(model, tokenizer, name, max(1, n), args.tries, args.seed, args.kinds)
                  for name, n in counts.items()}
    for name, records in splits.items():
        write_jsonl(args.out / f"preferences_{name}.jsonl", records)
        if args.instruct and name != "test":
            write_jsonl(args.out / f"sft_{name}.jsonl", map(conversation, records))
        print(f"{name:6} {len(records):5,} pairs")
    print(f"wrote {args.out}; next: python align/dpo.py --checkpoint RUN --data {args.out}")


if __name__ == "__main__":
    main()
