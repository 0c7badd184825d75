"""
Teach a lesson: an adapter to a copy of the frozen base, trained on the lesson's conversations and the base's
own words.

    own = own_replies(model, tokenizer, prompts, cache)      # the base's greedy replies, made once
    weights = teach(model, tokenizer, conversations, own, seed=0)     # {"model.layers.0....A": tensor, ...}

Two things are learned. Which fact a question means is decided in the first few tokens of a reply, and is hard;
what the fact says after that is a sentence to be known by heart, and is easy. So most repetitions of a
conversation end after the reply's first HEAD tokens: half the cost, and the gradient goes to what is hard.
(Recall with and without: the lesson.)

Replay are the base's own samples (Robins 1995), and what is asked there is not the sample but the base's whole
distribution (Hinton et al. 2015, section 2, https://arxiv.org/abs/1503.02531): a soft target holds more, so few
tokens do.

A copy is trained, so that the model that serves stays as it is, in another thread too. The same arguments give
the same bits, on one machine with the same number of threads. Embedding and head are adapted with the blocks: a
new name is made of tokens that the base seldom read or wrote. Logits are computed where something is to be
learned, and nowhere else.

B = batch, T = time, V = vocabulary, N = tokens to be learned
"""

import copy
import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils import clip_grad_norm_

from bpe.template import parse_reply, render
from gpt.engine import generate
from lora.lora import LLAMA, LoRAConfig, inject, layers, parameters, state, strip
from lora.peft_format import base_hash
from train.adamw import AdamW
from train.loader import Conversations, Loader
from train.schedule import trapezoid

CONFIG = LoRAConfig(rank=32, alpha=64.0, targets=(*LLAMA, "embed_tokens", "lm_head"))
RATE = 0.01            # AdamW's peak
ROWS, LENGTH = 5, 128  # of a step: 640 tokens
OWN = 1                # of the rows, those of the base's own replies
WEIGHT = 0.3           # of the divergence from the base on them, against the lesson's loss
BUDGET = 12_000        # tokens to train on for each fact
LEAST = 80             # steps for the smallest lesson
HEAD, CUT = 6, 0.6     # tokens of a reply that are left in a share CUT of its repetitions
NAME = "lesson"


def own_replies(model, tokenizer, prompts, cache=None, max_new=LENGTH):
    """
    [messages with the base's own greedy reply at their end], of the replies that end. Made without adapters.
    prompts: lists of messages, the user's last;  cache: folder in which they are kept, by base and prompts
    """
    key = hashlib.sha256(json.dumps([base_hash(model), max_new, prompts]).encode()).hexdigest()[:24]
    path = Path(cache) / f"own_{key}.json" if cache else None
    if path and path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    ids = [render(prompt, tokenizer, for_reply=True)[0] for prompt in prompts]
    replies = generate(plain_copy(model), tokenizer, ids, max_new)
    own = [[*prompt, {"role": "assistant", "content": parse_reply(reply.ids, tokenizer)}]
           for prompt, reply in zip(prompts, replies) if reply.finished == "end"]
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps(own), encoding="utf-8")
        part.replace(path)                                   # a kill leaves a whole file or none
    return own


def plain_copy(model):
    """A copy of the base, without the adapters that are on the model."""
    plain = copy.deepcopy(model)
    if layers(plain):
        strip(plain)
    return plain.eval()


def examples(conversations, tokenizer, cut=0.0, rng=None, copies=1):
    """[(ids, mask)] of conversations; of a share `cut` of the copies, only the first HEAD tokens of the last reply."""
    found = []
    for messages in conversations:
        ids, mask = render(messages, tokenizer)
        begin = len(mask) - mask[::-1].index(0)              # where the last run of learned tokens begins
        for _ in range(copies):
            end = begin + HEAD if cut and rng.random() < cut else len(ids)
            if len(ids[:end]) <= LENGTH:
                found.append((np.array(ids[:end]), np.array(mask[:end], dtype=bool)))
    return Conversations(found)


def distilled(student, batch):
    """KL(base || student) in nats a token, at what is learned of the batch. Leaves the adapter selected."""
    x, y, doc, positions = batch
    with torch.no_grad():
        student.select(None)
        base = student(x, y, doc=doc, positions=positions)[1].log_softmax(dim=1)  # (N, V)
    student.select(NAME)
    own = student(x, y, doc=doc, positions=positions)[1].log_softmax(dim=1)       # (N, V)
    return F.kl_div(own, base, log_target=True, reduction="batchmean")


def teach(model, tokenizer, conversations, own=(), seed=0, report=None):
    """
    The weights of an adapter that has learned the conversations: lora.state(), {"layer.A": tensor, ...}.
    conversations, own: lists of messages that end in a reply;  report: called with a line of progress now and then
    """
    pad, rng = tokenizer.specials["<|pad|>"], np.random.default_rng(seed)
    facts = len({json.dumps(messages[-1]["content"]) for messages in conversations})
    steps = max(LEAST, math.ceil(facts * BUDGET / (ROWS * LENGTH)))
    asked = examples(conversations, tokenizer, CUT, rng, copies=4)
    lesson = Loader(asked, pad, ROWS - OWN, LENGTH, seed, crop=False)
    replay = Loader(examples(own, tokenizer), pad, OWN, LENGTH, seed, crop=False) if own else None

    student = plain_copy(model).train()
    inject(student, CONFIG, NAME, torch.Generator().manual_seed(seed))
    student.head_loss = lambda x, weight, targets: student.lm_head(x[targets >= 0])           # logits (N, V)
    adamw = AdamW(parameters(student, NAME))
    for step in range(1, steps + 1):
        x, y, doc, positions = lesson.next()                                                  # (B, T) each
        nats = F.cross_entropy(student(x, y, doc=doc, positions=positions)[1], y[y >= 0])
        drift = distilled(student, replay.next()) if replay else torch.zeros(())
        (nats + WEIGHT * drift).backward()
        clip_grad_norm_(adamw.params, 1.0)
        adamw.lr = RATE * trapezoid(step, steps, warmup=0.05, cooldown=0.6)
        adamw.step()
        adamw.zero_grad()
        if report and (step % 20 == 0 or step == steps):
            report(f"step {step:4d}/{steps} | {nats.item():.4f} nats a token of the lesson | "
                   f"{drift.item():.4f} from the base on its own")
    return state(student, NAME)
