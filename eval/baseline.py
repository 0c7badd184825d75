"""
The reference points: what counting gets, and what four kinds of network get for the same operations on the same text.

    python eval/baseline.py                                   # run.sh's text, three seeds: 15 minutes on two cores
    python eval/baseline.py --operations 2e10 --seeds 1 --order 3 --documents 50      # a minute, to see that it runs
    python eval/baseline.py --preset 124m --say               # what the next line would run, and nothing is run
    python eval/baseline.py --preset 124m --gpus 8 --price 3  # GPT-2's own size on a node, from download to table

    unigram      how often each token came           Kneser-Ney   bytes, its order chosen on held-out text
    gpt2         learned positions, GELU             llama        rotary positions, SwiGLU, RMSNorm
    mla          llama with latent attention         moe          mla with 16 experts of which a token uses 5

Every network is trained for --operations, counted by gpt/describe.py: one that needs more for a token reads fewer. The
two that count read as much as the network that reads most. All are scored on the same held-out documents in bits per
byte, each document alone from its beginning, its end left out; ± is the deviation over seeds. Optimizer, rates and
batches are those of run.sh. A run is a process of one thread; what is done is not done again.
Left out on purpose: a search of the rates for each kind, which would favour the one searched longest.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import csv
import json
import math
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from bpe import shards
from bpe.bpe import Tokenizer
from eval.inputs import sha256
from eval.perplexity import document_nats
from gpt.deepseek import DeepSeekConfig
from gpt.describe import flops, idle
from gpt.kinds import build
from gpt.llama import Config
from gpt.model import GPTConfig
from makemore.ngram import BOUNDARY, KneserNey, choose
from train.adamw import AdamW
from train.device import device
from train.loader import Loader, Shards
from train.log import write_metrics
from train.muon import Muon, split
from train.presets import PRESETS
from train.schedule import trapezoid
from train.step import optimize

ROOT = Path(__file__).resolve().parent.parent
LENGTH, ROWS, MUON, ADAMW = 256, 8, 0.02, 4e-3
BIAS = 5e-3                  # by which a step moves an expert's bias, see gpt/moe.py
COUNTED, NETWORKS = ("unigram", "kneser_ney"), ("gpt2", "llama", "mla", "moe")


def config(name, vocab):
    """Four layers of 128 channels; the feed-forwards multiply a token with about as many weights in all."""
    if name == "gpt2":
        return GPTConfig(LENGTH, vocab, n_layer=4, n_head=4, n_embd=128)
    if name == "llama":
        return Config(vocab, n_layer=4, n_head=4, n_kv_head=4, n_embd=128, n_hidden=352, context=LENGTH, qk_norm=True)
    more = {"n_expert": 16, "top_k": 4, "n_shared": 1, "n_expert_hidden": 72} if name == "moe" else {}
    return DeepSeekConfig(vocab, n_layer=4, n_head=4, n_embd=128, n_hidden=352, context=LENGTH, kv_rank=32, d_nope=24,
                          d_rope=8, d_value=32, **more)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--data", type=Path, default=Path("out/tinyworld/shards"), help="folder of token shards [%(default)s]")
    add("--tokenizer", type=Path, default=Path("out/tinyworld/tokenizer"), help="that wrote them [%(default)s]")
    add("--operations", type=float, default=6e12, help="of the training of each network [%(default)s]")
    add("--models", nargs="+", choices=COUNTED + NETWORKS, default=COUNTED + NETWORKS, help="[all]")
    add("--seeds", type=int, default=3, help="of each network [%(default)s]")
    add("--order", type=int, default=10, help="longest Kneser-Ney n-gram to try, bytes [%(default)s]")
    add("--documents", type=int, default=500, help="held-out documents to score [%(default)s]")
    add("--jobs", type=int, default=min(2, os.cpu_count()), help="runs at once [%(default)s]")
    add("--one", nargs=2, metavar=("MODEL", "SEED"), help="only this run, in this process")
    add("--preset", choices=PRESETS, help="the baseline of a preset, from its download to its table")
    add("--say", action="store_true", help="with --preset: only say which commands")
    add("--gpus", type=int, default=1, help="with --preset [%(default)s]")
    add("--tokens", type=int, help="with --preset: to train on [the preset's]")
    add("--price", type=float, help="with --preset: dollars a GPU and hour")
    add("--out", type=Path, default=Path("out/eval/baseline"), help="where to write [%(default)s]")
    args = p.parse_args(argv)
    if args.operations <= 0 or min(args.seeds, args.jobs, args.gpus, args.order, args.documents) < 1:
        p.error("--operations, --seeds, --order, --documents, --jobs and --gpus are all at least 1")
    return args


# ----------------------------------------------------------------------------
# the text

def documents(args, split, tokenizer, limit=None):
    """Each document's ids without its <|bos|>, in order; limit: tokens in all"""
    ids = np.concatenate(shards.load(args.data, split, tokenizer.hash)[0])[:limit]
    starts = np.flatnonzero(ids == tokenizer.specials["<|bos|>"])
    return [ids[a + 1:b].tolist() for a, b in zip(starts, [*starts[1:], len(ids)])]


