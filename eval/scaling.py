"""
How does the loss fall with the size of the model, with the text, with compute? A sweep that two cores can do.

    python eval/scaling.py --predict                          # how long the sweep takes here: seconds
    python eval/scaling.py                                    # the sweep, the fits, the pictures
    python eval/scaling.py --text embedded --out out/eval/scaling_embedded         # the same on TinyWorld's stories
    python eval/scaling.py --sizes 2x16 2x24 2x32 --held-out 2x40 --tokens 4096 8192 16384 --documents 20  # to see

Eight sizes by four amounts of text, each run for its own amount from first step to last, and one larger model that no
fit sees, to be predicted. A run is a process of train/train.py with one thread and a folder of its own; the same
command skips what is done and continues what was killed.

The text is WikiText-2, because there the law can be seen at this size: seven runs of a first trial lay within 0.2% of
Kaplan's. The stories of TinyWorld's grammar (--text embedded, as many as wanted) do not follow either law within
several percent, since a grammar is learned rule by rule and the rules run out; but their entropy is known, as
each comes with its -log2 p, so there the floor E that a fit finds can be held against the true one.

Departures. Kaplan et al. 2020 and Hoffmann et al. 2022 (papers: eval/fits.py) go over three to eight orders of
magnitude, we over two. N leaves out the embedding, as Kaplan's does; compute is what gpt/describe.py counts, head and
attention included, as Hoffmann's is: at this size they are no trifle. A step has two rows of 256 tokens, since small
ones learn most from a token. Left out on purpose: a search of the learning rate for every size (it was tried at three).

N = parameters outside of the embedding, D = tokens trained on, C = operations of the training
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import math
import random
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from bpe import world_fiction
from bpe.bpe import Tokenizer
from bpe.datasets import fetch
from eval import fits, texts
from eval.inputs import load_model, read_jsonl, sha256, write_jsonl
from eval.perplexity import document_nats
from gpt.describe import by_part, flops
from gpt.kinds import build
from gpt.llama import Config
from train.adamw import AdamW
from train.log import write_metrics
from train.muon import Muon, split
from train.step import optimize

ROOT = Path(__file__).resolve().parent.parent
SIZES = "2x24", "2x32", "2x48", "2x64", "3x72", "4x88", "4x120", "5x160"     # layers x width
HELD_OUT = "6x208"
TOKENS = 250_000, 500_000, 1_000_000, 2_000_000
VOCABULARY, LENGTH, ROWS = 1024, 256, 2
RATES = {"--muon-lr": 0.02, "--adamw-lr": 0.016}
WORDS = 90                   # of a piece of real text: it fits into a row


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--text", choices=("wikitext-2", "embedded"), default="wikitext-2", help="[%(default)s]")
    add("--sizes", nargs="+", default=SIZES, metavar="LxC", help="layers x width of the models fitted to [eight]")
    add("--held-out", default=HELD_OUT, metavar="LxC", help="the larger model to be predicted [%(default)s]")
    add("--tokens", type=int, nargs="+", default=TOKENS, help="amounts of text [%(default)s]")
    add("--documents", type=int, default=400, help="of the test [%(default)s]")
    add("--seed", type=int, default=0, help="[%(default)s]")
    add("--jobs", type=int, default=min(2, os.cpu_count()), help="runs at once, one thread each [%(default)s]")
    add("--predict", action="store_true", help="time a few steps of every size, say how long the sweep takes, and stop")
    add("--no-picture", action="store_true", help="do not draw; then matplotlib is not needed")
    add("--out", type=Path, default=Path("out/eval/scaling"), help="folder [%(default)s]")
    args = p.parse_args(argv)
    args.tokens = sorted(set(args.tokens))
    for size in (*args.sizes, args.held_out):
        try:
            shape(size)
        except ValueError:
            p.error(f"{size!r} is no size: give layers x width, such as 2x32, where heads divide the width evenly")
    return args


# ----------------------------------------------------------------------------
# models and texts

def shape(size):
    """The Config of "layers x width"; heads of 10 to 40 channels."""
    layers, width = map(int, size.split("x"))
    heads = 2 if width < 64 else 4
    return Config(VOCABULARY, layers, heads, heads, width, -(-width * 8 // 24) * 8, LENGTH, qk_norm=True)


def cost(size):
    """(N, operations a token) of a size"""
    with torch.device("meta"):
        model = build(shape(size))
    return sum(by_part(model).values()) - by_part(model)["embedding"], flops(model)


def documents(args, split, count):
    """Records {"text", maybe "bits"} of a split."""
    if args.text == "embedded":
        rng = random.Random(f"scaling {split}")
        told = (world_fiction.story(rng) for _ in range(count))
        return [{"text": story.text, "bits": round(story.bits, 3)} for story in told]
    name = {"train": "wiki.train.tokens", "test": "wiki.valid.tokens"}[split]
    pieces = []
    for article in texts.articles(fetch("wikitext-2")[name]):
        words = article["text"].split(" ")
        pieces += [{"text": " ".join(words[i:i + WORDS])} for i in range(0, len(words), WORDS)]
    random.Random(0).shuffle(pieces)
    return pieces[:count]


def prepare(args):
    """Texts, tokenizer and shards, once: the folder that holds them."""
    folder, count = args.out / "text", max(200, args.tokens[-1] * 12 // 1000)     # a story fills a row to two thirds
    asked, stated = folder / "asked.json", {"text": args.text, "train": count, "test": args.documents}
    if asked.exists() and json.loads(asked.read_text()) != stated:
        sys.exit(f"{folder} holds other texts. Give another --out, or remove it: rm -r {args.out}")
    if asked.exists():
        return folder
    for split, n in (("train", count), ("test", args.documents)):
        write_jsonl(folder / f"{split}.jsonl", documents(args, split, n))
    run("bpe/train.py", "--data", folder / "train.jsonl", "--vocab", VOCABULARY, "--out", folder / "tokenizer")
    run("bpe/shards.py", "--train", folder / "train.jsonl", "--valid", folder / "test.jsonl", "--workers", 1,
        "--tokenizer", folder / "tokenizer", "--out", folder / "shards")
    asked.write_text(json.dumps(stated))
    return folder


def run(script, *argv, console=subprocess.PIPE):
    """One of our scripts, with one thread; exits with its last line if it fails."""
    done = subprocess.run([sys.executable, ROOT / script, *map(str, argv)], stdout=console, stderr=subprocess.PIPE,
                          text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(f"{script} {' '.join(map(str, argv))}\nfailed: {(done.stderr.strip() or '?').splitlines()[-1]}")


# ----------------------------------------------------------------------------
# the sweep

def one(args, folder, size, tokens):
    """Train and measure one model unless that has been done; its row of the table."""
    place, c = args.out / "runs" / f"{size}_{tokens}_seed{args.seed}", shape(size)
    argv = ["--tokens", tokens, "--layers", c.n_layer, "--width", c.n_embd, "--heads", c.n_head, "--kv-heads",
            c.n_kv_head, "--hidden", c.n_hidden, "--context", LENGTH, "--length", LENGTH, "--batch", ROWS,
            "--no-look-back", *(x for pair in RATES.items() for x in pair), "--seed", args.seed, "--eval-rows", 8,
            "--eval-every", 1_000_000, "--save-every", 1000, "--keep", 1]
    about, row = {"argv": list(map(str, argv)), "text": sha256(folder / "asked.json")}, place / "row.json"
    if row.exists():
        known = json.loads(row.read_text())
        if known["about"] != about:
            sys.exit(f"{place} was trained with other settings. Give another --out, or remove it: rm -r {place}")
        return known["row"]
    start = time.time()
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "console.txt", "w") as console:
        run("train/train.py", *argv, "--data", folder / "shards", "--tokenizer", folder / "tokenizer", "--out", place,
            console=console)
    numbers = json.loads((place / "metrics.json").read_text())
    n, operations = cost(size)
    found = {"size": size, "parameters": n, "weights": numbers["numbers"]["parameters"], "tokens": tokens,
             "flops": operations * tokens, "epochs": numbers["numbers"]["epochs"], "seconds": time.time() - start,
             **measure(place / "run", folder / "test.jsonl"), "held_out": size == args.held_out}
    row.write_text(json.dumps({"about": about, "row": found}, indent=1))
    shutil.rmtree(place / "run")                             # the weights have said what they know
    return found


def measure(checkpoint, path):
    """Nats a token, document ends included, and those of the text's own entropy if it is known."""
    model, tokenizer, _ = load_model(checkpoint)
    records = read_jsonl(path, "text")
    ids = [tokenizer.encode(record["text"]) for record in records]
    text, end = document_nats(model, ids, tokenizer.specials["<|bos|>"])
    count = sum(map(len, ids)) + len(ids)
    found = {"loss_nats": (text + end).sum().item() / count}
    if "bits" in records[0]:
        found["floor_nats"] = sum(record["bits"] for record in records) * math.log(2) / count
    return found


