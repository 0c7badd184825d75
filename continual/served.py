"""
What answers: the base, and for a message about something taught, the adapter of that lesson.

    served = Served(model, tokenizer, store)                 # a Store of continual/versions.py
    engine = Engine(served.model, tokenizer, slots)
    messages, lesson = served.put(messages)                  # with the number of the fact that is asked about
    engine.submit(ids, max_new, adapter=lesson)              # ids: of these messages
    served.update(engine)                                    # between two steps: the version that the store has now
    reply(served, conversations, max_new=100)                # or many at once

The base's weights never change. An update puts the adapters of a version on and takes off those it does not have; an
answer that is being written keeps the adapter it began with, until its end. Rows of all lessons and of none run in one
batch, and rows of none get the base's own logits (lora/lora.py for prompts, gpt/frozen.py for the steps).

    with served.trial(lesson, weights):                      # as if it were taught, to be measured; nothing is stored
        reply(served, ...)
"""

import contextlib
from typing import NamedTuple

from bpe.template import render, text_of
from continual.address import Router
from continual.lesson import with_number
from continual.teach import CONFIG
from continual.versions import Version
from gpt.engine import Engine, Sampling
from gpt.frozen import Frozen, freeze
from gpt.tools import TOOLS
from lora.lora import inject, layers, load_state, remove


class Prepared(NamedTuple):
    """What a version needs, read from the disk."""
    version: Version
    router: Router
    weights: dict                # lesson id -> adapter, of those that are not there yet
    digests: dict                # lesson id -> sha256 of its adapter


class Served:
    """model: a Llama, which gets the adapters;  store: None for a model that is taught nothing"""

    def __init__(self, model, tokenizer, store=None):
        self.base, self.tokenizer, self.store = model, tokenizer, store
        self.model = freeze(model)                           # what an Engine takes
        self.version, self.router, self.digests = Version(), Router(), {}     # digests: of all adapters that are on
        if store:
            self.update()

    # which adapter

    def choose(self, messages):
        """(lesson, number of the fact, share) that the last message asks about; see Router.choose and follow"""
        *before, last = [text_of(m["content"]) for m in messages if m["role"] == "user"]
        return self.router.follow(before[-1], last) if before else self.router.choose(last)

    def put(self, messages):
        """(messages as they are put to the model, the lesson that answers or None); see continual/lesson.py"""
        asked = messages and messages[-1]["role"] == "user"  # what else there is the template will say
        lesson, number, _ = self.choose(messages) if asked else (None, None, 0.0)
        return with_number(messages, number) if lesson else messages, lesson

    def adapter_for(self, messages):
        """The lesson, by its id, that the last message asks about; None for the base."""
        return self.choose(messages)[0]

    # which version

    @property
    def key(self):
        """Says which weights serve: for the engine, whose prefixes are good for these alone."""
        return (self.store.base, *self.version.adapters) if self.store else ()

    def prepare(self):
        """Read the store's current version: the slow part of an update, for any thread."""
        while True:
            version = self.store.current()
            try:
                digests = dict(zip(version.lessons, version.adapters))
                new = [id for id, digest in digests.items() if self.digests.get(id) != digest]
                weights = {id: self.store.adapter(id) for id in new}
                return Prepared(version, self.store.router(version), weights, digests)
            except FileNotFoundError:                        # forgotten just now: then it is not current any more
                if self.store.current() == version:
                    raise

    def update(self, engine=None, prepared=None):
        """Serve a version, by default the store's current one. engine: whose answers keep the adapters they have"""
        prepared = prepared or self.prepare()
        for id, digest in prepared.digests.items():
            if self.digests.get(id) != digest:
                self.put_on(id, prepared.weights.get(id) or self.store.adapter(id), digest)
        self.version, self.router = prepared.version, prepared.router
        self.release(engine)
        if engine:
            engine.version = self.key                        # what was kept of texts read by other adapters goes
            kept = engine.prefixes.entries if engine.prefixes else ()
            for entry in [entry for entry in kept if entry.owner[0] != self.key]:
                engine.prefixes.drop(entry)

    def release(self, engine=None):
        """Take off the adapters that the version does not have and no answer uses."""
        used = {reply.adapter for reply in [*engine.running, *engine.waiting]} if engine else set()
        for id in self.digests.keys() - {*self.version.lessons} - used:
            self.take_off(id)

    def put_on(self, id, weights, digest=None):
        if id in self.digests:
            self.take_off(id)
        inject(self.base, CONFIG, id)
        load_state(self.base, weights, id)
        if isinstance(self.model, Frozen):
            self.model.attach(id, {path: (layer.adapters[id].A, layer.adapters[id].B, CONFIG.scale)
                                   for path, layer in layers(self.base) if id in layer.adapters})
        self.model.select(None)
        self.digests[id] = digest

    def take_off(self, id):
        del self.digests[id]
        remove(self.base, id)
        if isinstance(self.model, Frozen):
            self.model.detach(id)

    @contextlib.contextmanager
    def trial(self, lesson, weights):
        """Within the block a lesson is served as if it were the last one taught; the store knows nothing of it."""
        before = self.router
        self.put_on(lesson.id, weights)
        self.router = self.store.router(self.version, lesson)
        try:
            yield self
        finally:
            self.router = before
            self.take_off(lesson.id)


def reply(served, conversations, max_new, adapters=None, sampling=Sampling(), seed=0, tools=TOOLS, slots=128,
          numbered=True):
    """
    The replies to many conversations, in their order: list of gpt.engine.Reply. adapters: a lesson's id or None for
    each [what the router chooses]. numbered: where the lesson is the router's own choice, the fact's number goes along
    """
    put = [served.put(messages) for messages in conversations]
    adapters = [lesson for _, lesson in put] if adapters is None else adapters
    talks = [with_it if numbered and adapter and adapter == lesson else messages
             for messages, (with_it, lesson), adapter in zip(conversations, put, adapters)]
    prompts = [render(messages, served.tokenizer, for_reply=True)[0] for messages in talks]
    context = min(served.base.config.context, max(map(len, prompts), default=1) + max_new)
    engine = Engine(served.model, served.tokenizer, min(slots, max(1, len(prompts))), context)
    replies = [engine.submit(ids, max_new, sampling, seed + i, adapter, tools)
               for i, (ids, adapter) in enumerate(zip(prompts, adapters))]
    while engine.busy:
        engine.step()
    return replies
