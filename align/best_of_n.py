"""
Rejection sampling, the cheap baseline: answer each problem several times, keep what is right, fine-tune on that.

    python align/best_of_n.py --checkpoint out/tinyworld/sft/run --data out/tinyworld/corpus
    python align/best_of_n.py ... --match out/align/grpo     # as many samples and passes as that run has had

It is GRPO in one long step that learns nothing from the wrong replies: all are drawn from the model at the
beginning, the right ones have advantage 1 and the wrong ones 0. Yuan et al. 2023, RFT: https://arxiv.org/abs/2308.01825
What it leaves is a folder of sft_train.jsonl, which align/sft.py learns as it learns any other.

Equal compute: a pass is one token through the model once. Reading and drawing is one pass a token, training three,
the reference of GRPO one more; both runs write `token_passes`. A killed run goes on after the problems it has answered,
then where the fine-tuning was. Left out on purpose: further rounds; --checkpoint OUT/sft/run makes the next.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import subprocess
import time
from pathlib import Path

from align.dpo import order
from align.rewards import judge
from align.rollout import ask, sample
from bpe.template import parse_reply
from eval.check import strict
from eval.gsm8k import read, solve
from eval.inputs import load_model, resume, settings, unfinished, write_jsonl
from gpt import checkpoint
from gpt.tools import TOOLS
from train.log import write_metrics

BATCH = 16        # problems answered between two writes to the disk


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--checkpoint", type=Path, required=True, help="the fine-tuned run")
    add("--data", type=Path, required=True, help="folder of arithmetic_train.jsonl and a held-out file")
    add("--held-out", default="arithmetic_valid.jsonl", help="problems to measure on, greedily [%(default)s]")
    add("--out", type=Path, default=Path("out/align/best_of_n"), help="where to write [%(default)s]")
    add("--problems", type=int, default=800, help="to answer [%(default)s]")
    add("--group", type=int, default=8, help="replies to each [%(default)s]")
    add("--passes", type=int, default=3_000_000, help="tokens through the model, all in all [%(default)s]")
    add("--match", type=Path, metavar="RUN", help="take these three from a run of align/grpo.py")
    add("--max-new", type=int, default=160, help="tokens of a reply at most [%(default)s]")
    add("--length", type=int, default=256, help="tokens of a row in fine-tuning [%(default)s]")
    add("--muon-lr", type=float, default=0.005, help="peak rate of the matrices in fine-tuning [%(default)s]")
    add("--adamw-lr", type=float, default=0.001, help="peak rate of the rest [%(default)s]")
    add("--seed", type=int, default=0, help="[%(default)s]")
    add("--eval-problems", type=int, default=100, help="held-out ones [%(default)s]")
    add("--canaries", type=int, help="how many of the canaries to ask [all]")
    args = p.parse_args(argv)
    if args.match:
        same(args, args.match / "metrics.json")
    return args


def same(args, path):
    """Problems, group and passes of the run whose metrics these are."""
    if not path.exists():
        sys.exit(f"no {path}. Let that run end first: python align/grpo.py --out {path.parent}")
    theirs = json.loads(path.read_text())["numbers"]
    args.problems, args.group, args.passes = (theirs[key] for key in ("problems", "replies_to_each", "token_passes"))


def draw(model, tokenizer, args, items, first):
    """A row for each problem: its right replies, each once, as messages, and the passes that they took."""
    prompts = [ask(item["question"], tokenizer) for item in items]
    replies = sample(model, tokenizer, [ids for ids in prompts for _ in range(args.group)], args.max_new,
                     seed=(args.seed * args.problems + first) * args.group)
    rows = []
    for n, (item, prompt) in enumerate(zip(items, prompts)):
        mine, want = replies[n * args.group:(n + 1) * args.group], strict(item["answer"])
        right = [reply for reply in mine if judge(reply, want, tokenizer)["right"]]
        kept = [{"messages": [{"role": "user", "content": item["question"]},
                              {"role": "assistant", "content": parse_reply(reply.ids, tokenizer)}],
                 "kind": "arithmetic"} for reply in {tuple(r.ids): r for r in right}.values()]
        rows.append({"kept": kept, "right": len(right),
                     "passes": len(prompt) + sum(len(reply.ids) for reply in mine)})
    return rows


def fine_tune(args, rows, tokens):
    """align/sft.py as a process of its own, on the right replies; a twentieth of them is held out."""
    kept = [record for row in rows for record in row["kept"]]
    cut = max(1, len(kept) // 20)
    if len(kept) < 2:
        sys.exit(f"{len(kept)} right replies to {len(rows)} problems: nothing to learn from. Give a better "
                 "--checkpoint, or more --problems")
    write_jsonl(args.out / "sft_valid.jsonl", kept[:cut])
    write_jsonl(args.out / "sft_train.jsonl", kept[cut:])
    if (args.data / "canaries.jsonl").exists():
        (args.out / "canaries.jsonl").write_text((args.data / "canaries.jsonl").read_text())
    words = [Path(__file__).resolve().parent / "sft.py", "--checkpoint", args.checkpoint, "--data", args.out,
             "--out", args.out / "sft", "--tokens", tokens, "--length", args.length, "--muon-lr", args.muon_lr,
             "--adamw-lr", args.adamw_lr, "--seed", args.seed]
    words += ["--canaries", args.canaries] if args.canaries else []
    if subprocess.run([sys.executable, *map(str, words)]).returncode:
        sys.exit("fine-tuning stopped. The samples are kept; the same command continues")


def main(argv=None):
    args, start = parse(argv), time.time()
    problems, held_out = read(args.data / "arithmetic_train.jsonl", None), read(args.data / args.held_out, None)
    held_out = held_out[:args.eval_problems]
    model, tokenizer, info = load_model(args.checkpoint)
    items = [problems[n] for n in order(len(problems), args.problems, args.seed)]
    about = {key: value for key, value in settings(args, info, args.data / "arithmetic_train.jsonl").items()
             if key in ("checkpoint_hash", "data_sha", "problems", "group", "max_new", "seed")}

    def work(some, first):
        new = draw(model, tokenizer, args, some, first)
        print(f"problem {first + len(new):5d}/{len(items)} | right {sum(row['right'] for row in new):3d} of "
              f"{len(new) * args.group} | {time.time() - start:4.0f} s", flush=True)
        return new

    rows = resume(unfinished(args.out, "samples"), about, items, work, batch=BATCH)
    drawn, kept = sum(row["passes"] for row in rows), sum(len(row["kept"]) for row in rows)
    share = sum(row["right"] for row in rows) / (len(rows) * args.group)
    print(f"{len(rows):,} problems, {share:.1%} of {len(rows) * args.group:,} replies right, {kept:,} different ones; "
          f"{drawn:,} passes spent, {args.passes - drawn:,} left | {time.time() - start:.0f} s")
    steps = (args.passes - drawn) // (3 * 8 * args.length)   # of align/sft.py's 8 rows
    if steps < 1:
        sys.exit("no passes are left to train with. Give fewer --problems or more --passes")

    def look(model):
        return sum(r["passed"] for r in solve(model, tokenizer, held_out, args.max_new, TOOLS)) / len(held_out)

    before = look(model)
    fine_tune(args, rows, 8 * args.length * steps)
    model, _, after = checkpoint.load(args.out / "sft" / "run", next(model.parameters()).device)
    left = json.loads((args.out / "sft" / "metrics.json").read_text())
    numbers = {"heldout_right_before": before, "heldout_right": look(model.eval()), "right_replies": kept,
               "share_right_when_drawn": share, "token_passes": drawn + 3 * left["numbers"]["tokens"]}
    write_metrics(args.out, seed=args.seed, checkpoint=after["hash"], seconds=time.time() - start, numbers=numbers,
                  canaries=left["canaries"])
    print(f"held-out {before:.1%} before, {numbers['heldout_right']:.1%} after {numbers['token_passes']:,} passes")
    print(f"wrote {args.out}; next: python eval/gsm8k.py --checkpoint {args.out / 'sft/run'} --data {args.data}")


if __name__ == "__main__":
    main()
