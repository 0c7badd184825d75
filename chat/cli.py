"""
Talk to a checkpoint in the terminal.

    python chat/cli.py --checkpoint out/tinyworld/model --temperature 0.7 --top-p 0.9
    printf 'What is 48 / 2?\\n' | python chat/cli.py --temperature 0       # one question a line

A tool call is shown as it happens, dim, e.g. [48/2 = 24]. Ctrl-C stops the answer, not the program;
what was said until then stays in the conversation.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import contextlib
import queue
import secrets
import signal
from pathlib import Path

from chat import session
from chat.worker import load
from gpt.engine import Sampling

HELP = """\
/reset   forget the conversation
/help    this list
/quit    leave (Ctrl-D too)
Ctrl-C stops an answer."""


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, default=Path("out/tinyworld/model"), help="[%(default)s]")
    p.add_argument("--temperature", type=float, default=0.7, help="0 takes the likeliest token [%(default)s]")
    p.add_argument("--top-p", type=float, default=0.9, help="share of probability to sample from [%(default)s]")
    p.add_argument("--max-new", type=int, help="longest answer, in tokens [what the context holds]")
    p.add_argument("--seed", type=int, help="makes the answers repeatable")
    p.add_argument("--threads", type=int, help="CPU threads [torch's choice]")
    args = p.parse_args(argv)
    if not 0 <= args.temperature <= 2 or not 0 < args.top_p <= 1:
        p.error("--temperature lies in 0 to 2, --top-p above 0 and up to 1")
    return args


def dim(text):
    return f"\033[2m{text}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def printable(text):
    """Without control characters: a model may write the ones that move the cursor or hide text."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def show(event):
    form = {"text": "{}", "call": "[{} = ", "result": "{}] "}[event["type"]]
    text = form.format(printable(event["text"]))
    print(text if event["type"] == "text" else dim(text), end="", flush=True)


@contextlib.contextmanager
def interrupts(action):
    """Within the block Ctrl-C calls action() and raises nothing, so that no event is lost to it."""
    before = signal.signal(signal.SIGINT, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def answer(worker, ids, **options):
    """Print an answer while it is written; returns its content parts, as far as it came."""
    events, parts = queue.SimpleQueue(), []
    with interrupts(worker.cancel):
        worker.ask(ids, events.put, **options)
        while (event := events.get())["type"] != "end":
            show(event)
            parts.append(event)
    print({"length": dim(" [cut off]"), "cancelled": dim(" [stopped]"), "error": " [failed]"}.get(event["reason"], ""))
    return parts


def ask(terminal):
    """The next line, None at the end of input. Ctrl-C clears the line."""
    while True:
        try:
            return input("\n> " if terminal else "").strip()
        except KeyboardInterrupt:
            print("\n/quit leaves", end="")
        except EOFError:
            return None


def converse(worker, args):
    """Read lines until /quit; messages is the conversation as bpe/template.py wants it."""
    messages, turn, terminal = [], 0, sys.stdin.isatty()
    while (line := ask(terminal)) not in (None, "/quit"):
        if not terminal:
            print(f"\n> {line}")                            # so that a transcript shows both sides
        if line == "/reset":
            messages = []
            print("a new conversation")
        elif line.startswith("/"):
            print(HELP if line == "/help" else f"no command {line}; /help lists them")
        elif line:
            messages.append({"role": "user", "content": line})
            turn += 1
            parts = reply(worker, args, messages, turn)
            if parts:
                messages.append({"role": "assistant", "content": parts})
            else:
                messages.pop()                              # nothing was said: the question is withdrawn too


def reply(worker, args, messages, turn):
    """Fit the conversation into the context and answer it; returns the content parts, [] where none came."""
    longest = args.max_new or worker.context
    try:
        ids, dropped = session.fit(messages, worker.tokenizer, worker.room(longest))
    except ValueError as error:
        print(error)
        return []
    if dropped:
        print(dim(f"[the {dropped} oldest messages no longer fit]"))
    seed = secrets.randbits(63) if args.seed is None else args.seed + turn
    return answer(worker, ids, max_new=longest, seed=seed,
                  sampling=Sampling(temperature=args.temperature, top_p=args.top_p))


def main(argv=None):
    args = parse(argv)
    worker, about = load(args.checkpoint, 1, args.threads)
    print(f"{about['model']}: {about['parameters'] / 1e6:.1f}M parameters, a context of {worker.context} tokens; "
          "/help lists the commands")
    converse(worker, args)
    worker.close()


if __name__ == "__main__":
    main()
