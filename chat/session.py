"""
What the terminal and the server share of a conversation: what of it fits into the model's context,
and how the ids of an answer become events while they come.

An event is one of
    {"type": "text", "text": piece}                  a run of the answer, never half a character
    {"type": "call", "text": "48/2"}                 what the model asks of a tool
    {"type": "result", "text": "24"}                 what the tool replied
so the events of an answer, adjacent texts joined, are the content parts of its message (bpe/template.py).

OpenAI's messages hold plain text only. `split` takes a content apart into that text and the tool
events with their places in it, `merge` puts it together again: a client that sends an answer back
with both fields gives the model the very ids that it wrote.
"""

import codecs

from bpe import template


class TooLong(ValueError):
    """The last question does not fit, however much of the conversation before it is left out."""


def fit(messages, tokenizer, limit):
    """
    Render for a reply, with as many of the last turns as `limit` tokens hold. A system message always
    stays. What cannot fit by its bytes alone is not even encoded: a hostile body costs little.

    returns: ids, how many messages were left out;  raises TooLong, ValueError where render() does
    """
    template.check(messages, for_reply=True)
    head = int(messages[0]["role"] == "system")
    most = limit * max(map(len, tokenizer.vocab.values()))                  # bytes
    ids, kept = None, len(messages)
    for first in range(len(messages) - 1, head - 1, -2):
        turns = messages[:head] + messages[first:]
        if sum(len(p["text"]) for m in turns for p in template.parts_of(m["content"])) > most:
            break
        longer, _ = template.render(turns, tokenizer, for_reply=True)
        if len(longer) > limit:
            break
        ids, kept = longer, first
    if ids is None:
        raise TooLong(f"the last message is too long: a prompt holds at most {limit} tokens")
    return ids, kept - head


def split(parts):
    """Content parts -> (the visible text, [{"type", "text", "at"}, ...]), at = characters of text before."""
    text, events = "", []
    for part in parts:
        if part["type"] == "text":
            text += part["text"]
        else:
            events.append({**part, "at": len(text)})
    return text, events


def merge(text, events):
    """The inverse of split; a place beyond the text counts as its end."""
    parts, done = [], 0
    for event in events:
        part = {key: value for key, value in event.items() if key != "at"}
        parts += [{"type": "text", "text": text[done:event["at"]]}, part]
        done = max(done, event["at"])
    return template.parts_of([*parts, {"type": "text", "text": text[done:]}])


class Stream:
    """
    The ids of one answer in, events out, as early as they are certain: bytes wait until they make a
    character, text that may begin a stop string waits until it does not, a call waits for its end.
    A stop string is looked for within a run of text, not across a tool call.
    """

    def __init__(self, tokenizer, stop=()):
        self.tokenizer, self.stop = tokenizer, stop
        self.special = set(tokenizer.specials.values())
        self.opens = {tokenizer.specials[name] for name in ("<CALC>", "<TOOL>", "<RESULT>")}
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.text = ""         # decoded and not yet given out
        self.span = []         # ids of an open call or result, its opening bracket first
        self.stopped = False   # a stop string was found: nothing follows

    def feed(self, id):
        """The events that this id completes."""
        if self.stopped:
            return []
        if id in self.special:
            events = self.close()
            self.span = [id] if id in self.opens else []
            return events
        if self.span:
            self.span.append(id)
            return []
        self.text += self.decoder.decode(self.tokenizer.decode_bytes([id]))
        return self.release()

    def close(self):
        """The events that the end of a run, or of the answer, completes."""
        if self.span:
            span, self.span = self.span, []
            return template.parse_reply(span, self.tokenizer)
        self.text += self.decoder.decode(b"", final=True)
        return self.release(final=True)

    def release(self, final=False):
        """The held text as an event, without what may still become a stop string."""
        ends = [self.text.find(s) for s in self.stop if s in self.text]
        waiting = [n for s in self.stop for n in range(1, len(s)) if self.text.endswith(s[:n])]
        end = min(ends) if ends else len(self.text) - (0 if final else max(waiting, default=0))
        piece, self.text, self.stopped = self.text[:end], self.text[end:], bool(ends)
        return [{"type": "text", "text": piece}] if piece else []
