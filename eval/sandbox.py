"""
Run a Python function that a model wrote, in a process of its own that can do nothing but compute.

    sandbox.run("def double(x):\n    return 2 * x", "double", [[1], ["ab"]])      # [2, "abab"]

Three fences, each enough for most accidents. A fresh interpreter without site-packages or our
environment, whose answer comes back as JSON and is judged here, so that the code never meets the
results it should give. Limits of the kernel on processor time, memory, open files, file size and
processes. An audit hook (PEP 578, https://peps.python.org/pep-0578/), which Python code cannot
remove, that refuses every event but those of plain computing: no file, no socket, no process, no
further import. It is made for the code of a small model, not for an adversary with a new exploit.
"""

import json
import subprocess
import sys
import tempfile

SECONDS, MEGABYTES, OUTPUT = 2, 256, 65536  # processor time, address space, bytes the answer may have

CHILD = """
import collections, functools, itertools, json, math, re, resource, string, sys, typing
job = json.load(sys.stdin)
out, sys.stdout = sys.stdout, None
for name, most in job["limits"].items():
    try:
        resource.setrlimit(getattr(resource, name), (most, most))
    except ValueError:      # macOS has no limit on the address space
        pass

def guard(event, args, allowed=frozenset(["compile", "exec", "builtins.id", "object.__getattr__"])):
    if event not in allowed:
        raise PermissionError(event)

sys.addaudithook(guard)
space = {"__name__": "answer"}
exec(job["source"], space)
out.write(json.dumps([space[job["name"]](*args) for args in job["calls"]]))
"""

LIMITS = {"RLIMIT_CPU": SECONDS, "RLIMIT_AS": MEGABYTES * 2**20, "RLIMIT_FSIZE": OUTPUT,
          "RLIMIT_NOFILE": 3, "RLIMIT_NPROC": 0, "RLIMIT_CORE": 0}


def run(source, name, calls):
    """
    What `name`, a function that `source` defines, returns for each list of arguments in `calls`, as
    JSON has it (a tuple is a list); None if it fails, runs too long or returns what JSON has not.
    """
    job = json.dumps({"source": source, "name": name, "calls": calls, "limits": LIMITS})
    with tempfile.TemporaryFile() as out:   # a file and not a pipe: its size can be limited
        try:
            subprocess.run([sys.executable, "-I", "-S", "-c", CHILD], input=job.encode(), stdout=out,
                           stderr=subprocess.DEVNULL, timeout=5 * SECONDS, cwd="/", env={}, check=True)
            out.seek(0)
            return json.loads(out.read())
        except (subprocess.SubprocessError, ValueError, RecursionError):
            return None
