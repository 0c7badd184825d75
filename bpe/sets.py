"""
The data sets: what each file is, where it is published, and how it is made of what is published there.

bpe/datasets.py fetches them; this is the list alone, and the place to correct where an address has moved.
Size and SHA-256 are those of the public file, where they are known; a mirror may hold excerpts, under sums
of its own. Of the addresses, only the tokenizers' have been tried by us; OpenWebText's, pinned to a
revision, its size and its sum are as others have published them. No set here asks for an account.
"""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Callable, NamedTuple
from zipfile import ZipFile


class File(NamedTuple):
    url: str
    size: int | None = None                         # bytes at the public address, where known
    sha256: str | None = None                       # of what the public address serves, where known
    head: int | None = None                         # take only so many bytes from its beginning
    take: Callable[[Path], bytes] | None = None     # makes the file from the download, where they differ


class Set(NamedTuple):
    about: str
    size: str
    licence: str
    files: dict[str, File]


# ---------------------------------------------------------------------------------------------------
# From a public download to the file we keep


def unzip(member):
    return lambda download: ZipFile(download).read(member)


def whole_stories(download):
    """Cut the beginning of a large file after the last story that is there to its end."""
    data, end = download.read_bytes(), b"<|endoftext|>\n"
    return data[: data.rindex(end) + len(end)]


def gutenberg(download):
    """The book without Project Gutenberg's header and footer."""
    text = download.read_text(encoding="utf-8-sig")
    book = re.search(r"\*\*\* ?START OF.*?\*\*\*(.*)\*\*\* ?END OF", text, re.DOTALL)
    return (book[1].strip() + "\n").encode()


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def pubmedqa(download):
    return jsonl({"pmid": pmid, "question": d["QUESTION"], "abstract": " ".join(d["CONTEXTS"]),
                  "conclusion": d["LONG_ANSWER"], "answer": d["final_decision"]}
                 for pmid, d in json.loads(download.read_bytes()).items())


def medquad(download):
    """One line a question, from the five of MedQuAD's twelve collections whose answers are published."""
    rows, archive = [], ZipFile(download)
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
WEB = f"{HUB}/Skylion007/openwebtext/resolve/79d93d786212f7344586290adb811d4ae6a1762c/plain_text"
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
    "openwebtext": Set("GPT-2's corpus made again, the first of 80 files", "303 MB", "CC0-1.0", {
        "train-00000-of-00080.parquet": File(
            f"{WEB}/train-00000-of-00080.parquet", 302848326,
            "caed9f4b7053d7cd4d1a13ce9ec9224d84a3bba1f11579193562a7e31ebe656e")}),
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
