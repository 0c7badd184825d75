"""
The one door to real data: fetch(name) returns {file: path on this machine}.

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
import io
import json
import re
import sysconfig
import time
import xml.etree.ElementTree as ElementTree
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Callable, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from zipfile import BadZipFile, ZipFile

from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
TRIES = 5              # failures in a row, none of which brought a byte, before giving up
TIMEOUT = 30           # seconds without a byte before a connection counts as broken
PATIENCE = 300         # seconds that a busy server may ask us to wait


class File(NamedTuple):
    url: str
    size: int | None = None                         # bytes at the public address, where known
    sha256: str | None = None                       # of what the public address serves, where known
    head: int | None = None                         # take only so many bytes from its beginning
    take: Callable[[bytes], bytes] | None = None    # makes the file from the download, where they differ


class Set(NamedTuple):
    about: str
    size: str
    licence: str
    files: dict[str, File]


# ---------------------------------------------------------------------------------------------------
# From a public download to the file we keep


def unzip(member):
    return lambda data: ZipFile(io.BytesIO(data)).read(member)


def whole_stories(data):
    """Cut the beginning of a large file after the last story that is there to its end."""
    end = b"<|endoftext|>\n"
    return data[: data.rindex(end) + len(end)]


def gutenberg(data):
    """The book without Project Gutenberg's header and footer."""
    text = data.decode("utf-8-sig").replace("\r\n", "\n")
    book = re.search(r"\*\*\* ?START OF.*?\*\*\*(.*)\*\*\* ?END OF", text, re.DOTALL)
    return (book[1].strip() + "\n").encode()


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def pubmedqa(data):
    return jsonl({"pmid": pmid, "question": d["QUESTION"], "abstract": " ".join(d["CONTEXTS"]),
                  "conclusion": d["LONG_ANSWER"], "answer": d["final_decision"]}
                 for pmid, d in json.loads(data).items())


def medquad(data):
    """One line a question, from the five of MedQuAD's twelve collections whose answers are published."""
    rows, archive = [], ZipFile(io.BytesIO(data))
    for name in sorted(archive.namelist()):
        if not re.search(r"/[45689]_[^/]+/[^/]+\.xml$", name):
            continue
        page = ElementTree.fromstring(archive.read(name))
        for pair in page.iter("QAPair"):
            row = {"source": name.split("/")[1], "url": page.get("url"), "focus": page.findtext("Focus"),
                   "qtype": pair.find("Question").get("qtype"), "question": pair.findtext("Question"),
                   "answer": pair.findtext("Answer")}
            rows.append({key: " ".join((value or "").split()) for key, value in row.items()})
    return jsonl(rows)


# ---------------------------------------------------------------------------------------------------
# The sets

RAW = "https://raw.githubusercontent.com"
HUB = "https://huggingface.co/datasets"
STORIES = f"{HUB}/roneneldan/TinyStories/resolve/main"
WIKITEXT = "https://wikitext.smerity.com/wikitext-2-v1.zip"
ARC = "https://ai2-public-datasets.s3.amazonaws.com/arc/ARC-V1-Feb2018.zip"
GSM8K = f"{RAW}/openai/grade-school-math/master/grade_school_math/data"
CH07 = f"{RAW}/rasbt/LLMs-from-scratch/main/ch07"
OPENAI = "https://openaipublic.blob.core.windows.net"
BOOKS = {84: "frankenstein", 98: "a-tale-of-two-cities", 120: "treasure-island",
         1342: "pride-and-prejudice", 1661: "the-adventures-of-sherlock-holmes"}

