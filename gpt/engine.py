"""
The engine: many prompts at once through one model, each token computed from cached keys and values.

    engine = Engine(model, tokenizer, slots=64)
    reply = engine.submit(ids, max_new=100, sampling=Sampling(temperature=0.8), tools=TOOLS)
    while engine.busy:
        for reply, id, logprob, forced in engine.step():     # one token for every running request
            ...
    generate(model, tokenizer, prompts, max_new=100)          # or all at once

A request joins as soon as a slot is free and leaves when its reply ends, whatever the others do
(continuous batching: Yu et al. 2022, Orca, section 3: https://www.usenix.org/conference/osdi22/presentation/yu).
The running requests always fill the first slots of the cache, so that a step reads one block and copies
nothing. When a reply closes a tool call, the tool runs and its result is fed to the model as if
it had written it. What makes it faster has files of its own: gpt/prefix.py, gpt/frozen.py, gpt/int8.py.

B = batch, T = time (positions), V = vocabulary
"""

from collections import deque
from dataclasses import dataclass, field, replace

import torch

from gpt.cache import Cache
from gpt.frozen import freeze
from gpt.sampling import Sampling, choose
from gpt.tools import TOOLS, answer

PREFILL = 2048  # tokens of prompts read in one pass; more is no faster and holds more memory


@dataclass(eq=False)
class Reply:
    """A request and the reply to it, as far as it is written. `forced` marks ids that a tool wrote."""
    prompt: list[int]
    max_new: int                                             # cut to what the context leaves
    sampling: Sampling
    seed: int
    adapter: object = None
    tools: dict | None = None
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)      # nats, under the model itself: no temperature, no cut
    forced: list[bool] = field(default_factory=list)
    finished: str | None = None                              # "end", "length" or "cancelled"
    due: deque = field(default_factory=deque)                # ids of a tool's result that are still to be fed
    chance: list[float] = field(default_factory=list)        # one uniform number for each id to be drawn
    version: object = None                                   # of the weights that began it

    def __post_init__(self):
        generator = torch.Generator().manual_seed(self.seed)
        if self.sampling.temperature:
            self.chance = torch.rand(self.max_new, generator=generator).tolist()


