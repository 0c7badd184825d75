"""
Teach a lesson: an adapter on a copy of the frozen base, trained on the lesson's conversations and on the base's own words.

    own = own_replies(model, tokenizer, prompts, cache)      # the base's greedy replies, made once
    weights = teach(model, tokenizer, conversations, own, seed=0)     # {"model.layers.0....A": tensor, ...}

The copy is trained, so the model that serves stays as it is, in another thread too. The base's own replies are replay
(Robins 1995), with the twist that they are the model's own samples: what is asked of the adapter beside its lesson is
to go on as the base would. Embedding and head are adapted too: a name that the tokenizer cuts into pieces the base has
never written in this order is learned there.

The same arguments give the same bits, on one machine with the same number of threads.
"""

import copy
import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import torch

from bpe.template import parse_reply, render
from gpt.engine import generate
from lora.lora import EMBEDDING, LLAMA, LoRAConfig, inject, layers, parameters, remove, state
from lora.peft_format import base_hash
from train.adamw import AdamW
from train.loader import Conversations, Loader
from train.schedule import trapezoid
from train.step import optimize

CONFIG = LoRAConfig(rank=16, alpha=32.0, targets=LLAMA + EMBEDDING)
RATE = 0.005           # AdamW's peak
ROWS, LENGTH = 8, 256  # of a step: 2,048 tokens
EPOCHS = 3             # over the lesson's conversations
SHARE = 0.25           # of the conversations that are the base's own
MAX_NEW = 128          # tokens of an own reply; one that has not ended by then is left out


def own_replies(model, tokenizer, prompts, cache=None):
    """
    [messages with the base's own greedy reply at their end], of those that end. Made without adapters.
    prompts: lists of messages, the user's last;  cache: folder in which they are kept, by base and prompts
    """
    key = hashlib.sha256(json.dumps([base_hash(model), MAX_NEW, prompts]).encode()).hexdigest()[:24]
    path = Path(cache) / f"own_{key}.json" if cache else None
    if path and path.exists():
        return json.loads(path.read_text())
    model.select(None)
    replies = generate(model, tokenizer, [render(p, tokenizer, for_reply=True)[0] for p in prompts], MAX_NEW)
    own = [[*prompt, {"role": "assistant", "content": parse_reply(reply.ids, tokenizer)}]
           for prompt, reply in zip(prompts, replies) if reply.finished == "end"]
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps(own))
        part.replace(path)                                   # a kill leaves a whole file or none
    return own


def plain_copy(model):
    """A copy of the base, without the adapters that are on the model."""
    student = copy.deepcopy(model)
    for name in {name for _, layer in layers(student) for name in layer.adapters}:
        remove(student, name)
    student.head_loss = None                                 # that one knows no adapter on the head
    return student


def mix(conversations, own, rng):
    """The lesson's conversations EPOCHS times, and among them the base's own, SHARE of all; in random order."""
    count = int(len(conversations) * EPOCHS * SHARE / (1 - SHARE)) if own else 0
    mixed = conversations * EPOCHS + [own[i % len(own)] for i in rng.permutation(count)]
    return [mixed[i] for i in rng.permutation(len(mixed))]


def teach(model, tokenizer, conversations, own, seed=0, report=None):
    """
    The weights of an adapter that has learned the conversations: lora.state(), {"layer.A": tensor, ...}.
    conversations, own: lists of messages that end in a reply;  report: called with a line now and then
    """
    rng = np.random.default_rng(seed)
    examples = [render(messages, tokenizer) for messages in mix(conversations, own, rng)]
    examples = [(np.array(ids), np.array(mask, dtype=bool)) for ids, mask in examples if len(ids) <= LENGTH]
    loader = Loader(Conversations(examples), tokenizer.specials["<|pad|>"], ROWS, LENGTH, seed, crop=False)
    steps = max(8, math.ceil(loader.documents.lengths.sum() / (ROWS * LENGTH)))
    student = plain_copy(model).train()
    inject(student, CONFIG, "lesson", torch.Generator().manual_seed(seed))
    adamw, where = AdamW(parameters(student, "lesson")), next(student.parameters()).device
    for step in range(1, steps + 1):
        factor = trapezoid(step, steps, warmup=0.05, cooldown=0.6)
        loss, _ = optimize(student, [(adamw, RATE)], loader.next(), factor, 1.0, where)
        if report and (step % 10 == 0 or step == steps):
            report(f"step {step:4d}/{steps} | loss {loss.item():.4f} nats per token of a reply")
    return state(student, "lesson")
