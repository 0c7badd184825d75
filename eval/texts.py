r"""
Texts to measure a model on, as records {"text", maybe "words", maybe "bits"}: one record a document.

WikiText-2 is published in words: "It weighs 10 @,@ 000 tons ( 9 @.@ 8 kt ) ." Published tables count these words
and one end for each line, 245,569 in the test set, whatever the model's own tokens are. A model with subwords reads
the text as people write it, "It weighs 10,000 tons (9.8 kt).", and its nats are divided by those 245,569
(Radford et al. 2019, *Language Models are Unsupervised Multitask Learners*, section 3.1).

What detokenize() does, line by line, removes spaces and the two @ around a separator and nothing else, so no
word is made easier than it was; `<unk>`, which the published files have for rare words, stays as these five characters.

    10 @,@ 000   well @-@ known   9 @.@ 8      10,000   well-known   9.8
    a word , and .  ( so )  " so "  ' so '     a word, and.  (so)  "so"  'so'
    it 's  do n't  James ' son                 it's  don't  James' son
    = = Title = =                              == Title ==
"""

import re
import sys

from bpe.documents import records
from eval.inputs import read_jsonl

KNOWN = {"wikitext-2": ("wikitext-2", "wiki.test.tokens"), "wikitext-2-valid": ("wikitext-2", "wiki.valid.tokens"),
         "c4": ("c4", "c4-validation.00000-of-00008.json.gz"),
         "tinystories": ("tinystories", "TinyStoriesV2-GPT4-valid.txt")}

RULES = [(re.compile(rule), new) for rule, new in [
    (r"^ +| +$", ""),                                   # the space at both ends of a line
    (r" @([-,.])@ ", r"\1"),
    (r"= (?==)", "="),
    (r'" ([^"]*?) "', r'"\1"'),
    (r"(?<= )' ([^']*?) '(?= |$)", r"'\1'"),
    (r"(?<=s) '(?= )", "'"),
    (r" (n't|'(?:s|m|d|re|ve|ll|t))\b", r"\1"),
    (r"([(\[{]) ", r"\1"), (r" ([)\]}])", r"\1"), (r"([$£¥#]) (?=\d)", r"\1"),
    (r" ([.,:;!?%])(?= |$|[\"')\]}])", r"\1"),
]]


def detokenize(line):
    """One line of WikiText as people write it."""
    for rule, new in RULES:
        line = rule.sub(new, line)
    return line


def articles(path):
    """The articles of a WikiText file, from ` = Title = ` to the next, with the words that published tables count."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not found or re.match(r" = [^=].* = $", line) and found[-1]["words"] > 1:
            found.append({"text": "", "words": 0})
        found[-1]["text"] += detokenize(line) + "\n"
        found[-1]["words"] += len(line.split()) + 1     # the end of a line is a word of its own
    return found


def read(path):
    """Records of a file: WikiText, jsonl, text cut at <|endoftext|>, or what bpe/documents.py unpacks."""
    if not path.is_file():
        sys.exit(f"no {path}. Give a jsonl of records with a text, or a text file")
    if path.suffix == ".jsonl":
        return read_jsonl(path, "text")
    if path.suffix == ".tokens":
        found = articles(path)
    elif path.suffix in (".gz", ".zst", ".parquet", ".json"):
        found = [record if "text" in record else sys.exit(f"{where} has no 'text'") for where, record in records(path)]
    else:
        texts = [text.strip() for text in path.read_text(encoding="utf-8").split("<|endoftext|>")]
        found = [{"text": text} for text in texts if text]
    return found or sys.exit(f"{path} is empty. Give a file with text in it")
