"""
Do our figures agree with lm-evaluation-harness? The same model, the same questions, the same texts, both ways.

    python eval/agreement.py --checkpoint out/tinyworld/model --text out/tinyworld/corpus --documents 20

The checkpoint is exported with gpt/hf.py, so that on the harness's side transformers computes and nothing of ours
does. Questions are asked as its task arc_easy asks them (eval/choice.py, --form plain, by text and by length), texts
are read as its task wikitext reads them (loglikelihood_rolling: windows of a whole context, --stride context). Both
begin with <|bos|>, as our models are trained. The harness puts it before a text by itself, and before a question
if it is told to (add_bos_token); told so, it would put two before a text and score the second, so it is told once.

The harness is no dependency. It asks for nothing but a matching torch, so give it an environment of its own:
    python -m venv /tmp/harness
    /tmp/harness/bin/pip install torch==2.13.0 lm_eval==0.4.13 transformers regex safetensors
    /tmp/harness/bin/python eval/agreement.py --checkpoint ...

Reference: EleutherAI/lm-evaluation-harness, lm_eval/tasks/arc/arc_easy.yaml and lm_eval/tasks/wikitext/wikitext.yaml
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import re
import tempfile
import time
from pathlib import Path

import torch

from eval import questions as forms
from eval import texts
from eval.choice import likelihoods
from eval.inputs import in_corpus, load_model, locate, sha256, write_jsonl
from eval.perplexity import document_nats
from train.log import write_metrics

TOLERANCE = 1e-3        # of a perplexity, absolute

# arc_easy.yaml and wikitext.yaml, but the data are local files
LOCAL = {"dataset_path": "json", "test_split": "test", "num_fewshot": 0}
ARC = LOCAL | {"task": "arc_local", "output_type": "multiple_choice",
               "doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_target": "{{choices.label.index(answerKey)}}",
               "doc_to_choice": "{{choices.text}}",
               "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True}
                               for name in ("acc", "acc_norm")]}
TEXT = LOCAL | {"task": "text_local", "output_type": "loglikelihood_rolling", "doc_to_text": "",
                "doc_to_target": "text",
                "metric_list": [{"metric": name} for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")]}


def first_max(values):
    return values.index(max(values))


def ours_arc(model, tokenizer, records):
    """(log-likelihoods of each question's choices, [by text, by length] index picked for each question)"""
    questions = [r["question"] for r in records]
    values = likelihoods(model, tokenizer, questions, form="plain")
    sizes = [[len(c["text"]) for c in q["choices"]] for q in questions]
    length = [[x / max(1, n) for x, n in zip(*pair)] for pair in zip(values, sizes)]
    return values, [[first_max(row) for row in rows] for rows in (values, length)]


def ours_text(model, tokenizer, records):
    """The harness's three figures of texts: its words are what white space separates, empty ends counted."""
    documents = [tokenizer.encode(r["text"]) for r in records]
    text, _ = document_nats(model, documents, tokenizer.specials["<|bos|>"], stride=model.config.context)
    nats = text.sum().item()
    n_words = sum(len(re.split(r"\s+", r["text"])) for r in records)
    n_bytes = sum(len(r["text"].encode()) for r in records)
    return {"word_perplexity": math.exp(nats / n_words), "byte_perplexity": math.exp(nats / n_bytes),
            "bits_per_byte": nats / n_bytes / math.log(2)}


def harness(folder, arc, records):
    """What the harness finds: (the log-likelihoods, its picks for acc and acc_norm, its three figures)."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    write_jsonl(folder / "arc.jsonl", [
        {"question": r["question"]["stem"], "answerKey": r["answerKey"],
         "choices": {key: [c[key] for c in r["question"]["choices"]] for key in ("text", "label")}} for r in arc])
    write_jsonl(folder / "text.jsonl", [{"text": r["text"]} for r in records])
    model, found = HFLM(str(folder / "model"), device="cpu", dtype="float32", batch_size=16, add_bos_token=True), {}
    for task, file in ((ARC, "arc.jsonl"), (TEXT, "text.jsonl")):
        model.add_bos_token = task is ARC
        local = {"data_files": {"test": str(folder / file)}, "cache_dir": str(folder / "cache")}
        found[file] = simple_evaluate(model, tasks=[{**task, "dataset_kwargs": local}], log_samples=True,
                                      bootstrap_iters=0)
    samples = sorted(found["arc.jsonl"]["samples"]["arc_local"], key=lambda s: s["doc_id"])
    values = [[x[0] for x in s["filtered_resps"]] for s in samples]
    length = [[x / max(1, len(c)) for x, c in zip(row, s["doc"]["choices"]["text"])] for row, s in zip(values, samples)]
    picks = [[first_max(row) for row in rows] for rows in (values, length)]
    for key, chosen in zip(("acc", "acc_norm"), picks):      # teeth: these are the picks that it scored
        keys = [s["doc"]["choices"]["label"].index(s["doc"]["answerKey"]) for s in samples]
        if [s[key] for s in samples] != [i == want for i, want in zip(chosen, keys)]:
            raise ValueError(f"the harness's {key} is not that of the likelihoods it logged")
    figures = found["text.jsonl"]["results"]["text_local"]
    return values, picks, {key.split(",")[0]: x for key, x in figures.items()}


def compare(ours, theirs, figures, their_figures, keys):
    """Numbers of the comparison, and whether all agree. ours, theirs: (likelihoods, picks); keys: right choices"""
    n, numbers = len(keys), {}
    for name, a, b in zip(("acc", "acc_norm"), ours[1], theirs[1]):
        numbers[f"arc_{name}"] = sum(x == key for x, key in zip(a, keys)) / n
        numbers[f"arc_{name}_harness"] = sum(x == key for x, key in zip(b, keys)) / n
        numbers[f"arc_{name}_questions_that_differ"] = sum(x != y for x, y in zip(a, b))
    numbers["arc_largest_difference_nats"] = max(abs(x - y) for rows in zip(ours[0], theirs[0]) for x, y in zip(*rows))
    for name, x in figures.items():
        numbers |= {name: x, f"{name}_harness": their_figures[name], f"{name}_difference": abs(x - their_figures[name])}
    differ = [x for key, x in numbers.items() if key.endswith("_that_differ")]
    return numbers, not any(differ) and all(numbers[f"{name}_difference"] <= TOLERANCE for name in figures)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, required=True, help="run, step folder or model file")
    p.add_argument("--questions", type=Path, default=Path("arc-easy"), help="as eval/choice.py reads [%(default)s]")
    p.add_argument("--limit", type=int, help="questions [all]")
    p.add_argument("--text", type=Path, required=True, help="as --data of eval/perplexity.py")
    p.add_argument("--documents", type=int, help="texts [all]")
    p.add_argument("--out", type=Path, default=Path("out/eval/agreement"), help="folder [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args, start = parse(argv), time.time()
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    try:
        import lm_eval
        import safetensors  # noqa: F401
    except ImportError as error:
        sys.exit(f"{error.name} is not installed. How to get the harness: python eval/agreement.py --help")
    from gpt.hf import save_hf
    paths = locate(args.questions, forms.KNOWN), in_corpus(locate(args.text, texts.KNOWN), "fiction_test.jsonl")
    arc, records = forms.read(paths[0])[:args.limit], texts.read(paths[1])[:args.documents]
    model, tokenizer, info = load_model(args.checkpoint)
    model = model.to("cpu")
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        save_hf(model, tokenizer, Path(folder) / "model")
        values, picks, theirs = harness(Path(folder), arc, records)
    ours, figures = ours_arc(model, tokenizer, arc), ours_text(model, tokenizer, records)
    numbers, agreed = compare(ours, (values, picks), figures, theirs, [forms.right(r) for r in arc])
    print(f"lm-evaluation-harness {lm_eval.__version__}, {len(arc):,} questions, {len(records):,} texts")
    for name, x in numbers.items():
        print(f"{name.replace('_', ' '):42} {x:.8g}")
    write_metrics(args.out, checkpoint=info["hash"], data_sha=sha256(*paths), seconds=time.time() - start,
                  numbers=numbers | {"questions": len(arc), "texts": len(records), "agreed": agreed})
    print(f"{'agreed' if agreed else 'THEY DIFFER'}; wrote {args.out}/metrics.json")
    sys.exit(0 if agreed else 1)


if __name__ == "__main__":
    main()