def as_bytes(some, tokenizer):
    """Documents as makemore/ngram.py reads them: BOUNDARY and the bytes of each, end to end."""
    parts = ([BOUNDARY, *tokenizer.decode_bytes(ids)] for ids in some)
    return np.array([byte for part in parts for byte in part], dtype=np.int64)


# ----------------------------------------------------------------------------
# one run each

def count(args, name, held_out, tokenizer):
    """A row of a model that counts."""
    tokens = max(int(args.operations / flops(meta(kind, tokenizer))) for kind in NETWORKS)
    some, bos = documents(args, "train", tokenizer, tokens), tokenizer.specials["<|bos|>"]
    test = as_bytes(held_out, tokenizer)
    if name == "unigram":
        ids, ends = (np.array([i for ids in text for i in [bos, *ids]]) for text in (some, held_out))
        model, detail = KneserNey(1, tokenizer.n_vocab).fit(ids), "tokens"
        bits = -model.logprob(ends)[ends != bos].sum() / math.log(2)
        parameters = tokenizer.n_vocab
    else:
        train = as_bytes(some, tokenizer)
        cut = len(train) * 9 // 10
        order, discounts, _ = choose(train[:cut], train[cut:], args.order)
        model, detail = KneserNey(order, BOUNDARY + 1).fit(train), f"{order} bytes"
        model.discounts = discounts
        bits = -model.logprob(test)[test != BOUNDARY].sum() / math.log(2)
        parameters = sum(map(len, model.keys))
    return {"model": name, "seed": None, "parameters": parameters, "met": None, "flops_per_token": None,
            "tokens": tokens, "bits_per_byte": bits / (test != BOUNDARY).sum(), "detail": detail}


def meta(name, tokenizer):
    """The model's shape without memory."""
    with torch.device("meta"):
        return build(config(name, tokenizer.n_vocab))


