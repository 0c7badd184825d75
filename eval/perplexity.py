"""
Perplexity per token and per word, and bits per byte, of documents, each alone from <|bos|>.

    python eval/perplexity.py --checkpoint out/tinyworld/pretrain/run --data out/tinyworld/corpus
    python eval/perplexity.py --checkpoint out/tinyworld/pretrain/run --data novel.txt --name novel
    python eval/perplexity.py --checkpoint out/tinyworld/pretrain/run --data wikitext-2      # c4, tinystories

A corpus folder means its fiction_test.jsonl and, if there is one, fiction_heldout.jsonl. What counts as a word,
and how WikiText-2 is read so that its perplexity per word is that of published tables: eval/texts.py.

Bits per byte is what compares models with different tokenizers: the nats of all tokens over ln 2
and over the bytes of the UTF-8 text. A document longer than the context is read in windows that
overlap (Press et al. 2021, section 2: https://arxiv.org/abs/2012.15832): every token is predicted
once, with at least context - stride tokens before it. A run that is killed goes on after the documents it has
finished.

The end of a document (the next <|bos|>) has no bytes. It is left out of `bits_per_byte` and counted
in `with_end_bits_per_byte`. Where the records know their own `bits`, -log2 p(text) under the grammar
that wrote them, their mean over the bytes is the floor; it includes that the text ends there, so
the figure with the end is the stricter one to hold against it.

B = documents or windows in a batch, T = tokens, V = vocabulary
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
import math
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from eval import texts
from eval.inputs import NotFinite, in_corpus, load_model, locate, resume, settings, sha256, unfinished
from train.log import write_metrics


def windows(ids, context, stride):
    """
    Cut ids into rows of at most context + 1 (the last is only predicted) that score every id but the
    first once: pairs (row, first), where row[first:] is what this row scores.
    """
    done = 1
    while done < len(ids):
        end = min(len(ids), max(done + stride, context + 1))
        start = max(0, end - context - 1)
        yield ids[start:end], done - start
        done = end


@torch.no_grad()
def nats(model, rows, batch_tokens=8192):
    """
    -ln p of each id of row[first:] given all before it in the row, for each (row, first): a list of
    float64 tensors. Rows of like length share a batch, padded on the right, where a causal model
    does not look; so the numbers do not depend on the batch, up to rounding.
    """
    where = next(model.parameters()).device
    batch_tokens = min(batch_tokens, 2**26 // model.config.vocab_size)           # 256 MB of logits at most
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    out = [None] * len(rows)
    while order:
        T = len(rows[order[-1]][0])
        batch = [order.pop() for _ in range(min(len(order), max(1, batch_tokens // T)))]
        ids = torch.zeros(len(batch), T, dtype=torch.long)                       # (B, T)
        for b, i in enumerate(batch):
            ids[b, :len(rows[i][0])] = torch.tensor(rows[i][0])
        ids = ids.to(where)
        logits, _ = model(ids[:, :-1])                                           # (B, T-1, V)
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")  # (B (T-1),)
        loss = loss.view(len(batch), T - 1).double().cpu()                       # (B, T-1)
        for b, i in enumerate(batch):
            row, first = rows[i]
            out[i] = loss[b, first - 1:len(row) - 1]
    if not all(x.isfinite().all() for x in out):
        raise NotFinite("the model's logits are not finite")
    return out


def document_nats(model, documents, bos, stride=None):
    """
    (text, end) nats of each document (ids without <|bos|>): two float64 tensors (documents,). Scoring the end moves no
    window: where the last one is full, the end has a row of its own.
    """
    context = model.config.context
    rows, owner = [], []
    for d, ids in enumerate(documents):
        *cut, (row, first) = windows([bos, *ids], context, stride or context // 2) if ids else [([bos], 1)]
        cut += [([*row, bos], first)] if len(row) <= context else [(row, first), ([*row[1:], bos], context)]
        rows += cut
        owner += [d] * len(cut)
    text, end = torch.zeros(2, len(documents), dtype=torch.float64)
    for d, x in zip(owner, nats(model, rows)):
        text[d] += x.sum()
        end[d] = x[-1]          # the last row of a document ends with its <|bos|>
    return text - end, end


def perplexity(nats):
    """exp(nats), but no overflow where a model that has learned nothing is counted by the word"""
    return math.exp(min(nats, 700))


def ratio(a, b):
    """sum(a) / sum(b) and its standard error over documents (Cochran 1977, section 6.4). a, b: (documents,)"""
    r = (a.sum() / b.sum()).item()
    n = len(a)
    if n < 2:
        return r, None
    return r, math.sqrt((a - r * b).square().sum().item() * n / (n - 1)) / b.sum().item()


def measure(model, tokenizer, records, stride=None, keep=None):
    """
    The numbers of one set of records {"text", maybe "bits", maybe "words"}; units in the keys.
    keep(records, work): resume() with its first arguments filled in, or None where nothing need be kept
    """
    def work(some, first=0):
        documents = [tokenizer.encode(r["text"]) for r in some]
        text, end = document_nats(model, documents, tokenizer.specials["<|bos|>"], stride)
        return [[len(ids), *pair] for ids, *pair in zip(documents, text.tolist(), end.tolist())]

    rows = torch.tensor(keep(records, work) if keep else work(records), dtype=torch.float64)
    n_tokens, text, end = rows.unbind(1)                                         # (documents,) each
    n_bytes = torch.tensor([len(r["text"].encode()) for r in records], dtype=torch.float64)
    n_words = sum(r.get("words") or len(r["text"].split()) for r in records)
    bits, bits_with_end = text / math.log(2), (text + end) / math.log(2)
    numbers = {"documents": len(records), "tokens": int(n_tokens.sum()), "words": n_words, "bytes": int(n_bytes.sum()),
               "nats_per_token": text.sum().item() / n_tokens.sum().item()}
    numbers["perplexity_per_token"] = perplexity(numbers["nats_per_token"])
    numbers["perplexity_per_word"] = perplexity(text.sum().item() / n_words)
    numbers["bits_per_byte"], numbers["bits_per_byte_stderr"] = ratio(bits, n_bytes)
    numbers["with_end_bits_per_byte"], _ = ratio(bits_with_end, n_bytes)
    if all("bits" in r for r in records):
        floor = torch.tensor([r["bits"] for r in records], dtype=torch.float64)
        numbers["floor_bits_per_byte"], _ = ratio(floor, n_bytes)
        numbers["over_floor"], numbers["over_floor_stderr"] = ratio(bits, floor)
        numbers["with_end_over_floor"], _ = ratio(bits_with_end, floor)
    return numbers


def read_ngram(path, records):
    """The bits per byte of makemore/ngram.py, which must have read the same bytes."""
    if not path.is_file():
        sys.exit(f"no {path}. Make it with\n    python makemore/ngram.py --help")
    numbers, n_bytes = json.loads(path.read_text())["numbers"], sum(len(r["text"].encode()) for r in records)
    if numbers["test_bytes"] != n_bytes:
        sys.exit(f"{path} is about {numbers['test_bytes']:,} bytes, these documents have {n_bytes:,}. "
                 "Give makemore/ngram.py the same file")
    return numbers["test_bits_per_byte"]


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, required=True, help="run, step folder or model file")
    p.add_argument("--data", type=Path, required=True, 
                   help=f"corpus folder, {', '.join(texts.KNOWN)}, jsonl of texts, or any text file")
    p.add_argument("--heldout", type=Path, help="a second file, measured under NAME_heldout")
    p.add_argument("--name", help="what the keys begin with [fiction, or the set's]")
    p.add_argument("--limit", type=int, help="documents of each file [all]")
    p.add_argument("--stride", type=int, help="tokens between windows of a long document [half the context]")
    p.add_argument("--ngram", type=Path, help="metrics.json of makemore/ngram.py on the same file, to stand beside")
    p.add_argument("--out", type=Path, default=Path("out/eval/perplexity"), help="folder [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args, start = parse(argv), time.time()
    args.name = args.name or (str(args.data).replace("-", "_") if str(args.data) in texts.KNOWN else "fiction")
    heldout = args.heldout or args.data / "fiction_heldout.jsonl"
    sets = {args.name: in_corpus(locate(args.data, texts.KNOWN), "fiction_test.jsonl")}
    sets |= {f"{args.name}_heldout": heldout} if args.heldout or heldout.exists() else {}
    records = {name: texts.read(path)[:args.limit] for name, path in sets.items()}
    ngram = read_ngram(args.ngram, records[args.name]) if args.ngram else None
    model, tokenizer, info = load_model(args.checkpoint)
    if args.stride and not 1 <= args.stride <= model.config.context:
        sys.exit(f"--stride {args.stride} must lie between 1 and the model's context, {model.config.context}")
    print(f"a uniform guess costs {math.log(tokenizer.n_vocab):.4f} nats a token")
    numbers = {}
    for name, some in records.items():
        about = settings(args, info, sets[name])
        got = measure(model, tokenizer, some, args.stride, partial(resume, unfinished(args.out, name), about))
        numbers |= {f"{name}_{key}": x for key, x in got.items()}
        print(f"{name}: {got['nats_per_token']:.4f} nats a token, {got['bits_per_byte']:.4f} bits per byte "
              f"({got['documents']:,} documents, {got['bytes']:,} bytes); perplexity {got['perplexity_per_token']:.2f} "
              f"a token, {got['perplexity_per_word']:,.2f} a word of {got['words']:,}")
        if "over_floor" in got:
            print(f"    the floor is {got['floor_bits_per_byte']:.4f}, the model {got['over_floor'] - 1:.1%} above it; "
                  f"with the texts' ends {got['with_end_over_floor'] - 1:.1%}")
    if ngram:
        below = 1 - numbers[f"{args.name}_bits_per_byte"] / ngram
        numbers |= {"ngram_bits_per_byte": ngram, f"{args.name}_below_ngram": below}
        print(f"the n-gram of {args.ngram}: {ngram:.4f} bits per byte; the model needs {below:.1%} fewer")
    write_metrics(args.out, checkpoint=info["hash"], data_sha=sha256(*sets.values()), seconds=time.time() - start,
                  numbers=numbers)
    for name in sets:
        unfinished(args.out, name).unlink()
    print(f"wrote {args.out}/metrics.json; next: python eval/report.py --run {args.out.parent}")


if __name__ == "__main__":
    main()
