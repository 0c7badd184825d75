"""
The one door to real data: fetch(name) returns {file: path on this machine}. What there is stands in bpe/sets.py.

    python bpe/datasets.py --list                                # what there is, how large, what is here
    python bpe/datasets.py --fetch names
    DATA_MIRROR=FOLDER_OR_ADDRESS python bpe/datasets.py --fetch gsm8k

A file is looked for in the cache ($DATA_DIR, else data/ of this repository), then in $DATA_MIRROR,
then at its public address. A mirror is laid out as <set>/<file> with a SHA256SUMS at its top; as a
folder its files are read where they lie, as an http address they are downloaded into the cache.

A download goes to FILE.part and is renamed when size and sum are right, so that a name is either
absent or whole; after a broken connection, a kill or a busy server it goes on where it stopped.
Left out on purpose: parallel connections, and any set that asks for an account.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import hashlib
import sysconfig
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

from tqdm import tqdm

from bpe.sets import SETS

ROOT = Path(__file__).resolve().parent.parent
TRIES = 5              # failures in a row, none of which brought a byte, before giving up
TIMEOUT = 30           # seconds without a byte before a connection counts as broken
PATIENCE = 300         # seconds that a busy server may ask us to wait


# ---------------------------------------------------------------------------------------------------
# Downloading


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def flaw(path, size, digest):
    """What is wrong with a file, in words; None if nothing that can be known is."""
    if size is not None and path.stat().st_size != size:
        return f"{path.stat().st_size:,} bytes came and {size:,} were expected"
    if digest is not None and sha256(path) != digest:
        return f"its SHA-256 is not {digest[:12]}…, so it is not the file that was published"


def receive(url, part, head):
    """Append to `part` what it lacks; returns the bytes it should then have, None if the server does not say."""
    have = part.stat().st_size if part.exists() else 0
    wanted = {"Range": f"bytes={have}-{head - 1 if head else ''}"} if have or head else {}
    with urlopen(Request(url, headers={"User-Agent": "nanochat-from-scratch", **wanted}), timeout=TIMEOUT) as reply:
        if reply.headers.get_content_type() == "text/html":
            raise URLError("it is a web page, not the file")
        if not reply.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0                                # the server sends all of it: begin again
        length = reply.headers.get("Content-Length")
        total = have + int(length) if length else None
        total = min(head, total or head) if head else total
        bar = tqdm(total=total, initial=have, desc=part.stem, unit="B", unit_scale=True, disable=None)
        with open(part, "ab" if have else "wb") as file, bar:
            while (total is None or have < total) and (block := reply.read(2**18)):
                file.write(block)
                have += len(block)
                bar.update(len(block))
    return total


def pause(asked, failures):
    """Seconds to wait: what Retry-After asks for (a number or a date), else 1, 2, 4, …"""
    if asked is None:
        return 2.0 ** (failures - 1)
    if asked.isdigit():
        return int(asked)
    return max(0, (parsedate_to_datetime(asked) - datetime.now(timezone.utc)).total_seconds())


def download(url, path, size=None, digest=None, head=None):
    """Bring url to path, whole and checked; OSError with the reason if that cannot be done."""
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before, asked = part.stat().st_size if part.exists() else 0, None
        try:
            total = receive(url, part, head)
            got = part.stat().st_size
            if total is None or got >= total:
                if (problem := flaw(part, size, digest)) is None:
                    return os.replace(part, path)
                part.unlink()                       # what came is wrong: nothing to go on from
            else:
                problem = f"the connection ended after {got:,} of {total:,} bytes"
        except HTTPError as e:
            problem, asked = f"the server answered {e.code} {e.reason}", e.headers.get("Retry-After")
            if e.code == 416:
                part.unlink()                       # what we have is longer than what there is
            elif e.code not in (408, 429) and e.code < 500:
                raise OSError(problem) from e
        except URLError as e:
            if not isinstance(e.reason, (TimeoutError, ConnectionResetError)):
                raise OSError(str(e.reason)) from e  # no network, no such host, a refused connection
            problem = str(e.reason)
        except (OSError, HTTPException) as e:
            problem = f"the connection broke ({e})"
        after = part.stat().st_size if part.exists() else 0
        failures = 0 if after > before else failures + 1
        wait = pause(asked, failures)
        if failures == TRIES or wait > PATIENCE:
            raise OSError(f"{problem}; {'it asks for %d s of patience' % wait if asked else 'tried %d times' % TRIES}")
        print(f"{path.name}: {problem}; again in {wait:.0f} s", file=sys.stderr)
        time.sleep(wait)


# ---------------------------------------------------------------------------------------------------
# Cache, mirror, public address


def published_sums(mirror):
    """A mirror's SHA256SUMS as {path: digest}; empty where it has none, and then nothing can be checked."""
    try:
        if mirror.startswith("http"):
            with urlopen(f"{mirror}/SHA256SUMS", timeout=TIMEOUT) as reply:
                lines = reply.read().decode().splitlines()
        else:
            lines = (Path(mirror) / "SHA256SUMS").read_text().splitlines()
    except (FileNotFoundError, HTTPError):
        return {}
    return {line.split(maxsplit=1)[1].removeprefix("./"): line.split()[0] for line in lines if line}