def sweep(args, folder):
    """The rows of every run, args.jobs at a time, the longest first."""
    pairs = [(size, tokens) for size in args.sizes for tokens in args.tokens] + [(args.held_out, args.tokens[-1])]
    pairs.sort(key=lambda pair: -cost(pair[0])[1] * pair[1])
    total, start, spent = sum(cost(size)[1] * tokens for size, tokens in pairs), time.time(), 0.0
    print(f"{len(pairs)} runs, {total:.2g} operations; a uniform guess loses {math.log(VOCABULARY):.4f} nats")
    with ThreadPoolExecutor(args.jobs) as pool:
        rows = []
        for row in pool.map(lambda pair: one(args, folder, *pair), pairs):
            rows.append(row)
            spent += row["flops"]
            print(f"{len(rows):3}/{len(pairs)}  {row['size']:>6s}  N {row['parameters']:9,}  D {row['tokens']:9,}  "
                  f"loss {row['loss_nats']:.4f} nats | {spent / total:4.0%} of the work, {time.time() - start:5.0f} s",
                  flush=True)
    return sorted(rows, key=lambda row: (row["parameters"], row["tokens"]))


def predict(args, steps=6):
    """Say how long the sweep takes, from the processor seconds of a few steps of every size."""
    torch.set_num_threads(1)
    seconds, draw = [], torch.Generator().manual_seed(0)
    for size in (*args.sizes, args.held_out):
        model = build(shape(size))
        matrices, rest = split(model)
        trained = [(Muon(matrices), RATES["--muon-lr"]), (AdamW(rest), RATES["--adamw-lr"])]
        ids = torch.randint(VOCABULARY, (ROWS, LENGTH + 1), generator=draw)
        doc = torch.arange(LENGTH).div(180, rounding_mode="floor").repeat(ROWS, 1)       # two stories in a row
        packed = ids[:, :-1], ids[:, 1:], doc, torch.arange(LENGTH).repeat(ROWS, 1)
        for step in range(2 * steps):
            if step == steps:
                began = time.process_time()
            optimize(model, trained, packed, 1.0, 1.0, torch.device("cpu"))
        rate = steps * ROWS * LENGTH / (time.process_time() - began)
        amounts = args.tokens if size != args.held_out else args.tokens[-1:]
        seconds.append(sum(amounts) / rate + 6 * len(amounts))               # 6 s: imports, the measurement
        n, operations = cost(size)
        print(f"{size:>6s}  N {n:9,}  {operations / 1e6:6.2f} MFLOP a token  {rate:8,.0f} tokens/s  "
              f"{operations * rate / 1e9:5.1f} GFLOP/s  {seconds[-1]:6.0f} s in {len(amounts)} runs", flush=True)
    print(f"about {sum(seconds) / 60:.0f} minutes of one core; {sum(seconds) / args.jobs / 60:.0f} minutes with "
          f"--jobs {args.jobs} on as many idle ones")


