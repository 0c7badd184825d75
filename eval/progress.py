"""
The syllabus as a checklist that ticks itself.

    bash run.sh progress
    python eval/progress.py --out out

A row is done when the newest metrics.json that its script has written holds the figure and the
figure meets the target. Nothing is run, nothing is ticked by hand.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUESTIONS = "What surprised you? Extend, compress or move on?"

# week -> (title, rows); row: script, what is measured, its key in metrics.json, which way, target
WEEKS = {
    0: ("The mathematics: derivatives, the chain rule, matrix calculus", [
        ("micrograd/gradcheck.py", "largest error of a gradient", "max_error", "at most", 1e-6)]),
    1: ("micrograd: reverse-mode differentiation, a net; makemore: bigrams", [
        ("micrograd/demo.py", "moons, accuracy in train", "train_accuracy", "at least", 1.0),
        ("makemore/bigram.py", "names, nats a character", "dev_loss_nats", "at most", 2.455)]),
    2: ("makemore: the MLP of Bengio 2003; Vivid Descent, training in 3D", [
        ("makemore/mlp.py", "names, dev nats a character", "dev_loss_nats", "at most", 2.17),
        ("makemore/bengio2003.py", "perplexity below the best n-gram", "below_ngram", "at least", 0.08),
        ("micrograd/vivid.py", "frames a second", "frames_per_second", "at least", 60)]),
    3: ("makemore: BatchNorm, manual backprop, WaveNet", [
        ("makemore/batchnorm.py", "names, dev nats a character", "dev_loss_nats", "at most", 2.105),
        ("makemore/backprop.py", "largest error of a gradient", "max_error", "at most", 1e-12),
        ("makemore/wavenet.py", "names, dev nats a character", "dev_loss_nats", "at most", 1.993)]),
    4: ("The Transformer, and GPT from scratch", [
        ("gpt/translate.py", "exact translations", "exact", "at least", 0.99),
        ("gpt/train.py", "Shakespeare, nats a character", "valid_loss_nats", "at most", 1.8857)]),
    5: ("Text to ids: byte-pair encoding, data", [
        ("bpe/train.py", "bytes a token", "bytes_per_token", "at least", 3.0),
        ("bpe/bench.py", "encoding code, MB/s", "encode_megabytes_per_second", "at least", 4.0)]),
    6: ("The training loop: AdamW, Muon, schedules, resuming", [
        ("train/train.py", "validation, nats a token", "valid_loss_nats", "at most", 2.0)]),
    7: ("GPT-2 and Llama; the engine with its key/value cache", [
        ("gpt/race.py", "nanoGPT's time over ours", "times_faster", "at least", 5.0),
        ("gpt/bench.py", "GPT-2's decoding over transformers'", "gpt2_batch1_times_transformers", "at least", 2.0),
        ("gpt/bench.py", "a small model's", "small_batch1_times_transformers", "at least", 5.0)]),
    8: ("Evaluation, and scaling laws", [
        ("eval/gsm8k.py", "TinyWorld arithmetic", "gsm8k_tiny", "at least", 0.97),
        ("eval/gsm8k.py", "the same, unseen skeletons", "gsm8k_tiny_unseen", "at least", 0.85),
        ("eval/choice.py", "four-choice science", "science_choice", "at least", 0.95),
        ("eval/perplexity.py", "fiction, bits over the floor", "fiction_over_floor", "at most", 1.10),
        ("eval/perplexity.py", "real stories, below an n-gram", "fiction_below_ngram", "at least", 0.10),
        ("eval/scaling.py", "error of the extrapolated loss", "extrapolation_error", "at most", 0.03)]),
    9: ("LoRA", [
        ("lora/compare.py", "gain over full fine-tuning's", "gain", "at least", 0.97)]),
    10: ("Continual learning: streams, replay, EWC; learning after deployment", [
        ("continual/train.py", "forgetting, LoRA-per-task, routed", "forgetting", "at most", 0.01),
        ("continual/live.py", "recall in unseen wordings", "recall", "at least", 0.9)]),
    11: ("Kernels: FlashAttention-2; MLA and mixtures of experts", [
        ("kernels/bench.py", "forward against torch's", "attention forward, at worst, x FlashAttention-2",
         "at least", 1.0)]),
    12: ("Alignment: SFT, DPO, GRPO", [
        ("align/sft.py", "canaries passed after", "all", "at least", 0.9),
        ("align/dpo.py", "preference accuracy", "margin_accuracy", "at least", 0.9),
        ("align/grpo.py", "TinyWorld arithmetic after", "gsm8k_tiny", "at least", 0.9)]),
    13: ("Hydra: adapters, routing, retrieval", [
        ("chat/hydra.py", "messages routed right", "routed", "at least", 0.98),
        ("chat/rag.py", "recall at 5 passages", "recall_at_5", "at least", 0.95)]),
    14: ("From one core to many GPUs", [
        ("train/plan.py", "median error of held-out runs", "time_error", "at most", 0.2)]),
    15: ("A server, a page, a deployment", [
        ("chat/bench.py", "64 clients against one by one", "throughput_ratio", "at least", 4.0)]),
    16: ("Beyond: a sequence memory in HTM's style, JEPA", [
        ("beyond/htm.py", "planned", "", "at least", 1),
        ("beyond/jepa.py", "planned", "", "at least", 1)]),
}


def read(out):
    """{script: [everything it has measured, newest first]} from the metrics.json files below `out`."""
    found = {}
    for path in sorted(out.rglob("metrics.json"), key=lambda p: -p.stat().st_mtime):
        try:
            m = json.loads(path.read_text(encoding="utf-8"))
            canaries = (m.get("canaries") or {}).get("after", {})
            scores = {key: x["value"] for key, x in {**canaries, **m["scores"]}.items() if x}
            found.setdefault(m["script"], []).append({**m["numbers"], **scores})
        except (ValueError, KeyError, TypeError, AttributeError):
            print(f"{path} is no metrics.json of this project and is left out", file=sys.stderr)
    return found


def state(script, key, way, target, measured):
    """("done" | "short of it" | "not run yet" | "not built yet", the figure or None)"""
    for values in measured.get(script, []):
        if (x := values.get(key)) is not None:
            return ("done" if (x >= target if way == "at least" else x <= target) else "short of it"), x
    return ("not run yet" if (ROOT / script).exists() else "not built yet"), None


def checklist(measured):
    """The lines of the checklist."""
    done = total = 0
    for week, (title, rows) in WEEKS.items():
        yield f"week {week:2d}  {title}"
        for script, what, key, way, target in rows:
            word, x = state(script, key, way, target, measured)
            done, total = done + (word == "done"), total + 1
            figure = f"{'–' if x is None else f'{x:.4g}':>8s}   {way + f' {target:g}' if key else '':14s}"
            yield f"  [{'x' if word == 'done' else ' '}] {script:24s} {what:34s} {figure} {word}"
        yield f"      {QUESTIONS}"
    yield f"{done} of {total} done"


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("out"), help="folder that holds all runs [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    print("\n".join(checklist(read(parse(argv).out))))


if __name__ == "__main__":
    main()