def from_mirror(mirror, name, file, cached):
    """The path of a mirror's file (downloaded to `cached` from an address); OSError if it has none."""
    key = f"{name}/{file}"
    if mirror.startswith("http"):
        download(f"{mirror}/{key}", cached, digest=published_sums(mirror).get(key))
        return cached
    path = Path(mirror) / key
    if not path.is_file():
        raise OSError(f"no {path}")
    if problem := flaw(path, None, published_sums(mirror).get(key)):
        raise OSError(f"{path}: {problem}")
    return path


def from_public(file, cached):
    """Download a set's file to `cached`, through its archive where it is in one; OSError if that fails."""
    if file.take is None:
        return download(file.url, cached, file.size, file.sha256, file.head)
    source = cached.parent / "downloads" / file.url.rsplit("/", 1)[1]
    if not source.exists():
        download(file.url, source, file.size, file.sha256, file.head)
    part = cached.with_name(cached.name + ".part")
    try:
        part.write_bytes(file.take(source))
    except (ValueError, KeyError, TypeError, BadZipFile, ParseError) as e:
        source.unlink()
        raise OSError(f"what came from {file.url} is not what was expected ({e})") from e
    os.replace(part, cached)


def place(name, file):
    """The path of one file, brought here if need be, and where it was found."""
    cached = Path(os.environ.get("DATA_DIR", ROOT / "data")) / name / file
    mirror = os.environ.get("DATA_MIRROR", "").rstrip("/")
    if cached.exists():
        return cached, "cache"
    reasons = []
    if mirror:
        try:
            return from_mirror(mirror, name, file, cached), "mirror"
        except OSError as e:
            reasons.append(f"mirror: {e}")
    url = SETS[name].files[file].url
    print(f"{name}/{file}: downloading from {url}", file=sys.stderr)
    try:
        from_public(SETS[name].files[file], cached)
    except OSError as e:
        reasons.append(f"{url}: {e}")
        sys.exit(f"no {name}/{file} ({'; '.join(reasons)}); set DATA_MIRROR to a folder that has it, "
                 f"or put it at {cached}")
    return cached, "public address"


def fetch(name):
    """{file: Path} of a data set, every file present and checked; exits with the remedy where that cannot be."""
    if name not in SETS:
        sys.exit(f"no data set {name!r}; python bpe/datasets.py --list")
    if name == "code":
        library = Path(sysconfig.get_path("stdlib"))
        skip = {"site-packages", "dist-packages", "test", "tests", "__pycache__"}
        paths = (path.relative_to(library) for path in sorted(library.rglob("*.py")))
        found = {str(path): (library / path, "Python's own") for path in paths if not skip & set(path.parts)}
    else:
        found = {file: place(name, file) for file in SETS[name].files}
    origins = ", ".join(sorted({origin for _, origin in found.values()}))
    print(f"{name}: {len(found):,} files in {next(iter(found.values()))[0].parent} ({origins})")
    return {file: path for file, (path, _) in found.items()}


def here(name):
    """Whether --list calls a set cached, on the mirror (a folder), or neither; Python's own library is always here."""
    if name == "code":
        return "here"
    places = {"cache": Path(os.environ.get("DATA_DIR", ROOT / "data")), "mirror": os.environ.get("DATA_MIRROR")}
    for origin, folder in places.items():
        if folder and all((Path(folder) / name / file).exists() for file in SETS[name].files):
            return origin
    return "no"


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="print every set: size, licence, whether it is here")
    what.add_argument("--fetch", metavar="NAME", nargs="+", help="bring these sets here")
    p.add_argument("--mirror", metavar="WHERE", help="folder or address to look in first [$DATA_MIRROR]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if args.mirror:
        os.environ["DATA_MIRROR"] = args.mirror
    if args.list:
        print(f"{'name':17} {'here':7} {'size':20} {'licence':19} what")
        for name, entry in SETS.items():
            print(f"{name:17} {here(name):7} {entry.size:20} {entry.licence:19} {entry.about}")
    for name in args.fetch or []:
        fetch(name)


if __name__ == "__main__":
    main()
