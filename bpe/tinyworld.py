"""
Write the embedded corpus: a closed world of stories, science, code, arithmetic, logic and chat.

    python bpe/tinyworld.py --out out/tinyworld/corpus                     # 15 MB
    python bpe/tinyworld.py --out out/tinyworld/corpus --megabytes 0.3     # a miniature

No file is read and nothing is downloaded. The same seed gives the same bytes whatever the number
of workers: each chunk of each file has its own generator. What a record is about, its key, decides
its split (splits.py), so train never holds the numbers, the request or the question of a test.

    fiction, science, code   {"text"}; a story with "bits", its -log2 p(text) under the grammar
    arithmetic               {"question", "answer", "skeleton"} in GSM8K's form
    logic                    {"question", "answer"}
    questions                four choices in ARC's form
    chat                     {"messages", "kind"}
    preferences              {"prompt", "chosen", "rejected", "kind"}
    prompts                  {"messages", "check", "kind"}, whose answers can be checked
    primer, pretrain, sft    the mixes below, shuffled

Each has a train, a valid and a test file, but prompts no train, the mixes no test and the
primer nothing but train. More tests:
fiction_heldout (reserved pairs of kind and want), arithmetic_unseen (new skeletons), canaries (more
prompts). meta.json counts records and bytes of text, and has the entropy of the fiction.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import random
import re
import time
from multiprocessing import Pool
from pathlib import Path

from bpe import world_arithmetic, world_chat, world_code, world_fiction, world_format, world_logic
from bpe import world_science
from bpe.splits import drawn
from bpe.template import from_gsm8k
from bpe.world_episodes import askable, requested
from bpe.world_skeletons import UNSEEN

# Shares of the bytes. Pretraining is mostly fiction, whose entropy is known, and facts, which have to
# be met often; SFT is mostly arithmetic and dialogue.
PRETRAIN_MIX = {"fiction": 0.28, "science": 0.18, "almanac": 0.21, "code": 0.02, "arithmetic": 0.15,
                "logic": 0.01, "echo": 0.03, "chat": 0.12}
SFT_MIX = {"arithmetic": 0.32, "chat": 0.39, "storytelling": 0.08, "telling": 0.18, "programming": 0.03}
PRIMER = 0.05         # bytes of the primer, lists to say back, which is read first, over those of pretraining
VALID = 0.02, 50_000  # bytes of a validation mix: their share of its training mix's, and the least
FULL = 4              # megabytes from which on the counts below hold; a smaller corpus has fewer
COUNTS = {("fiction", "test"): 600, ("fiction", "heldout"): 300, ("science", "test"): 300,
          ("code", "test"): 300, ("arithmetic", "test"): 1200, ("arithmetic", "unseen"): 600,
          ("logic", "test"): 300, ("chat", "test"): 300, ("preferences", "train"): 4000,
          ("preferences", "valid"): 300, ("preferences", "test"): 300,
          ("prompts", "valid"): 300, ("prompts", "test"): 1600}
CANARIES = 5 / 8      # of the test prompts, 1,000
CHUNK = 60_000        # bytes of text that one task makes, or
RECORDS = 100         # records
FILES = {"almanac": "science", "echo": "chat", "storytelling": "chat", "telling": "chat",
         "programming": "chat"}
SPLITS = "train", "valid", "test"


# ----------------------------------------------------------------------------
# one record of each part

def fiction(rng, only):
    if only == "heldout":
        told = world_fiction.story(rng, held=True)
    else:
        told = drawn(rng, only, world_fiction.story, lambda told: requested(told.facts))
    return {"text": told.text, "bits": round(told.bits, 3)}


def science(rng, only):
    return {"text": drawn(rng, only, world_science.document, lambda item: item[1])[0]}


def almanac(rng, only):
    return {"text": drawn(rng, only, world_science.almanac, lambda item: item[1])[0]}


def code(rng, only):
    return {"text": drawn(rng, only, world_code.function, lambda made: made.key).source}


def arithmetic(rng, only):
    if only == "unseen":
        p = world_arithmetic.problem(rng, rng.choice(UNSEEN))
    else:
        p = world_arithmetic.problem(rng, only=only)
    return {"question": p.question, "answer": p.answer, "skeleton": p.skeleton}


def logic(rng, only):
    question, answer, _, _ = drawn(rng, only, world_logic.problem, lambda item: item[-1])
    return {"question": question, "answer": answer}


def echo(rng, only):
    turn = drawn(rng, only, world_format.echo, lambda turn: turn.key)
    return as_messages({"question": turn.ask, "answer": turn.reply}, "format")


def telling(rng, only):
    told, key = drawn(rng, only, world_science.explain, lambda item: item[1])
    ask = rng.choice(["Tell me about {}.", "What do you know about {}?", "Describe {}."])
    return as_messages({"question": ask.format(key.split(":")[0]), "answer": told}, "science")


def storytelling(rng, only):
    return world_chat.conversation(rng, only, ["story"])


def programming(rng, only):
    return world_chat.conversation(rng, only, ["function", "call"])


MAKERS = {"fiction": fiction, "science": science, "almanac": almanac, "code": code,
          "arithmetic": arithmetic, "logic": logic, "echo": echo, "chat": world_chat.conversation,
          "storytelling": storytelling, "telling": telling, "programming": programming,
          "preferences": world_chat.preference, "prompts": world_chat.prompt}


# ----------------------------------------------------------------------------
# many of them, side by side

READ = {"text", "question", "answer", "stem", "choices", "messages", "content", "prompt", "chosen",
        "rejected"}


def texts(record):
    """All that a model may read in a record: the strings below the keys of READ."""
    if isinstance(record, str):
        return [record]
    if isinstance(record, dict):
        record = [record[key] for key in record if key in READ]
    return [text for inner in record for text in texts(inner)]


def size(record):
    """Bytes of text in a record."""
    return len("".join(texts(record)).encode())


def as_messages(record, kind):
    """The record as the mixes have it: a question with its answer becomes a dialogue."""
    if "question" not in record:
        return record
    turns = [{"role": "user", "content": record["question"]},
             {"role": "assistant", "content": from_gsm8k(record["answer"])}]
    return {"messages": turns, "kind": kind}


def tasks(args):
    """The chunks to make: (seed, stage, part, split, start, amount, whether that is in bytes)."""
    whole = args.megabytes * 1e6
    amounts = [(("primer", "echo", "train"), int(whole * PRIMER), CHUNK)]
    for stage, mix, n in (("pretrain", PRETRAIN_MIX, whole), ("sft", SFT_MIX, whole * args.sft)):
        amounts += [((stage, part, only), int(share * total), CHUNK)
                    for only, total in (("train", n), ("valid", max(VALID[0] * n, VALID[1])))
                    for part, share in mix.items()]
    amounts += [(("held", *where), count(n, args), RECORDS) for where, n in COUNTS.items()]
    return [(args.seed, *where, start, min(chunk, amount - start), chunk == CHUNK)
            for where, amount, chunk in amounts for start in range(0, amount, chunk)]


def count(n, args):
    """How many of n records a corpus of this size has."""
    return max(20, int(n * min(1, args.megabytes / FULL)))


def make(task):
    """A chunk: [(line, the line as the mixes have it, bytes of text)] and what stands between its spaces."""
    seed, stage, part, only, start, amount, in_bytes = task
    rng, lines, words = random.Random(f"{seed} {stage} {part} {only} {start}"), [], set()
    while amount > 0:
        record = MAKERS[part](rng, only)
        mixed = as_messages(record, part)
        n_bytes = size(mixed)
        amount -= n_bytes if in_bytes else 1
        line = json.dumps(record)
        lines.append((line, line if mixed is record else json.dumps(mixed), n_bytes))
        words.update(" ".join(texts(mixed)).split())
    return lines, words


def questions(only, seed):
    """The four-choice questions of a split, one for each of its facts."""
    for fact in askable(only):
        record = world_science.question(random.Random(f"{seed} {fact}"), fact)
        yield json.dumps(record), size(record)


def files(made, args):
    """{file: [(line, bytes of text)]} from {(stage, part, split): what make() returned}"""
    out = {}
    for (stage, part, only), lines in made.items():
        name = FILES.get(part, part)
        out.setdefault(f"{name}_{only}", []).extend((line, n) for line, _, n in lines)
        if stage != "held":
            out.setdefault(f"{stage}_{only}", []).extend((mixed, n) for _, mixed, n in lines)
    for name, lines in out.items():
        if name.startswith(("primer", "pretrain", "sft")):
            random.Random(f"{args.seed} {name}").shuffle(lines)
        elif not name.endswith("train"):
            out[name] = list(dict.fromkeys(lines))
    prompts = out["prompts_test"]
    n = int(CANARIES * len(prompts))
    out["canaries"], out["prompts_test"] = prompts[:n], prompts[n:]
    return out | {f"questions_{only}": list(questions(only, args.seed)) for only in SPLITS}


def floor(stories):
    """Bits per byte of [(line, bytes)] under the grammar that told them."""
    return sum(json.loads(line)["bits"] for line, _ in stories) / sum(n for _, n in stories)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--out", type=Path, required=True, help="folder to write to")
    add("--seed", type=int, default=0, help="of every choice [%(default)s]")
    add("--megabytes", type=float, default=15, help="of text in pretrain_train [%(default)s]")
    add("--sft", type=float, default=0.35, help="bytes of sft_train, of those [%(default)s]")
    add("--workers", type=int, default=min(8, os.cpu_count()), help="processes [%(default)s]")
    args = p.parse_args(argv)
    if args.megabytes <= 0 or args.sft <= 0 or args.workers <= 0:
        p.error("--megabytes, --sft and --workers must be above zero")
    return args


def main(argv=None):
    args, begin = parse(argv), time.perf_counter()
    made, found, work = {}, set(), tasks(args)
    with Pool(args.workers) as pool:
        for (_, *where, _, _, _), (lines, words) in zip(work, pool.imap(make, work)):
            made.setdefault(tuple(where), []).extend(lines)
            found |= words if where[-1] == "train" else set()
    words = set(re.findall("[a-z]+", " ".join(found).lower()))
    written = files(made, args)
    meta = {"source": "tinyworld", "seed": args.seed,
            "files": {f"{name}.jsonl": {"records": len(lines), "bytes": sum(n for _, n in lines)}
                      for name, lines in sorted(written.items())},
            "numbers": {"fiction_floor_bits_per_byte": floor(written["fiction_test"]),
                        "fiction_heldout_floor_bits_per_byte": floor(written["fiction_heldout"]),
                        "distinct_words": len(words)}}
    args.out.mkdir(parents=True, exist_ok=True)
    for name, lines in written.items():
        (args.out / f"{name}.jsonl").write_text("".join(f"{line}\n" for line, _ in lines))
    (args.out / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    for name, file in meta["files"].items():
        print(f"{name:24} {file['records']:7,} records {file['bytes']:11,} bytes of text")
    print(f"{len(words):,} distinct words; no model can spend fewer than "
          f"{meta['numbers']['fiction_floor_bits_per_byte']:.4f} bits per byte on this fiction")
    print(f"wrote {args.out} in {time.perf_counter() - begin:.1f} s; next: "
          f"python bpe/train.py --data {args.out}/pretrain_train.jsonl --out {args.out.parent}/tokenizer")


if __name__ == "__main__":
    main()
