"""
The gate: is a lesson learned, and has it cost anything? If not, or if so, nothing is served that was not served before.

    gate = Gate(served, sets(corpus), cache)                 # served: continual/served.py
    before, _ = gate.rows("gate")                            # of the version that serves now
    with served.trial(lesson, weights):
        after, routed = gate.rows("gate")                    # of the one on trial
        checked = gate.check(expansion.check)
    verdict = judge(gate.base("gate"), before, after, checked)

About a thousand old questions (eval/canaries.py), put greedily to three versions: the first one ever served (the base),
the present one, the one on trial. The same questions, so each is its own control. A question that the router leaves to
the base is answered by the base byte for byte, whatever has been taught: its reply is read from the cache, and only
what is routed to a lesson is generated anew. That is no shortcut of the measurement. It is why the cost is small.

The bound is exact. A question is lost if it was answered right and is not any more. Of n questions k are lost; the
largest share p of lost ones, among all questions of this kind that could be asked, under which k or fewer of n still
has a chance of 5% is the upper end of a one-sided 95% interval (Clopper and Pearson 1934, Biometrika 26, page 404). The
drop of a score is the share lost less the share won, so p bounds it, too; questions won do not pay for lost ones, since
a lesson that mends stories while it breaks sums is not harmless. Four of 994 may be lost: 0.92 points; five are 1.06.
Compared with the present version alone, ten drops of a point would pass one by one; hence the first one, too. The
questions are drawn anew by no one, so a hundred lessons that are tried against one gate fit it a little: hence the
audit, of questions that decide nothing.

Left out on purpose: correcting for the number of bounds (six kinds and all, twice). Each is at 95% by itself.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from bpe.template import parse_reply, text_of
from continual.served import reply
from eval.canaries import MAX_NEW, groups, mean
from eval.check import passes_all
from eval.inputs import read_jsonl
from lora.peft_format import base_hash

DROP = 0.01        # of all old questions: the target, by the upper end of its interval
KIND_DROP = 0.05   # of one kind, about 160 questions: two or three may be lost
CONFIDENCE = 0.95
LEARNED = 0.8      # recall: refused is what lies below it beyond chance, by the same interval (13 of 18 may be chance)
HALF = 0.5         # and what lies below this in any case: a wrong answer is worse than the base's "I do not know"
EACH = 200         # audit questions of science and of arithmetic
REPLAY = 400       # prompts


# ----------------------------------------------------------------------------
# three sets of questions that have none in common

class Sets(NamedTuple):
    gate: list       # {"messages", "check", "kind"}: decides
    audit: list      # the same, of files that the gate does not read: is reported
    replay: list     # lists of messages that end in the user's: what the base's own words are asked by


def asked(messages):
    """What identifies a question: its last message, whatever was said before, in small letters."""
    return " ".join(text_of(messages[-1]["content"]).lower().split())


def spread(items, count):
    """So many of them, from all over the list."""
    return items[::max(1, len(items) // count)][:count]


def choices(record):
    """A four-choice question as the corpus asks it."""
    q = record["question"]
    text = "\n".join([q["stem"], *(f"{c['label']}. {c['text']}" for c in q["choices"])])
    right = next(c["text"] for c in q["choices"] if c["label"] == record["answerKey"])
    return {"messages": [{"role": "user", "content": text}], "check": {"type": "contains", "answer": [right]},
            "kind": "science"}


def problem(record):
    """A word problem; the number after ####."""
    return {"messages": [{"role": "user", "content": record["question"]}],
            "check": {"type": "number", "answer": record["answer"].rpartition("####")[2].strip()}, "kind": "arithmetic"}


def distinct(items, taken=()):
    """The items whose question has not been asked: neither in `taken` nor further up."""
    seen, left = set(taken), []
    for item in items:
        if (key := asked(item["messages"])) not in seen:
            seen.add(key)
            left.append(item)
    return left


def sets(corpus, limit=None):
    """The Sets of a corpus folder. limit: questions of each at most, to see that it runs"""
    corpus = Path(corpus)
    gate = read_jsonl(corpus / "canaries.jsonl", "messages", "check", "kind")
    audit = [*read_jsonl(corpus / "prompts_test.jsonl", "messages", "check", "kind"),
             *map(choices, spread(read_jsonl(corpus / "questions_test.jsonl", "question", "answerKey"), EACH)),
             *map(problem, spread(read_jsonl(corpus / "arithmetic_test.jsonl", "question", "answer"), EACH))]
    audit = distinct(audit, map(asked, (item["messages"] for item in gate)))
    taken = {asked(item["messages"]) for item in gate + audit}
    talks = [{"messages": t["messages"][:-1]} for t in read_jsonl(corpus / "sft_train.jsonl", "messages")]
    replay = [talk["messages"] for talk in distinct(spread(talks, 2 * REPLAY), taken)]
    if limit:
        gate, audit, replay = spread(gate, limit), spread(audit, limit), replay[:limit]
    return Sets(gate, audit, replay[:REPLAY])


# ----------------------------------------------------------------------------
# paired statistics

def upper(k, n, confidence=CONFIDENCE):
    """
    Upper end of the exact one-sided interval of a share, k of n: where k or fewer have the chance 1 - confidence.
    Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404
    """
    if k >= n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(60):                                      # bisection: the chance falls as p grows
        p, term, total = (low + high) / 2, 1.0, 0.0
        for i in range(k + 1):                               # binomial chances of 0 ... k, over (1 - p)^n
            total += term
            term *= (n - i) / (i + 1) * p / (1 - p) if p < 1 else 0
        low, high = (p, high) if total * (1 - p) ** n > 1 - confidence else (low, p)
    return high


