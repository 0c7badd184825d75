"""
Documents to ids in several processes, in order, only those under way in memory.

    from bpe.parallel import encoded
    for tag, ids in encoded(docs, tokenizer, workers=2): ...

The parent reads and writes, the workers encode. They are processes, not threads, since Python runs one
thread at a time; a batch is large enough that sending it costs little beside encoding it.
"""

import os
import sys
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import parent_process

import numpy as np

from bpe import template

BATCH = 1 << 18    # characters that a process takes at a time


def document(record, tokenizer):
    """One record's ids, <|bos|> first; ValueError if it is none of the three forms."""
    if "messages" in record:
        return template.render(record["messages"], tokenizer)[0]
    if "question" in record:
        answer = template.from_gsm8k(record["answer"])
        turns = [{"role": "user", "content": record["question"]}, {"role": "assistant", "content": answer}]
        return template.render(turns, tokenizer)[0]
    if "text" in record:
        return [tokenizer.specials["<|bos|>"]] + tokenizer.encode(record["text"])
    raise ValueError(f"no text, messages or question among its keys {sorted(record)}")


def start(shared):
    """Give a worker process its tokenizer, and have it end when its parent does, be that by SIGKILL."""
    global tokenizer
    tokenizer = shared
    threading.Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def encode(batch):
    """A worker's share: (tag, ids) of each (tag, where, record), or the message of the first that is bad."""
    out = []
    for tag, where, record in batch:
        try:
            out.append((tag, np.array(document(record, tokenizer), dtype=np.uint32)))
        except (KeyError, TypeError, ValueError) as e:
            return f"{where}: {e}"
    return out


def batches(docs):
    """Lists of documents of together about BATCH characters."""
    batch, size = [], 0
    for doc in docs:
        batch.append(doc)
        size += len(str(doc))
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def encoded(docs, tokenizer, workers):
    """
    Yield (tag, ids) of each (tag, where, record), in order; a few batches are under way, the rest is not yet read.
    ids: (n,) uint32, <|bos|> first;  record: see bpe/documents.py;  exits and names `where` if it is bad
    """
    def finish(future):
        if isinstance(out := future.result(), str):
            sys.exit(f"{out}; correct or remove it")
        return out

    waiting = deque()
    with ProcessPoolExecutor(workers, initializer=start, initargs=(tokenizer,)) as pool:
        for batch in batches(docs):
            waiting.append(pool.submit(encode, batch))
            if len(waiting) > 4 * workers:
                yield from finish(waiting.popleft())
        while waiting:
            yield from finish(waiting.popleft())