class Engine:
    """
    slots: requests that run at once, further ones wait;  context: tokens of prompt and reply together
    [the model's];  prefixes: a Prefixes, where texts begin alike. For the size of the cache see gpt/cache.py.
    """

    def __init__(self, model, tokenizer, slots=64, context=None, prefixes=None):
        weight = next(model.parameters())
        self.model, self.tokenizer, self.slots = model, tokenizer, slots
        self.context, self.device = context or model.config.context, weight.device
        self.cache = Cache(model.config, slots, self.context, weight.dtype, weight.device)
        self.waiting, self.running = deque(), []             # running[i] has slot i of the cache
        self.prefixes, self.version = prefixes, None         # give it another version when the weights change
        special = tokenizer.specials
        self.stops = {special["<|end|>"], special["<|bos|>"]}  # a base model ends a text where the next begins

    @property
    def busy(self):
        return bool(self.waiting or self.running)

    def submit(self, ids, max_new, sampling=Sampling(), seed=0, adapter=None, tools=None):
        """
        Queue a prompt and return its Reply, which step() fills.
        max_new: ids to write at most, a tool's included;  tools: dict name -> function from text to text;
        ValueError for a prompt that is empty or leaves no room in the context
        """
        if not 0 < len(ids) < self.context:
            raise ValueError(f"the prompt has {len(ids)} tokens; it may have 1 to {self.context - 1}")
        if max_new < 1:
            raise ValueError(f"{max_new=} leaves nothing to write")
        room = min(max_new, self.context - len(ids))
        self.waiting.append(Reply(list(ids), room, sampling, seed, adapter, tools))
        return self.waiting[-1]

    def fork(self, reply, n):
        """n further replies that go on from where this unfinished one is, with the seeds that follow its own."""
        if reply.finished:
            raise ValueError(f"the reply has finished ({reply.finished})")
        children = [replace(reply, seed=reply.seed + i, ids=reply.ids[:], logprobs=reply.logprobs[:],
                            forced=reply.forced[:], due=reply.due.copy()) for i in range(1, n + 1)]
        self.waiting.extend(children)                        # their common start is read once, see admit()
        return children

    def cancel(self, reply):
        """Stop a reply where it is and free its slot."""
        if reply in self.running:
            self.leave(self.running.index(reply))
        elif reply in self.waiting:
            self.waiting.remove(reply)
        reply.finished = reply.finished or "cancelled"

    @torch.inference_mode()
    def step(self):
        """Write one id for every running request: [(reply, id, logprob in nats, forced by a tool), ...]"""
        logits = [self.read(self.running, [r.ids[-1:] for r in self.running], 0)] if self.running else []
        while self.waiting and len(self.running) < self.slots:
            logits.append(self.admit())
        if not logits:
            return []
        events = self.write(torch.cat(logits))               # (B, V), row i belongs to running[i]
        for slot in reversed(range(len(self.running))):
            if self.running[slot].finished:
                self.leave(slot)
        return events

    def admit(self):
        """Give slots to the next waiting requests and read their prompts, equal ones once; logits (B, V)."""
        groups, free, widest = {}, self.slots - len(self.running), 0
        while self.waiting and free:
            key = self.waiting[0].adapter, (*self.waiting[0].prompt, *self.waiting[0].ids)
            widest = max(widest, len(key[1]))
            if groups and key not in groups and (len(groups) + 1) * widest > PREFILL:
                break
            groups.setdefault(key, []).append(self.waiting.popleft())
            groups[key][-1].version = self.version
            free -= 1
        first, groups = len(self.running), list(groups.values())
        heads = [group[0] for group in groups]
        copies = [(row, reply) for row, group in enumerate(groups) for reply in group[1:]]
        texts = [r.prompt + r.ids for r in heads]
        if self.prefixes:
            texts = [text[self.prefixes.restore(self.cache, first + row, (r.version, r.adapter), text):]
                     for row, (r, text) in enumerate(zip(heads, texts))]
        logits = self.read(heads, texts, first)
        for slot, (row, _) in enumerate(copies, first + len(heads)):
            self.cache.move(first + row, slot)
        self.running += heads + [reply for _, reply in copies]
        return logits[[*range(len(heads)), *(row for row, _ in copies)]]

    def read(self, replies, ids, first):
        """Feed each reply its list of ids, in the slots from `first` on; logits (B, V) of what comes next."""
        B, T = len(ids), max(map(len, ids))
        idx = torch.tensor([row + [0] * (T - len(row)) for row in ids], device=self.device)  # (B, T)
        counts = torch.tensor([len(row) for row in ids], device=self.device) if T > 1 else None  # (B,)
        self.model.select([reply.adapter for reply in replies])
        logits = self.model(idx, cache=self.cache.part(first, B), counts=counts)[0][:, 0]    # (B, V)
        return logits[:, :self.tokenizer.n_vocab].to(torch.promote_types(logits.dtype, torch.float32))

    def write(self, logits):
        """Choose the next id of every running reply, or take what its tool has written; the events."""
        running = self.running
        forced = {row: r.due.popleft() for row, r in enumerate(running) if r.due}
        chances = [r.chance[len(r.ids)] if r.chance else 0.0 for r in running]
        texts = [r.prompt + r.ids if r.sampling.repetition != 1 else () for r in running]
        ids = choose(logits, [r.sampling for r in running], chances, texts)       # (B,)
        if forced:
            ids[list(forced)] = ids.new_tensor(list(forced.values()))
        logprobs = logits.log_softmax(dim=1).gather(1, ids[:, None])[:, 0]        # (B,)
        events = []
        for row, (reply, id, logprob) in enumerate(zip(running, ids.tolist(), logprobs.tolist())):
            reply.ids.append(id)
            reply.logprobs.append(logprob)
            reply.forced.append(row in forced)
            events.append((reply, id, logprob, row in forced))
            if id in self.stops:
                reply.finished = "end"
            elif len(reply.ids) == reply.max_new:
                reply.finished = "length"
            elif reply.tools:
                reply.due.extend(answer(reply.ids, reply.tools, self.tokenizer))
        return events

    def leave(self, slot):
        """Free a slot; the last running request moves into it, so that no gap is left."""
        last, reply = len(self.running) - 1, self.running[slot]
        if self.prefixes and reply.version == self.version:
            self.prefixes.keep(self.cache, slot, (reply.version, reply.adapter), reply.prompt + reply.ids)
        if slot < last:
            self.cache.move(last, slot)
            self.running[slot] = self.running[last]
        self.running.pop()
        self.cache.lengths[last] = 0


def generate(model, tokenizer, prompts, max_new, sampling=Sampling(), seed=0, tools=TOOLS, slots=128):
    """
    The replies to many prompts, in their order; prompt i is sampled with seed + i.
    prompts: lists of ids; one that leaves no room in the model's context gets no id and finished = "length"
    tools: None for none;  returns: list of Reply
    """
    fitting = [len(ids) for ids in prompts if len(ids) < model.config.context]
    context = min(model.config.context, max(fitting, default=1) + max_new)
    engine = Engine(freeze(model), tokenizer, min(slots, max(1, len(fitting))), context)
    replies = [engine.submit(ids, max_new, sampling, seed + i, tools=tools) if len(ids) < context
               else Reply(ids, 0, sampling, seed + i, finished="length") for i, ids in enumerate(prompts)]
    engine.waiting = deque(sorted(engine.waiting, key=lambda reply: -len(reply.prompt)))  # little padding in each pass
    while engine.busy:
        engine.step()
    return replies
