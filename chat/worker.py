"""
One thread that owns the engine. Others ask it for answers and are told of each event as it comes;
all answers under way advance together, one token each a step (continuous batching, gpt/engine.py).

    worker, about = load("out/tinyworld/model", slots=16)
    answer = worker.ask(ids, queue.put, max_new=200, sampling=Sampling(temperature=0.7), seed=1)
    worker.cancel(answer)

With a folder of lessons (live=...) the model answers what it was taught by the adapter of that lesson, and swap()
serves the version that the folder has by then. It happens between two steps, and an answer keeps the
adapter it began with.

    messages, lesson = worker.served.put(messages)           # None: the base
    worker.ask(..., adapter=lesson)
    worker.refresh()                                         # or swap(), where it is known to have changed

The last event of an answer, delivered once whatever happens, is
    {"type": "end", "reason": "stop" | "length" | "cancelled" | "error", "tokens": how many were made}
"""

import queue
import sys
import threading
import traceback
from pathlib import Path

import torch

from chat.session import Stream
from continual.served import Served
from continual.versions import Store
from gpt import checkpoint
from gpt.engine import Engine
from gpt.frozen import freeze
from gpt.prefix import Prefixes
from gpt.tools import TOOLS
from train.device import device


class Answer:
    """One request in the worker: where its events go, and what of it is not yet certain."""

    def __init__(self, deliver, stream):
        self.deliver, self.stream, self.reply = deliver, stream, None


class Worker(threading.Thread):
    """
    Runs an engine until close(). ask, cancel and close may be called from any thread: they only put
    an order into a queue that the worker's own thread works off between two steps.
    """

    def __init__(self, engine, tokenizer, context, slots, served=None):
        super().__init__(name="engine", daemon=True)
        self.served = served                # base and lessons; None where nothing can be taught
        self.engine, self.tokenizer, self.context, self.slots = engine, tokenizer, context, slots
        self.orders = queue.SimpleQueue()   # functions to call; None ends the thread
        self.active = {}                    # gpt.engine.Reply -> Answer

    def room(self, max_new):
        """How many tokens a prompt may have: a quarter of the context, or max_new, is kept for the answer."""
        return self.context - min(max_new, self.context // 4)

    def ask(self, ids, deliver, *, max_new, sampling, seed, stop=(), adapter=None):
        """
        Begin an answer to the prompt `ids`; `deliver(event)` is called from the worker's thread.
        max_new: most tokens to make, cut to what the context leaves;  stop: strings that end it
        adapter: a lesson's id; the base answers if it is forgotten by the time the answer begins
        """
        answer = Answer(deliver, Stream(self.tokenizer, stop))
        self.orders.put(lambda: self.begin(answer, ids, max_new, sampling, seed, adapter))
        return answer

    def swap(self):
        """Serve the store's current version; returns when it does. Its files are read in the caller's thread."""
        prepared, done = self.served.prepare(), threading.Event()
        self.orders.put(lambda: (self.served.update(self.engine, prepared), done.set()))
        done.wait()

    def refresh(self):
        """Swap if the folder of lessons has another version by now, whoever taught it."""
        if self.served and self.served.store.current() != self.served.version:
            self.swap()

    def cancel(self, answer=None):
        """End an answer, or all of them, and free the slots; nothing happens where it has ended."""
        self.orders.put(lambda: self.end_all([answer] if answer else self.active.values(), "cancelled"))

    def close(self):
        self.orders.put(None)
        self.join()

    # what follows runs in the worker's thread

    def run(self):
        while True:
            while not self.engine.busy or not self.orders.empty():  # waits here while there is nothing to do
                order = self.orders.get()
                if order is None:
                    return
                order()
            self.step()

    def begin(self, answer, ids, max_new, sampling, seed, adapter):
        adapter = adapter if self.served and adapter in self.served.version.lessons else None
        answer.reply = self.engine.submit(ids, max_new, sampling, seed, adapter, TOOLS)
        self.active[answer.reply] = answer

    def step(self):
        """One token for every answer. If the engine fails, so do the answers, and the worker lives on."""
        try:
            made = self.engine.step()
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return self.end_all(self.active.values(), "error")
        for reply, id, _, _ in made:
            answer = self.active[reply]
            for event in answer.stream.feed(id):
                answer.deliver(event)
            if answer.stream.stopped:
                self.end(answer, "stop")
        for reply in [reply for reply in self.active if reply.finished]:
            self.end(self.active[reply], "length" if reply.finished == "length" else "stop")

    def end_all(self, answers, reason):
        for answer in list(answers):
            self.end(answer, reason)

    def end(self, answer, reason):
        if self.active.pop(answer.reply, None) is None:
            return
        if not answer.reply.finished:
            self.engine.cancel(answer.reply)
        for event in answer.stream.close():
            answer.deliver(event)
        answer.deliver({"type": "end", "reason": reason, "tokens": len(answer.reply.ids)})
        if self.served:
            self.served.release(self.engine)


def load(path, slots, threads=None, live=None):
    """
    A running worker for the checkpoint at `path`, and what it is: its name as "model", "hash",
    "parameters". Exits with one line where there is no sound checkpoint. live: folder of lessons for
    it (continual/versions.py), made by the first one; StoreError if they are another model's
    """
    if threads:
        torch.set_num_threads(threads)
    try:
        model, tokenizer, info = checkpoint.load(path, device())
    except checkpoint.CheckpointError as error:
        sys.exit(str(error))
    context, parameters = model.config.context, sum(p.numel() for p in model.parameters())
    served = Served(model, tokenizer, Store(live, info["hash"])) if live else None
    engine = Engine(served.model if served else freeze(model), tokenizer, slots, context, prefixes=Prefixes())
    engine.version = served.key if served else info["hash"]  # prefixes: each turn sends all before it
    worker = Worker(engine, tokenizer, context, slots, served)
    worker.start()
    name = "/".join(part for part in Path(info["path"]).resolve().parts[-4:] if part != "run")
    return worker, {"model": name, "hash": info["hash"], "parameters": parameters}
