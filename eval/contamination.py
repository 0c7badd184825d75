"""
How much of a test has stood in the training text? Runs of words in common, counted, with the score beside it.

    C=out/tinyworld/corpus
    python eval/contamination.py --train $C/pretrain_train.jsonl $C/sft_train.jsonl \\
        --test $C/arithmetic_test.jsonl $C/questions_test.jsonl --scores out/tinyworld/eval_*
    python eval/contamination.py --train novel.txt --test wikitext.jsonl --words 8

A test item is what is asked: the question, the user's messages, or the text. It overlaps if any run of --words words of
it stands anywhere in training (Brown et al. 2020, appendix C: https://arxiv.org/abs/2005.14165), and it is a near
duplicate if --share of its runs stand in one and the same training document. As in the paper, tests of short items are
looked up by shorter runs: the words of an item at the fifth percentile, but 8 at least. An item that is still
shorter counts by all of its words. Words are compared without case and punctuation.

With --scores, folders of evaluations, the score is counted again over what is no near duplicate, and over what does not
overlap at all. Departures: no text is removed from training, and hashes of 64 bits stand for runs. Left out on
purpose: paraphrases and translations, which no run of words finds (Yang et al. 2023, https://arxiv.org/abs/2311.04850).

U = different runs of the test's items
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import hashlib
import json
import re
import time
from collections import Counter
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from bpe.documents import records
from bpe.record import score
from bpe.tinyworld import texts
from eval.inputs import read_jsonl
from train.log import write_metrics

FACTOR = np.uint64(0x9E3779B97F4A7C15)   # odd, so that multiplying by it loses nothing modulo 2^64
CHUNK = 2000                             # documents that are looked up at once


# ----------------------------------------------------------------------------
# runs of words as numbers

@lru_cache(maxsize=1_000_000)
def code(word):
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def codes(text):
    """A number for each word: (words,) uint64"""
    return np.array([code(word) for word in re.findall(r"\w+", text.lower())], dtype=np.uint64)


def runs(words, n):
    """A number for each run of n words: (len(words) - n + 1,) uint64"""
    total = np.zeros(max(0, len(words) - n + 1), dtype=np.uint64)
    for k in range(n):
        total = total * FACTOR + words[k:k + len(total)]
    return total


class Test:
    """The runs of all items: `known[n]` the sorted different ones of n words, `items[i]` = (n, their places in it)."""

    def __init__(self, asked, words):
        coded = [codes(text) for text in asked]
        self.n = int(np.clip(np.percentile([len(c) for c in coded], 5), min(8, words), words))
        sizes = [max(1, min(self.n, len(c))) for c in coded]
        found = [np.unique(runs(c, n)) for c, n in zip(coded, sizes)]
        self.known = {n: np.unique(np.concatenate([f for f, m in zip(found, sizes) if m == n])) for n in set(sizes)}
        self.items = [(n, np.searchsorted(self.known[n], f)) for n, f in zip(sizes, found)]


def hits(documents, known):
    """For each n which of known[n] stand in which document: yields (n, document, place), int arrays of equal length."""
    coded = [codes("\n".join(texts(record))) for record in documents]
    words = np.concatenate(coded or [np.zeros(0, dtype=np.uint64)])
    owner = np.repeat(np.arange(len(coded)), [len(c) for c in coded])            # (all words,)
    for n, wanted in known.items():
        found = runs(words, n)
        place = np.minimum(np.searchsorted(wanted, found), len(wanted) - 1)
        whole = owner[:len(found)] == owner[n - 1:]                               # not across two documents
        at = np.flatnonzero((wanted[place] == found) & whole) if len(found) else []
        yield n, owner[at], place[at]


def chunks(files):
    """(name of the first, documents) of CHUNK training documents after another."""
    for path in files:
        found = records(path)
        while some := list(islice(found, CHUNK)):
            yield [where for where, _ in some], [record for _, record in some]


# ----------------------------------------------------------------------------
# a test against the training text

def overlap(files, test):
    """For each item the share of its runs that stand anywhere in the files."""
    seen = {n: np.zeros(len(known), dtype=bool) for n, known in test.known.items()}           # (U,) each
    for _, documents in chunks(files):
        for n, _, place in hits(documents, test.known):
            seen[n][place] = True
    return [float(seen[n][places].mean()) if len(places) else 0.0 for n, places in test.items]


def nearest(files, test, candidates):
    """For each item of candidates the largest share of its runs in one document: {item: (share, where)}"""
    best, of = dict.fromkeys(candidates, (0.0, None)), {}
    for i in candidates:
        n, places = test.items[i]
        for place in places.tolist():
            of.setdefault((n, place), []).append(i)
    known = {n: test.known[n] for n in {test.items[i][0] for i in candidates}}
    for names, documents in chunks(files):
        for n, owner, place in hits(documents, known):
            together = Counter()
            for d, p in set(zip(owner.tolist(), place.tolist())):
                for i in of.get((n, p), ()):
                    together[d, i] += 1
            for (d, i), count in together.items():
                share = count / len(test.items[i][1])
                if share > best[i][0]:
                    best[i] = share, names[d]
    return best


def judge(files, test, share):
    """(overlapping, near duplicates): for each item whether it is one; the second as {item: (share, where)}"""
    anywhere = overlap(files, test)
    candidates = [i for i, x in enumerate(anywhere) if x >= share]               # one document holds no more than all
    near = {i: found for i, found in nearest(files, test, candidates).items() if found[0] >= share}
    return [x > 0 for x in anywhere], near


# ----------------------------------------------------------------------------
# the tests, and their scores

def asked(record):
    """What an item asks, which is what must not have been trained on."""
    question = record.get("question", record.get("prompt", record.get("text")))
    if isinstance(question, dict):
        return question.get("stem", "")
    if "messages" in record:
        return "\n".join("\n".join(texts(m)) for m in record["messages"] if m["role"] == "user")
    return question or ""


def outcomes(folders):
    """{task: {key of an item: passed}} by each task's own way of asking; the key is the question's text, or its id"""
    found = {}
    for folder in folders:
        for path in filter(Path.exists, (folder / "answers.jsonl", folder / "picks.jsonl")):
            for row in read_jsonl(path):
                if path.name == "answers.jsonl":
                    found.setdefault(row["task"], {})[str(row["question"])] = row["passed"]
                else:                                                            # a row's first way is the task's own
                    way = next(key for key in row if key not in ("id", "answer"))
                    task = next(iter(json.loads((folder / "metrics.json").read_text())["scores"]), folder.name)
                    found.setdefault(task, {})[row["id"]] = row[way] == row["answer"]
    return found


def rescored(items, overlapping, near, found):
    """{task: (score of all, of what is no near duplicate, of what does not overlap)} of the tasks of these items"""
    keys, out = [{str(item.get("id")), asked(item)} for item in items], {}
    for task, passed in found.items():
        known = [(i, passed[key]) for i, pair in enumerate(keys) for key in pair if key in passed]
        groups = [known, [pair for pair in known if pair[0] not in near],
                  [pair for pair in known if not overlapping[pair[0]]]]
        if 2 * len(known) > len(passed):                                         # not a task that shares an item or two
            out[task] = [score(sum(ok for _, ok in group), len(group)) for group in groups]
    return out


def show(x):
    return "      –      " if x is None else f"{x['value']:6.1%} of {x['n']:,}"


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--train", type=Path, nargs="+", required=True, help="training documents, see bpe/documents.py")
    p.add_argument("--test", type=Path, nargs="+", required=True, help="tests, of the same forms")
    p.add_argument("--scores", type=Path, nargs="*", default=[], help="folders of evaluations of these tests")
    p.add_argument("--words", type=int, default=13, help="of a run [%(default)s]")
    p.add_argument("--share", type=float, default=0.8, help="of an item's runs, for a near duplicate [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/eval/contamination"), help="folder [%(default)s]")
    args = p.parse_args(argv)
    if args.words < 1 or not 0 < args.share <= 1:
        p.error("--words is at least 1, and --share above 0 and at most 1")
    return args


def main(argv=None):
    args, start = parse(argv), time.time()
    for path in (*args.train, *args.test):
        if not path.is_file():
            sys.exit(f"no {path}. A corpus is made by: bash run.sh")
    tests = {path: [record for _, record in records(path)] for path in args.test}
    if empty := [path for path, items in tests.items() if not any(map(asked, items))]:
        sys.exit(f"{empty[0]} asks nothing. It needs records with a question, a prompt, messages or a text")
    found, rows, numbers, scores = outcomes(args.scores), [], {}, {}
    print(f"{'test':28s} {'items':>7s} {'words':>6s} {'overlap':>9s} {'near duplicates':>16s}")
    for path, items in tests.items():
        test = Test(list(map(asked, items)), args.words)
        overlapping, near = judge(args.train, test, args.share)
        row = {"test": path.stem, "items": len(items), "words": test.n, "overlapping": sum(overlapping),
               "near_duplicates": len(near), "scores": rescored(items, overlapping, near, found)}
        rows.append(row)
        print(f"{path.stem:28s} {len(items):7,} {test.n:6} {sum(overlapping):9,} {len(near):16,}", flush=True)
        if near:
            i, (share, where) = max(near.items(), key=lambda pair: (pair[1][0], len(asked(items[pair[0]]))))
            print(f'    {share:.0%} of "{asked(items[i])[:70]}" stands in {where}')
        for task, (whole, apart, clean) in row["scores"].items():
            print(f"    {task}: {show(whole)}, no near duplicate {show(apart)}, no overlap {show(clean)}")
            scores |= {f"{task}_without_near_duplicates": apart, f"{task}_without_overlap": clean}
        numbers |= {f"{path.stem}_{key}": row[key] for key in ("items", "words", "overlapping", "near_duplicates")}
    write_metrics(args.out, seconds=time.time() - start, numbers=numbers, scores=scores, contamination=rows)
    print(f"wrote {args.out}/metrics.json; next: python eval/report.py --run out/tinyworld")


if __name__ == "__main__":
    main()