def train(args, name, seed, held_out, tokenizer):
    """A row of a network: trained for args.operations, then scored."""
    where, data = device(), shards.load(args.data, "train", tokenizer.hash)
    model = build(config(name, tokenizer.n_vocab), generator=torch.Generator().manual_seed(seed)).to(where).train()
    matrices, rest = split(model)
    optimizers = [(Muon(matrices, weight_decay=0.01), MUON), (AdamW(rest), ADAMW)]
    loader = Loader(Shards(data[0], data[1]["boundary"]), data[1]["boundary"], ROWS, LENGTH, seed)
    steps, start = max(1, round(args.operations / flops(model) / (ROWS * LENGTH))), time.time()
    for step in range(1, steps + 1):
        loss, _ = optimize(model, optimizers, loader.next(), trapezoid(step, steps), 1.0, where)
        if getattr(model, "mixtures", None):
            model.balance(BIAS)
        if step % 50 == 0 or step == steps:
            print(f"{name} seed {seed} step {step:5d}/{steps} | loss {loss.item():.4f} | "
                  f"{step * ROWS * LENGTH / (time.time() - start):8,.0f} tok/s", flush=True)
    seconds, n = time.time() - start, sum(p.numel() for p in model.parameters())
    nats, _ = document_nats(model.eval(), held_out, tokenizer.specials["<|bos|>"])
    n_bytes = sum(len(tokenizer.decode_bytes(ids)) for ids in held_out)
    return {"model": name, "seed": seed, "parameters": n, "met": n - idle(model), "flops_per_token": flops(model),
            "tokens": steps * ROWS * LENGTH, "bits_per_byte": nats.sum().item() / math.log(2) / n_bytes,
            "seconds": seconds, "epochs": loader.epochs}


