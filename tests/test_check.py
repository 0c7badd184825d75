"""
How a number is read out of an answer, every kind of check, and the sandbox against hostile code,
which is also shown to get through where the fence is taken away.
"""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from bpe import world_chat, world_episodes
from eval import check, sandbox


@pytest.mark.parametrize("text, strict, lenient", [
    ("He has 5.\n#### 24", "24", "24"), ("#### 1,234", "1234", "1234"), ("#### $18.00", "18", "18"),
    ("#### -7", "-7", "-7"), ("so 12 and 30", None, "30"), ("10-3", None, "3"), ("It is (4)-1.", None, "1"),
    ("a total of 2.5.", None, "2.5"), ("24 apples, 3, and none", None, "3"), ("#### 24 of 30", "24", "30"),
    ("####24", None, "24"), ("none", None, None), ("", None, None), ("#### four", None, None), ("٣", None, None)])
def test_numbers(text, strict, lenient):
    def number(x):
        return None if x is None else Decimal(x)
    assert check.strict(text) == number(strict) and check.lenient(text) == number(lenient)


PARTS = [{"type": "text", "text": "She has "}, {"type": "call", "text": "2+3"}, {"type": "result", "text": "9"},
         {"type": "text", "text": "5.\n#### 5"}]
STORY = "Tom had a kite. \"Where is it?\" asked Mia. It flew. Tom ran! They found it in a tree."
CODE = {"type": "code", "name": "double", "answer": [[[1], 2], [["ab"], "abab"]]}


@pytest.mark.parametrize("kind, content, good", [
    ({"type": "exact", "answer": "iron"}, " iron\n", True), ({"type": "exact", "answer": "iron"}, "Iron", False),
    ({"type": "number", "answer": "5"}, PARTS, True), ({"type": "number", "answer": "9"}, PARTS, False),
    ({"type": "number", "answer": 5}, "It is 5.0", True), ({"type": "number", "answer": "5"}, "none", False),
    ({"type": "contains", "answer": ["Iron", "gold"]}, "gold and iron", True),
    ({"type": "contains", "answer": ["iron", "gold"]}, "gold", False),
    ({"type": "contains", "answer": ["Cu"]}, "Mercury.", False),
    ({"type": "contains", "answer": ["$5"]}, "It is $5.", True),
    ({"type": "choice", "answer": "B"}, "B", True), ({"type": "choice", "answer": "B"}, "(B) iron", True),
    ({"type": "choice", "answer": "B"}, "The answer is B.", True), ({"type": "choice", "answer": "B"}, "A. B", False),
    ({"type": "choice", "answer": "A"}, "A bird", False),
    ({"type": "story", "answer": ["Tom", "kite"], "sentences": [5, 12]}, STORY, True),
    ({"type": "story", "answer": ["Tom", "kit"], "sentences": [5, 12]}, STORY, False),
    ({"type": "story", "answer": ["Tom"], "sentences": [6, 12]}, STORY, False),
    (CODE, "def double(x):\n    print('loud')\n    return 2 * x", True),
    (CODE, "Here it is:\n```python\ndef double(x):\n    return x + x\n```\nDone.", True),
    (CODE, "def double(x):\n    return x", False), (CODE, "def triple(x):\n    return 3 * x", False),
    (CODE, "def double(x) return", False), (CODE, "", False)], ids=str)
def test_checks(kind, content, good):
    assert check.passes(kind, content) is good


def test_an_unknown_check_is_an_error():
    with pytest.raises(ValueError, match="no check of type 'vibes'"):
        check.passes({"type": "vibes", "answer": ""}, "")


def test_the_corpus_agrees_with_the_checks():
    """Right replies pass, wrong ones fail (a wrong function may agree with the right one on its few examples)."""
    rng = random.Random(1)
    kinds = [getattr(world_episodes, name) for name in world_chat.WEIGHTS]
    turns = [turn for kind in kinds for _ in range(12) for turn in kind(rng, "test")]
    checks = [turn.check for turn in turns]
    assert {c["type"] for c in checks} >= {"exact", "number", "contains", "story", "code"}
    assert all(check.passes_all(checks, [turn.reply for turn in turns]))
    wrong = [turn for turn in turns if turn.check["type"] != "code"]
    assert not any(check.passes_all([turn.check for turn in wrong], [turn.wrong for turn in wrong]))


DEF = "import sys\ndef f(x):\n    "
HOSTILE = {
    "endless loop": "while True: pass",
    "memory": "return len([0] * 10**9)",
    "output": "\n    import os\n    while True: os.write(1, b'x' * 65536)",
    "long answer": "return 'x' * 10**6",
    "read": "return open('/etc/passwd').read()",
    "standard input": "return open(0).read()",
    "write": "open({path!r}, 'w').write('x'); return 1",
    "remove": "\n    import os\n    os.remove({path!r})\n    return 1",
    "socket": "\n    import socket\n    socket.create_connection(('127.0.0.1', 80))\n    return 1",
    "bare socket": "\n    import _socket\n    _socket.socket()\n    return 1",
    "process": "\n    import os\n    if not os.fork(): os._exit(0)\n    return 1",
    "shell": "\n    import os\n    os.system('true')\n    return 1",
    "modules": "\n    return [m.system('true') for m in sys.modules.values() if hasattr(m, 'system')]",
    "posix": "\n    import posix\n    posix.kill(posix.getppid(), 0)\n    return 1",
    "native code": "\n    import ctypes\n    return 1",
    "limits": "\n    import resource\n    resource.setrlimit(resource.RLIMIT_CPU, (9, 9))\n    return 1",
    "recursion": "return f(x)",
    "exit": "raise SystemExit(0)",
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """All of them side by side: {name: (what came back, seconds)}, and the file they were to write or remove."""
    path = tmp_path_factory.mktemp("hostile") / "precious"
    path.write_text("here")
    sources = {name: DEF + body.format(path=str(path)) for name, body in HOSTILE.items()}
    start = time.time()
    with ThreadPoolExecutor(4) as pool:
        got = dict(zip(sources, pool.map(lambda s: sandbox.run(s, "f", [[1]]), sources.values())))
    return got, time.time() - start, path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_code_gets_nowhere(hostile, name):
    got, _, path = hostile
    assert got[name] is None and path.read_text() == "here"


def test_hostile_code_is_stopped_soon_and_honest_code_runs(hostile):
    assert hostile[1] < 30
    honest = "import math\ndef f(x):\n    return math.floor(x), {'a': [x]}"
    assert sandbox.run(honest, "f", [[1.5]]) == [[1, {"a": [1.5]}]]


@pytest.mark.parametrize("name", ["read", "write", "remove", "bare socket", "process", "modules", "posix"])
def test_the_fence_has_teeth(name, tmp_path, monkeypatch):
    """Without the hook and the limits the same code does what it wants: it is the fence that stops it."""
    monkeypatch.setattr(sandbox, "CHILD", sandbox.CHILD.replace("sys.addaudithook(guard)", ""))
    monkeypatch.setattr(sandbox, "LIMITS", {})
    path = tmp_path / "precious"
    path.write_text("here")
    body = HOSTILE[name].format(path=str(path))
    body = body.replace("_socket.socket()", "_socket.socket().close()")
    assert sandbox.run(DEF + body, "f", [[1]]) is not None
    assert (path.exists() and path.read_text() == "here") is (name not in ("write", "remove"))


def test_code_cannot_learn_the_results_it_should_give():
    """Nothing but the arguments crosses over; what it returns is compared here."""
    spy = "def double(x):\n    return [v for k, v in job.items() if k == 'answer']"
    assert not check.passes(CODE, spy)
