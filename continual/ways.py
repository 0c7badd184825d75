"""
Should one train at all? The same facts in the prompt, looked up, in an adapter behind a router, in all weights.

    python continual/ways.py                                 # a table, after some minutes
    python continual/ways.py --facts 5 --limit 60            # to see that it runs

    nothing      the base alone
    prompt       every question comes with all the facts before it
    looked up    with the one fact that BM25 finds (continual/bm25.py), where the router says that there is one
    quoted       that fact is the answer; no model is asked
    adapter      a lesson like any other (continual/live.py)
    all weights  fine-tuned on the same conversations, with as many of the base's own among them; three rates

Right: questions in unseen wordings (continual/invented.py), the answer's words in the reply. Price: 2 N operations for
each token read or written, N parameters, a mean over the questions. Lost: old questions (continual/gate.py) that the
base answered and this one does not, with the exact upper end of the 95% interval.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import time
from pathlib import Path
from typing import NamedTuple

from bpe.template import parse_reply, render, text_of
from continual.bm25 import BM25
from continual.deployed import MAX_NEW, right, talk, taught
from continual.gate import compare, marked
from continual.invented import invented
from continual.lesson import expand
from continual.served import Served, reply
from continual.teach import LENGTH, ROWS, examples, own_replies, plain_copy
from eval.canaries import MAX_NEW as LONGEST
from train.adamw import AdamW
from train.loader import Loader
from train.log import write_metrics
from train.schedule import trapezoid
from train.step import optimize

RATES = 3e-4, 1e-3, 3e-3     # of fine-tuning all weights
STEPS = 200                  # of it, each of ROWS x LENGTH tokens


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--facts", type=int, default=20, help="[%(default)s]")
    add("--seed", type=int, default=0, help="of the invented facts [%(default)s]")
    add("--checkpoint", type=Path, default=Path("out/tinyworld/model"), help="what serves [%(default)s]")
    add("--data", type=Path, default=Path("out/tinyworld/corpus"), help="its corpus [%(default)s]")
    add("--out", type=Path, default=Path("out/continual/ways"), help="where to write [%(default)s]")
    add("--limit", type=int, help="old questions, to see that it runs [all]")
    return p.parse_args(argv)


# ----------------------------------------------------------------------------
# the ways

class Way(NamedTuple):
    answer: object           # (conversations, max_new) -> (contents of the replies, operations in all)
    touches: object          # (conversation) -> whether it may be answered otherwise than by the base
    seconds: float = 0.0     # of training


def with_context(messages, passages):
    """The conversation, its last message behind these passages."""
    *before, last = messages
    parts = [{"type": "context", "text": passage} for passage in passages]
    return [*before, {"role": "user", "content": [*parts, {"type": "text", "text": text_of(last["content"])}]}]


def fitting(passages, messages, tokenizer, room):
    """As many of the passages as fit into so many tokens with the conversation."""
    while passages and len(render(with_context(messages, passages), tokenizer, for_reply=True)[0]) > room:
        passages = passages[:-1]
    return passages


def by_model(served, prepare, choose):
    """answer() of a Way: prepare(messages) is put to the model with the adapter that choose(messages) names."""
    size = sum(p.numel() for p in plain_copy(served.base).parameters())

    def answer(talks, max_new):
        found = reply(served, [prepare(messages) for messages in talks], max_new, [choose(m) for m in talks])
        tokens = sum(len(r.prompt) + len(r.ids) for r in found)
        return [parse_reply(r.ids, served.tokenizer) for r in found], 2 * size * tokens
    return answer


def fine_tuned(model, tokenizer, conversations, own, rate, seed=0):
    """A copy of the base, all of whose weights have learned the conversations and the base's own replies."""
    student, pad = plain_copy(model).train().requires_grad_(True), tokenizer.specials["<|pad|>"]
    loader = Loader(examples(conversations + own, tokenizer), pad, ROWS, LENGTH, seed, crop=False)
    adamw, where = AdamW(list(student.parameters())), next(student.parameters()).device
    for step in range(1, STEPS + 1):
        optimize(student, [(adamw, rate)], loader.next(), trapezoid(step, STEPS, 0.05, 0.6), 1.0, where)
    return student.eval()