def compare(before, after):
    """{kind: {"n", "lost", "won", "drop", "upper"}, "all": ...} of two versions' rows on the same questions."""
    found = {}
    for (name, key, a), (_, _, b) in zip(groups(before), groups(after), strict=True):
        if key == "passed":
            lost, won = (sum(x[key] > y[key] for x, y in zip(*pair, strict=True)) for pair in ((a, b), (b, a)))
            found[name] = {"n": len(a), "lost": lost, "won": won, "drop": (lost - won) / len(a),
                           "upper": upper(lost, len(a))}
    return found


def suite(rows):
    """Rows as eval/canaries.py's measure() gives them, for its block()."""
    return {name: mean([row[key] for row in some]) for name, key, some in groups(rows)} | {"answers": rows}


class Verdict(NamedTuple):
    accepted: bool
    reasons: list    # one line each
    scores: dict


def judge(first, previous, now, checked):
    """
    The Verdict on a version on trial. first, previous, now: rows of the gate's questions, see Gate.rows
    checked: rows of the lesson's own, in wordings that it was not trained on
    """
    reasons, recall = [], sum(row["passed"] for row in checked) / max(1, len(checked))
    if recall < HALF or upper(sum(row["passed"] for row in checked), len(checked)) < LEARNED:
        reasons.append(f"not learned: {recall:.0%} of {len(checked)} questions in wordings that it was not trained on; "
                       f"{LEARNED:.0%} are wanted, give or take chance")
    scores = {"recall": recall, "checked": len(checked)}
    for name, earlier in ("first", first), ("previous", previous):
        scores[name] = compare(earlier, now)
        over = [kind for kind, x in scores[name].items()
                if x["lost"] and x["upper"] > (DROP if kind == "all" else KIND_DROP)]
        if over:
            told = "; ".join(f"{kind} {x['lost']} of {x['n']} lost, up to {100 * x['upper']:.1f} points"
                             for kind, x in scores[name].items() if kind in over)
            reasons.append(f"it costs old skills, against the {name} version served: {told}. Bounds are "
                           f"{100 * DROP:.0f} for all and {100 * KIND_DROP:.0f} for a kind")
    return Verdict(not reasons, reasons, scores)


# ----------------------------------------------------------------------------
# replies

def marked(items, contents, ended):
    """A row {task, question, reply, ended, passed} for each item, as eval/canaries.py makes them."""
    passed = passes_all([item["check"] for item in items], contents)
    return [{"task": item["kind"], "question": item["messages"][-1]["content"], "reply": content, "ended": end,
             "passed": ok} for item, content, end, ok in zip(items, contents, ended, passed)]


class Gate:
    """
    The questions put to what serves (continual/served.py). The base's answers are made once and kept in `cache`.
    """

    def __init__(self, served, sets, cache):
        self.served, self.sets, self.cache = served, sets, Path(cache)
        self.hash, self.kept = base_hash(served.base), {}

    def ask(self, talks, adapters):
        """(contents, whether each ended) of the greedy replies; adapters: a lesson's id or None for each"""
        replies = reply(self.served, talks, MAX_NEW, adapters)
        return [parse_reply(r.ids, self.served.tokenizer) for r in replies], [r.finished == "end" for r in replies]

    def base(self, name):
        """The base's rows for "gate" or "audit": those of the first version served."""
        if name not in self.kept:
            items = getattr(self.sets, name)
            key = hashlib.sha256(json.dumps([self.hash, MAX_NEW, items]).encode()).hexdigest()[:24]
            path = self.cache / f"{name}_{key}.json"
            if not path.exists():
                rows = marked(items, *self.ask([item["messages"] for item in items], [None] * len(items)))
                self.cache.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(f".{os.getpid()}.tmp")
                part.write_text(json.dumps(rows))
                part.replace(path)                           # a kill leaves a whole file or none
            self.kept[name] = json.loads(path.read_text())
        return self.kept[name]

    def rows(self, name):
        """What serves now, or is on trial: its rows for "gate" or "audit", and how many of them a lesson answered."""
        rows, items = list(self.base(name)), getattr(self.sets, name)
        names = [self.served.adapter_for(item["messages"]) for item in items]
        routed = [i for i, adapter in enumerate(names) if adapter]
        asked_of = [items[i] for i in routed]
        new = marked(asked_of, *self.ask([item["messages"] for item in asked_of], [names[i] for i in routed]))
        for i, row in zip(routed, new):
            rows[i] = row
        return rows, len(routed)

    def check(self, questions):
        """Rows of a lesson's questions [(question, what the reply must contain, fact), ...], and what the base says."""
        talks = [[{"role": "user", "content": question}] for question, _, _ in questions]
        items = [{"messages": talk, "check": {"type": "contains", "answer": [wanted]}, "kind": "lesson"}
                 for talk, (_, wanted, _) in zip(talks, questions)]
        before, _ = self.ask(talks, [None] * len(talks))
        rows = marked(items, *self.ask(talks, [self.served.adapter_for(talk) for talk in talks]))
        return [row | {"before": text_of(old), "fact": fact} for row, old, (_, _, fact) in zip(rows, before, questions)]