SETS = {
    "names": Set("32,033 first names", "0.2 MB", "MIT", {
        "names.txt": File(f"{RAW}/karpathy/makemore/master/names.txt", 228145,
                          "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d")}),
    "tinyshakespeare": Set("40,000 lines of Shakespeare", "1.1 MB", "public domain", {
        "input.txt": File(f"{RAW}/karpathy/char-rnn/master/data/tinyshakespeare/input.txt", 1115394,
                          "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed")}),
    "tinystories": Set("stories by GPT-4, the first 16 MB", "39 MB", "CDLA-Sharing-1.0", {
        "TinyStoriesV2-GPT4-train.txt": File(f"{STORIES}/TinyStoriesV2-GPT4-train.txt",
                                             head=16_000_000, take=whole_stories),
        "TinyStoriesV2-GPT4-valid.txt": File(f"{STORIES}/TinyStoriesV2-GPT4-valid.txt")}),
    "tinystories-full": Set("stories by GPT-4, all of them", "2.2 GB", "CDLA-Sharing-1.0", {
        f"TinyStoriesV2-GPT4-{split}.txt": File(f"{STORIES}/TinyStoriesV2-GPT4-{split}.txt")
        for split in ["train", "valid"]}),
    "wikitext-2": Set("good Wikipedia articles, in words", "13 MB", "CC BY-SA 3.0", {
        f"wiki.{split}.tokens": File(WIKITEXT, take=unzip(f"wikitext-2/wiki.{split}.tokens"))
        for split in ["train", "valid", "test"]}),
    "arc": Set("science questions of grades 3 to 9", "1.5 MB (680 MB zip)", "CC BY-SA 4.0", {
        f"ARC-{level}-Test.jsonl": File(ARC, take=unzip(f"ARC-V1-Feb2018-2/ARC-{level}/ARC-{level}-Test.jsonl"))
        for level in ["Easy", "Challenge"]}),
    "gsm8k": Set("8,792 word problems with their steps", "4.9 MB", "MIT", {
        "train.jsonl": File(f"{GSM8K}/train.jsonl", 4166206,
                            "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465"),
        "test.jsonl": File(f"{GSM8K}/test.jsonl", 749738,
                           "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14")}),
    "c4": Set("web pages, the first validation shard", "about 40 MB", "ODC-BY", {
        "c4-validation.00000-of-00008.json.gz": File(
            f"{HUB}/allenai/c4/resolve/main/en/c4-validation.00000-of-00008.json.gz")}),
    "fineweb-edu": Set("educational web pages, one file of sample-10BT", "about 2.2 GB", "ODC-BY", {
        "000_00000.parquet": File(
            f"{HUB}/HuggingFaceFW/fineweb-edu/resolve/main/sample/10BT/000_00000.parquet")}),
    "instruct": Set("1,100 instructions; the same with preferences", "0.6 MB", "Apache-2.0", {
        "instruction-data.json": File(
            f"{CH07}/01_main-chapter-code/instruction-data.json", 203524,
            "7e09a9af353722ca15c18bc580f093f9c39d3178335a75177319cb1e1d163944"),
        "instruction-data-with-preference.json": File(
            f"{CH07}/04_preference-tuning-with-dpo/instruction-data-with-preference.json", 386968,
            "305315abf14f65fa42c01a0877572f832606571c2a7d49f152ac1d758b16756e")}),
    "fiction": Set("five novels", "2.8 MB", "public domain (US)", {
        f"pg{n}_{title}.txt": File(f"https://www.gutenberg.org/cache/epub/{n}/pg{n}.txt", take=gutenberg)
        for n, title in BOOKS.items()}),
    "science": Set("medical abstracts; medical questions answered", "8.3 MB", "MIT; CC BY 4.0", {
        "pubmedqa_abstracts.jsonl": File(
            f"{RAW}/pubmedqa/pubmedqa/master/data/ori_pqal.json", 2584787,
            "8b3276be8942ebbd77f3ddcda12c1749bf0e490045a736fd8438ee40cf37a41d", take=pubmedqa),
        "medquad.jsonl": File(
            "https://codeload.github.com/abachaa/MedQuAD/zip/refs/heads/master", take=medquad)}),
    "tokenizers": Set("GPT-2's and GPT-4's merges, and a test article", "3.4 MB", "MIT; CC BY-SA", {
        "cl100k_base.tiktoken": File(f"{OPENAI}/encodings/cl100k_base.tiktoken", 1681126,
                                     "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
        "vocab.bpe": File(f"{OPENAI}/gpt-2/encodings/main/vocab.bpe", 456318,
                          "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
        "encoder.json": File(f"{OPENAI}/gpt-2/encodings/main/encoder.json", 1042301,
                             "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
        "taylorswift.txt": File(f"{RAW}/karpathy/minbpe/master/tests/taylorswift.txt", 185768,
                                "c2e39cb822d4ae0caac22152cefc306d466e31217a9c5524e493ad2b76792f57")}),
    "code": Set("Python's own standard library, as installed here", "about 15 MB", "PSF-2.0", {}),
}


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
        part.write_bytes(file.take(source.read_bytes()))
    except (ValueError, KeyError, TypeError, BadZipFile, ElementTree.ParseError) as e:
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
        paths = {str(path.relative_to(library)): path for path in sorted(library.rglob("*.py"))}
        return {file: path for file, path in paths.items() if not skip & set(path.parts)}
    found = {file: place(name, file) for file in SETS[name].files}
    origins = ", ".join(sorted({origin for _, origin in found.values()}))
    print(f"{name}: {len(found)} files in {next(iter(found.values()))[0].parent} ({origins})")
    return {file: path for file, (path, _) in found.items()}


def here(name):
    """Whether --list calls a set cached, on the mirror (a folder), or neither."""
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
