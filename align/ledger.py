"""
What a stage gained and what it cost: the canaries (eval/canaries.py), asked before it and after it.

    ledger = Ledger(model, tokenizer, data, limit, checkpoint)
    ...                                                      # train
    block = ledger.close(model, out)                         # for write_metrics(canaries=...); writes answers.jsonl

The stage before has asked the same questions of the same weights, if it was one of ours; then its answers are read.
"""

import json

from eval import canaries
from eval.inputs import read_jsonl, write_answers


class Ledger:
    def __init__(self, model, tokenizer, data, limit=None, parent=None, digest=None):
        """
        data: corpus folder; without canaries.jsonl in it nothing is asked;  limit: how many are [all]
        parent: folder of the stage before;  digest: of the weights that are here now
        """
        path = data / "canaries.jsonl"
        self.items = read_jsonl(path, "messages", "check", "kind")[:limit] if path.exists() else []
        self.tokenizer = tokenizer
        self.before = self.known(parent, digest) or self.ask(model)

    def ask(self, model):
        return canaries.measure(model.eval(), self.tokenizer, self.items) if self.items else None

    def known(self, parent, digest):
        """The result of the stage that left these weights, if it is there and about the same questions."""
        metrics, answers = [parent / name for name in ("metrics.json", "answers.jsonl")] if parent else (None, None)
        if not self.items or not parent or not metrics.exists() or not answers.exists():
            return None
        left = json.loads(metrics.read_text())
        rows = read_jsonl(answers, "task", "question", "ended", "passed")
        asked = [(item["kind"], item["messages"][-1]["content"]) for item in self.items]
        if left["checkpoint"] != digest or [(row["task"], row["question"]) for row in rows] != asked:
            return None
        return {name: canaries.mean([row[key] for row in some]) for name, key, some in canaries.groups(rows)} \
            | {"answers": rows}

    def close(self, model, out):
        """The block of metrics.json, None where nothing was asked."""
        if not self.items:
            return None
        after = self.ask(model)
        print(f"canaries before: {canaries.show(self.before)}\n         after: {canaries.show(after)}")
        write_answers(out, after["answers"])
        return canaries.block(self.before, after)