def ways(args, served, gate, made):
    """name -> Way. served: with the lesson of `made` taught"""
    tokenizer, room = served.tokenizer, served.base.config.context - LONGEST
    facts = [fact.text for fact in made.lesson.facts]
    index = BM25()
    for number, text in enumerate(facts):
        index.add(number, text)
    same, none, routed = (lambda m: m), (lambda m: None), (lambda m: served.adapter_for(m) is not None)

    def look_up(messages):
        return [facts[n] for _, n in index.search(text_of(messages[-1]["content"]), 1)] if routed(messages) else []

    def quote(talks, max_new):
        return [" ".join(look_up(messages)) or "I do not know." for messages in talks], 0

    found = {"nothing": Way(by_model(served, same, none), lambda m: False),
             "prompt": Way(by_model(served, lambda m: with_context(m, fitting(facts, m, tokenizer, room)), none),
                           lambda m: True),
             "looked up": Way(by_model(served, lambda m: with_context(m, look_up(m)), none), routed),
             "quoted": Way(quote, routed),
             "adapter": Way(by_model(served, same, served.adapter_for), routed,
                            served.store.record(made.lesson.id)["scores"]["train_seconds"])}
    conversations = expand(made.lesson, share=0).train                # no router will number its questions
    own = own_replies(served.base, tokenizer, gate.sets.replay, gate.cache)
    for rate in RATES:
        begun = time.time()
        student = Served(fine_tuned(served.base, tokenizer, conversations, own, rate), tokenizer)
        found[f"all weights, {rate:g}"] = Way(by_model(student, same, none), lambda m: True, time.time() - begun)
    return found


def measure(way, gate, made):
    """{"right", "price", "train_seconds", and of old questions "lost", "won", "upper"} of a way."""
    contents, price = way.answer([talk(q) for q, *_ in made.questions], MAX_NEW)
    good = right(map(text_of, contents), [a for _, a, *_ in made.questions])
    rows, items = list(gate.base("gate")), gate.sets.gate
    touched = [i for i, item in enumerate(items) if way.touches(item["messages"])]
    if touched:
        some = [items[i] for i in touched]
        new, _ = way.answer([item["messages"] for item in some], LONGEST)
        for i, row in zip(touched, marked(some, new, [True] * len(new))):
            rows[i] = row
    old = compare(gate.base("gate"), rows)["all"]
    return {"right": sum(good) / len(good), "price": price / len(good), "train_seconds": way.seconds,
            **{key: old[key] for key in ("lost", "won", "upper")}}


def main(argv=None):
    args, begun, numbers = parse(argv), time.time(), {}
    args.out.mkdir(parents=True, exist_ok=True)
    made = invented(args.facts, args.seed)
    served, gate, outcome, _ = taught(args, "lesson", made.lesson)
    if outcome and not outcome.accepted:
        sys.exit(f"the gate refused the lesson: {'; '.join(outcome.reasons)}. Try another --seed")
    print(f"{len(made.questions)} questions about {args.facts} facts; {len(gate.sets.gate)} old ones\n"
          f"{'':22}{'right %':>8}{'10^9 operations':>17}{'training, s':>13}{'lost':>6}{'won':>5}{'points at most':>17}")
    for name, way in ways(args, served, gate, made).items():
        x = measure(way, gate, made)
        numbers |= {f"{name.replace(', ', '_').replace(' ', '_')}_{key}": value for key, value in x.items()}
        print(f"{name:22}{100 * x['right']:8.1f}{x['price'] / 1e9:17.2f}{x['train_seconds']:13.0f}{x['lost']:6}"
              f"{x['won']:5}{100 * x['upper']:17.2f}", flush=True)
    write_metrics(args.out, seconds=time.time() - begun, numbers=numbers)
    print(f"wrote {args.out / 'metrics.json'}")


if __name__ == "__main__":
    main()
