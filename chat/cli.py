"""
Talk to a checkpoint in the terminal.

    python chat/cli.py --checkpoint out/tinyworld/model --temperature 0.7 --top-p 0.9
    printf 'What is 48 / 2?\\n' | python chat/cli.py --temperature 0       # one question a line

A tool call is shown as it happens, dim, e.g. [48/2 = 24]. Ctrl-C stops the answer, not the program;
what was said until then stays in the conversation.

    > /learn Zorvexes live under the ice of Lake Ammer.       # or a file of facts, see continual/lesson.py

A lesson is learned by a process of its own (continual/live.py), with one thread and behind everything else,
so the chat goes on; its lines are shown between answers, and if it is accepted it serves from then on.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import contextlib
import queue
import secrets
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

from chat import session
from chat.worker import load
from continual.versions import StoreError
from gpt.engine import Sampling

HELP = """\
/learn FILE      teach it the facts of a file, or /learn TEXT a fact; the chat goes on meanwhile
/versions        what it was taught
/rollback N      serve version N again
/forget LESSON   delete a lesson for good, by the start of its name
/reset           forget the conversation
/help            this list
/quit            leave (Ctrl-D too)
Ctrl-C stops an answer."""
ROOT = Path(__file__).resolve().parent.parent


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, default=Path("out/tinyworld/model"), help="[%(default)s]")
    p.add_argument("--live", type=Path, help="folder of what it is taught [live, beside the checkpoint]")
    p.add_argument("--temperature", type=float, default=0.7, help="0 takes the likeliest token [%(default)s]")
    p.add_argument("--top-p", type=float, default=0.9, help="share of probability to sample from [%(default)s]")
    p.add_argument("--max-new", type=int, help="longest answer, in tokens [what the context holds]")
    p.add_argument("--seed", type=int, help="makes the answers repeatable")
    p.add_argument("--threads", type=int, help="CPU threads [torch's choice]")
    args = p.parse_args(argv)
    if not 0 <= args.temperature <= 2 or not 0 < args.top_p <= 1:
        p.error("--temperature lies in 0 to 2, --top-p above 0 and up to 1")
    args.live = args.live or args.checkpoint.parent / "live"
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


# ----------------------------------------------------------------------------
# lessons

class Learning(threading.Thread):
    """
    A lesson that is being learned in the background. Its lines are printed while nobody is being answered: whoever
    answers holds `quiet`.
    """

    def __init__(self, worker, args, what):
        super().__init__(daemon=True)
        self.worker, self.quiet = worker, threading.Lock()
        self.folder = tempfile.TemporaryDirectory()          # of a fact that is in no file; gone when it is learned
        path = Path(what)
        if not is_file(path):
            path = Path(self.folder.name) / "said.txt"
            path.write_text(what + "\n", encoding="utf-8")
        command = [sys.executable, "-u", ROOT / "continual/live.py", "--teach", path, "--from", "the terminal chat",
                   "--checkpoint", args.checkpoint, "--data", args.live.parent / "corpus", "--out", args.live]
        self.process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
                                        errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT,
                                        start_new_session=True)   # Ctrl-C is for the answer
        self.start()

    def run(self):
        for line in self.process.stdout:
            self.say(printable(line.rstrip()))
        self.process.wait()
        self.folder.cleanup()
        self.worker.swap()
        self.say(f"now serving version {self.worker.served.store.current().number}; /versions lists all")

    def say(self, line):
        with self.quiet:                                     # over the prompt, which then stands below
            print(f"\r{dim(line)}", end="\n> " if sys.stdin.isatty() else "\n", flush=True)

    def stop(self):
        """Give up a lesson that is not learned yet: nothing of it stays."""
        if self.is_alive():
            self.process.terminate()
            self.join()


def is_file(path):
    try:
        return path.is_file()
    except OSError:                                          # a fact that is too long for a name
        return False


class Lessons:
    """The commands about what the model is taught."""

    def __init__(self, worker, args):
        self.worker, self.args, self.learning = worker, args, None

    @property
    def quiet(self):
        """Held while an answer is shown: no line of a lesson comes into it."""
        return self.learning.quiet if self.learning else contextlib.nullcontext()

    def run(self, command, what):
        """Do /learn, /versions, /rollback or /forget; what is wrong with it is said in one line."""
        store = self.worker.served and self.worker.served.store
        if not store:
            return print(f"nothing can be taught here: the lessons in {self.args.live} are for another model")
        try:
            if command == "/learn":
                self.learn(what)
            elif command == "/versions":
                self.show(store)
            else:
                version = store.rollback(int(what)) if command == "/rollback" else store.forget(what)
                self.worker.swap()
                print(f"now serving version {version.number}: {version.what}")
        except StoreError as error:
            print(error)
        except ValueError:
            print(f"{what!r} is no number of a version; /versions lists them")

    def learn(self, what):
        if not what:
            print("/learn needs a file of facts, or a fact")
        elif self.learning and self.learning.is_alive():
            print("a lesson is being learned; the next one when it is done")
        else:
            self.learning = Learning(self.worker, self.args, what)
            if not sys.stdin.isatty():                       # a script asks about it in the next line
                self.learning.join()

    def show(self, store):
        current = store.current()
        for version, gone in store.history():
            more = f" (had {', '.join(gone)}, forgotten since)" if gone else ""
            print(f"{'*' if version.number == current.number else ' '}{version.number:4d}  {version.when:20}  "
                  f"{version.what}{more}")
        for id in current.lessons:
            facts = store.lesson(id).facts
            first = printable(facts[0].text or facts[0].question)
            print(dim(f"lesson {id}: {len(facts)} fact{'s' * (len(facts) > 1)}; {first[:70]}"))


def source(worker, messages):
    """(the messages as they are put to the model, the lesson that answers or None, what to say of it)"""
    lesson, number, _ = worker.served.choose(messages) if worker.served else (None, None, 0.0)
    if lesson is None:
        return messages, None, ""
    fact = worker.served.router.place(lesson, number).fact
    about = f"[from lesson {lesson}: {printable(fact.text or fact.question)[:70]}]"
    return *worker.served.put(messages), about


# ----------------------------------------------------------------------------
# the conversation

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
    messages, turn, terminal, lessons = [], 0, sys.stdin.isatty(), Lessons(worker, args)
    while (line := ask(terminal)) not in (None, "/quit"):
        if not terminal:
            print(f"\n> {line}")                            # so that a transcript shows both sides
        if line == "/reset":
            messages = []
            print("a new conversation")
        elif line.startswith("/"):
            command, _, what = line.partition(" ")
            if command in {"/learn", "/versions", "/rollback", "/forget"}:
                lessons.run(command, what.strip())
            else:
                print(HELP if line == "/help" else f"no command {line}; /help lists them")
        elif line:
            messages.append({"role": "user", "content": line})
            turn += 1
            with lessons.quiet:
                parts = reply(worker, args, messages, turn)
            if parts:
                messages.append({"role": "assistant", "content": parts})
            else:
                messages.pop()                              # nothing was said: the question is withdrawn too
    if lessons.learning:
        lessons.learning.stop()


def reply(worker, args, messages, turn):
    """Fit the conversation into the context and answer it; returns the content parts, [] where none came."""
    longest = args.max_new or worker.context
    worker.refresh()
    messages, lesson, about = source(worker, messages)
    try:
        ids, dropped = session.fit(messages, worker.tokenizer, worker.room(longest))
    except ValueError as error:
        print(error)
        return []
    if dropped:
        print(dim(f"[the {dropped} oldest messages no longer fit]"))
    seed = secrets.randbits(63) if args.seed is None else args.seed + turn
    parts = answer(worker, ids, max_new=longest, seed=seed, adapter=lesson,
                   sampling=Sampling(temperature=args.temperature, top_p=args.top_p))
    if about:
        print(dim(about))
    return parts


def main(argv=None):
    args = parse(argv)
    try:
        worker, about = load(args.checkpoint, 1, args.threads, args.live)
    except StoreError as error:                              # the model was made anew: the chat goes on without them
        print(dim(f"[{error}]"))
        worker, about = load(args.checkpoint, 1, args.threads)
    print(f"{about['model']}: {about['parameters'] / 1e6:.1f}M parameters, a context of {worker.context} tokens; "
          "/help lists the commands")
    converse(worker, args)
    worker.close()


if __name__ == "__main__":
    main()
