"""
One of our files beside the reference that its lesson names, line by line.

    bash run.sh diff gpt/model.py
    python eval/diff.py micrograd/engine.py --width 200

A lesson names references as `owner/repo@commit:path`, on a line with the name of our file. The reference is fetched
once, kept under data/references/ and shown with diff(1), ours on the left.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import re
import shutil
import subprocess
from pathlib import Path

from bpe import datasets

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = re.compile(r"`([\w.-]+/[\w.-]+)@([\w.-]+):([^`\s]+)`")
RAW = "https://raw.githubusercontent.com"


def reference(file):
    """(repository, commit, path) that the lesson of the file's folder names for it; None if it names none."""
    lesson = file.parent / "README.md"
    lines = lesson.read_text(encoding="utf-8").splitlines() if lesson.is_file() else []
    for line in lines:
        if f"`{file.name}`" in line and (found := REFERENCE.search(line)):
            return found.groups()
    return None


def fetch(repo, commit, path, base=RAW):
    """The reference's place on this machine, downloaded if it is not there; OSError with the reason if that fails."""
    place = Path(os.environ.get("DATA_DIR", ROOT / "data")) / "references" / repo / commit / path
    if not place.is_file():
        datasets.download(f"{base}/{repo}/{commit}/{path}", place)
    return place


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("file", type=Path, help="one of our files, as folder/file.py")
    p.add_argument("--width", type=int, default=shutil.get_terminal_size((160, 40)).columns,
                   help="columns of both together [the terminal's]")
    p.add_argument("--base", default=RAW, help="where repositories are served [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    file = ROOT / args.file
    if not file.is_file():
        sys.exit(f"no {args.file}. Name one of our files, such as gpt/model.py")
    if shutil.which("diff") is None:
        sys.exit("no diff(1) here. On Debian: apt-get install diffutils")
    named = reference(file)
    if named is None:
        sys.exit(f"{args.file.parent}/README.md names no reference for {file.name}. gpt/model.py has one")
    repo, commit, path = named
    try:
        theirs = fetch(*named, base=args.base)
    except OSError as e:
        sys.exit(f"{repo}@{commit}:{path} cannot be fetched ({e}). With a network, run this again")
    print(f"{args.file}  |  {repo}@{commit[:10]}:{path}", flush=True)
    subprocess.run(["diff", "--side-by-side", "--expand-tabs", f"--width={args.width}", str(file), str(theirs)])


if __name__ == "__main__":
    main()