# ----------------------------------------------------------------------------
# what is made of it

def main(argv=None):
    args, start = parse(argv), time.time()
    if args.predict:
        return predict(args)
    if len(args.sizes) < 3 or len(args.tokens) < 2:
        sys.exit("a fit takes three --sizes and two amounts of --tokens at least")
    if not args.no_picture:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            sys.exit("the pictures take matplotlib. Get it, or go without: pip install matplotlib, or --no-picture")
    torch.set_num_threads(1)
    rows = sweep(args, prepare(args))
    table = args.out / "table.json"
    table.write_text(json.dumps(rows, indent=1) + "\n")
    if (most := max(row["epochs"] for row in rows)) > 1:
        print(f"! the text was read up to {most:.1f} times, and the laws are about text read once: take fewer --tokens")
    found = fits.study(rows)
    print("\n".join(fits.lines(found)))
    write_metrics(args.out, seed=args.seed, data_sha=sha256(args.out / "text/asked.json"), seconds=time.time() - start,
                  numbers=fits.numbers(found) | {"training_seconds": sum(row["seconds"] for row in rows)}, scaling=rows)
    if not args.no_picture:
        from eval import scaling_plots
        print(f"wrote {', '.join(map(str, scaling_plots.draw(args.out, rows, found)))}")
    print(f"wrote {args.out}/metrics.json, {table.name}; the fits alone, again: python eval/fits.py --table {table}")


if __name__ == "__main__":
    main()
