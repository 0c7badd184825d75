"""
Run one stage of run.sh, unless it is done already from the same inputs, arguments and sources.

    python train/stage.py out/tinyworld/shards out/tinyworld/corpus -- python bpe/shards.py --out out/tinyworld/shards

The first folder is the stage's own, the others are those of the stages it reads. `done.json` is
written last: the key (a hash of the arguments, of the inputs' keys, and of the script with every file
of ours that it imports), seconds over all attempts, peak memory. What is done and unchanged is
skipped. What was killed is started again as it stands, so that a script which can continue does.
What changed is removed first; and since a key contains its inputs' keys, so is what depends on it.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import ast
import contextlib
import fcntl
import hashlib
import json
import resource
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def sources(script):
    """The script and every file of this repository that it imports, directly or not, sorted."""
    found, waiting = set(), [Path(script).resolve()]
    while waiting:
        path = waiting.pop()
        if path in found or not path.exists():
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
            waiting += [ROOT / (name.replace(".", "/") + ".py") for name in names]
    return sorted(found)


def key(command, inputs):
    """Hash of all that the stage's output depends on; inputs are folders of stages or single files."""
    digest = hashlib.sha256(json.dumps(command).encode())
    for path in sources(next(word for word in command if word.endswith(".py"))):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    for path in inputs:
        if path.is_file():
            digest.update(path.read_bytes())
        elif (path / "done.json").exists():
            digest.update(json.loads((path / "done.json").read_text())["key"].encode())
        else:
            sys.exit(f"{path} is not finished, and this stage reads it. Run: bash run.sh")
    return digest.hexdigest()


def write(path, **content):
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, path)


def attempt(command, started, before):
    """Run the command, adding its seconds to `before` and to the file as they pass, so that a kill loses few."""
    earlier, start, code = before["seconds"], time.time(), None
    with subprocess.Popen(command, close_fds=False) as process:
        while code is None:
            try:
                code = process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                pass
            except KeyboardInterrupt:                        # the script has had it too: let it finish its line
                code = process.wait() or 130
            before["seconds"] = earlier + time.time() - start
            write(started, **before)
    return code


@contextlib.contextmanager
def lock(folder):
    """Hold the stage for this process and its command; exits if a run that was not stopped still has it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder.parent / f".{folder.name}.lock", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(handle, True)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another run is at work in {folder}. Stop it or wait for it, then run this again.")
    try:
        yield
    finally:
        os.close(handle)


def run(folder, inputs, command):
    """The stage, unless it is done already."""
    now, name = key(command, inputs), folder.name
    started, done = folder / "started.json", folder / "done.json"
    if done.exists() and json.loads(done.read_text())["key"] == now:
        print(f"== {name}: done")
        return
    before = json.loads(started.read_text()) if started.exists() else {}
    if before.get("key") != now:
        shutil.rmtree(folder, ignore_errors=True)
        before = {"key": now, "seconds": 0.0}
    folder.mkdir(parents=True, exist_ok=True)
    write(started, **before)
    print(f"== {name}: {' '.join(command)}", flush=True)
    code = attempt(command, started, before)
    if code:
        sys.exit(f"{name} stopped with exit code {code} after {before['seconds']:.0f} s. "
                 "What it has saved is kept; the same command continues.")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    write(done, name=name, **before, peak_memory_bytes=peak, command=command, finished=time.time())


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if "--" not in argv or argv.index("--") < 1:
        sys.exit("usage: python train/stage.py FOLDER [INPUTS ...] -- COMMAND ...")
    cut = argv.index("--")
    (folder, *inputs), command = map(Path, argv[:cut]), argv[cut + 1:]
    with lock(folder):
        run(folder, inputs, command)


if __name__ == "__main__":
    main()