def one(args, name, seed):
    """Make a run in a process of its own, unless it has been made; its row."""
    about = {"operations": args.operations, "documents": args.documents, "order": args.order,
             "text": sha256(args.data / "meta.json"), "config": asdict(config(name, 1)) if name in NETWORKS else None}
    path = args.out / "runs" / f"{name}_{seed}.json"
    if path.exists():
        known = json.loads(path.read_text())
        if known["about"] != about:
            sys.exit(f"{path} was made with other settings. Give another --out, or remove it: rm -r {args.out}")
        return known["row"]
    if args.one:
        tokenizer = Tokenizer.load(args.tokenizer)
        held_out = documents(args, "valid", tokenizer)[:args.documents]
        if name in COUNTED:
            row = count(args, name, held_out, tokenizer)
        else:
            row = train(args, name, seed, held_out, tokenizer)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"about": about, "row": row}, indent=1))
        part.replace(path)
        return row
    argv = [str(x) for key in ("data", "tokenizer", "operations", "order", "documents", "out")
            for x in (f"--{key}", getattr(args, key))]
    done = subprocess.run([sys.executable, __file__, *argv, "--one", name, str(seed)], capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(f"the run of {name}, seed {seed}, failed: {(done.stderr.strip() or '?').splitlines()[-1]}")
    return json.loads(path.read_text())["row"]


# ----------------------------------------------------------------------------
# the table

HEAD = "model", "parameters", "met by a token", "MFLOP a token", "tokens read", "bits per byte"


def cells(rows):
    """The table's cells of one model from the rows of its seeds; see HEAD"""
    row, bits = rows[0], [row["bits_per_byte"] for row in rows]
    spread = f" ± {statistics.stdev(bits):.4f}" if len(bits) > 1 else ""
    name = row["model"].replace("_", "-") + (f" ({row['detail']})" if "detail" in row else "")
    met, operations = (f"{row['met']:,}", f"{row['flops_per_token'] / 1e6:.2f}") if row["met"] else "––"
    return (name, f"{row['parameters']:,}", met, operations, f"{row['tokens']:,}",
            f"{statistics.mean(bits):.4f}{spread}")


def small(args):
    """Every model with every seed; the table."""
    for folder in (args.data, args.tokenizer):
        if not folder.is_dir():
            sys.exit(f"no folder {folder}. Make it with: bash run.sh")
    start, rows = time.time(), []
    pairs = [(name, seed) for name in args.models for seed in range(args.seeds if name in NETWORKS else 1)]
    vocab = Tokenizer.load(args.tokenizer).n_vocab
    print(f"{len(pairs)} runs; a uniform guess needs {math.log2(vocab):.2f} bits a token")
    with ThreadPoolExecutor(args.jobs) as pool:
        for row in pool.map(lambda pair: one(args, *pair), pairs[::-1]):         # the networks first: they take longest
            rows.insert(0, row)
            print(f"{len(rows):3}/{len(pairs)}  {row['model']:10s} seed {row['seed']}  {row['bits_per_byte']:.4f} "
                  f"bits per byte | {time.time() - start:5.0f} s", flush=True)
    by = {name: [row for row in rows if row["model"] == name] for name in args.models}
    print("\n".join(["| " + " | ".join(line) + " |" for line in [HEAD, ["---"] * len(HEAD), *map(cells, by.values())]]))
    numbers = {f"{name}_bits_per_byte": statistics.mean(row["bits_per_byte"] for row in some)
               for name, some in by.items()}
    write_metrics(args.out, data_sha=sha256(args.data / "meta.json"), seconds=time.time() - start, numbers=numbers,
                  baseline=rows)
    print(f"wrote {args.out}/metrics.json; next: python eval/report.py")


# ----------------------------------------------------------------------------
# a preset's own baseline, on a GPU

def commands(args):
    """[(what for, command)] from download to scores."""
    preset, out = PRESETS[args.preset], f"out/{args.preset}"
    launch = "python" if args.gpus == 1 else f"torchrun --standalone --nproc_per_node {args.gpus}"
    words = f"{preset.command.split(' train/train.py ')[1]} --compile"
    words += f" --tokens {args.tokens}" if args.tokens else ""
    at = f"--checkpoint {out}/pretrain/run"
    return [*(("prepare", line) for line in preset.prepare),
            ("train", f"{launch} train/train.py {words}"),
            ("wikitext_2", f"python eval/perplexity.py {at} --data wikitext-2 --out {out}/wikitext_2"),
            ("c4", f"python eval/perplexity.py {at} --data c4 --out {out}/c4"),
            ("arc_easy", f"python eval/choice.py {at} --data arc-easy --form plain --out {out}/arc_easy"),
            ("prepare", "python bpe/datasets.py --fetch gsm8k"),
            ("gsm8k", f"python eval/gsm8k.py {at} --data data/gsm8k/test.jsonl --name gsm8k --form plain "
                      f"--out {out}/gsm8k")]


def large(args):
    """Run what commands() says, each once, and gather loss, speed, cost and scores."""
    lines = commands(args)
    print("\n".join(line for _, line in lines), flush=True)
    if args.say:
        return
    if not torch.cuda.is_available():
        sys.exit("no CUDA GPU here, and without one this takes months. See what would run: add --say")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for _, line in lines:                                    # a shell's, since their files are given as *.parquet
        if subprocess.run(line, shell=True, cwd=ROOT, env=os.environ | {"PATH": path}).returncode:
            sys.exit(f"this failed, and the same command goes on from there: {line}")
    write_metrics(args.out / args.preset, numbers=gather(args, ROOT / "out" / args.preset))
    print(f"wrote {args.out / args.preset}/metrics.json")


def gather(args, folder):
    """The numbers of a preset's folders under `folder`, units in the keys."""
    with open(folder / "pretrain/log.csv", newline="") as file:
        log = list(csv.DictReader(file))
    hours = float(log[-1]["seconds"]) / 3600
    found = {name: statistics.median(float(row[name]) for row in log if row.get(name)) for name in
             ("tokens_per_second", "mfu") if any(row.get(name) for row in log)}
    found |= {"tokens": int(log[-1]["tokens"]), "hours": hours, "gpus": args.gpus}
    found |= {"dollars": hours * args.gpus * args.price} if args.price else {}
    for name in ("pretrain", "wikitext_2", "c4", "arc_easy", "gsm8k"):
        m = json.loads((folder / name / "metrics.json").read_text())
        found |= {key: m["numbers"][key] for key in m["numbers"] if key == "valid_loss_nats" or "perplexity" in key}
        found |= {key: x["value"] for key, x in m["scores"].items() if x}
    return found


def main(argv=None):
    args = parse(argv)
    if args.one:
        one(args, args.one[0], int(args.one[1]))
    elif args.preset:
        large(args)
    else:
        small(args)


if __name__ == "__main__":
    main()
