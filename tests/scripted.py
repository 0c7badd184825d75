"""
A model whose answers are known, so that tests can say what a chat must show.

Scripted has a Llama's forward and no weights that matter: it writes each id that it reads into the
engine's cache as if it were a key, reads the whole conversation back from there, and gives all its
probability to the next id of the answer that belongs to the last question.
"""

import contextlib
import socket
import threading
import time

import torch
import torch.nn as nn

from bpe import template
from bpe.bpe import Tokenizer
from chat.worker import Worker
from gpt.engine import Engine
from gpt.llama import Config

TOKENIZER = Tokenizer([])                                     # a byte a token
SUM = [{"type": "text", "text": "Half of 48 is 48/2="}, {"type": "call", "text": "48/2"},
       {"type": "result", "text": "24"}, {"type": "text", "text": "24 apples.\n#### 24"}]
ANSWERS = {
    "sum": SUM,
    "hello": "Hello, wörld! 🦊 bye",
    "markup": "<img src=x onerror=\"document.title='broken'\"><b>bold</b>",
    "broken": [{"type": "text", "text": "1/0="}, {"type": "call", "text": "1/0"},
               {"type": "result", "text": "error: division by zero"}, {"type": "text", "text": "no."}],
    "long": "word " * 400,
}
ABOUT = {"model": "test/scripted", "hash": "0" * 64, "parameters": 2_600_000}


class Scripted(nn.Module):
    def __init__(self, answers=ANSWERS, context=512, delay=0.0):
        super().__init__()
        self.config = Config(vocab_size=TOKENIZER.n_vocab, n_layer=1, n_head=1, n_kv_head=1, n_embd=2, context=context)
        self.answers, self.delay = answers, delay
        self.unused = nn.Parameter(torch.zeros(1))            # says the device and the number format

    def select(self, rows):
        pass

    def answer(self, seen):
        """The next id after those seen: of the answer to the last question, which is echoed if unknown."""
        def after(name):
            return len(seen) - seen[::-1].index(TOKENIZER.specials[name])

        question = TOKENIZER.decode(seen[after("<|user|>"):after("<|assistant|>") - 2])
        content = self.answers.get(question, f"You said: {question}")
        messages = [{"role": "user", "content": ""}, {"role": "assistant", "content": content}]
        whole, _ = template.render(messages, TOKENIZER)       # <|bos|> <|user|> <|end|> <|assistant|> ...
        return whole[4 + len(seen) - after("<|assistant|>")]

    def forward(self, idx, targets=None, *, positions=None, doc=None, cache=None, rows=None, counts=None):
        time.sleep(self.delay)
        B, T = idx.shape
        rows = torch.arange(B) if rows is None else rows
        counts = torch.full((B,), T) if counts is None else counts
        start = cache.lengths[rows]                                               # (B,)
        keys = idx[:, None, :, None].expand(B, 1, T, 2).to(cache.stores[0].dtype)         # (B, 1, T, 2)
        seen, _ = cache.extend(0, rows, start[:, None] + torch.arange(T), keys, keys)
        cache.lengths[rows] = start + counts
        logits = torch.zeros(B, 1, self.config.vocab_size)
        for b in range(B):
            ids = seen[b, 0, :start[b] + counts[b], 0].long().tolist()
            logits[b, 0, self.answer(ids)] = 100.0
        return logits, None


@contextlib.contextmanager
def working(model=None, slots=4):
    """A Worker around a Scripted, for as long as the block lasts."""
    model = model or Scripted()
    worker = Worker(Engine(model, TOKENIZER, slots, model.config.context), TOKENIZER, model.config.context, slots)
    worker.start()
    try:
        yield worker
    finally:
        worker.close()


@contextlib.contextmanager
def serving(app):
    """The address of a real server for the application, on a free port, in a thread, until the block ends."""
    import uvicorn
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
