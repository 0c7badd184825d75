"""
Five runs, from seconds on a laptop to a billion parameters on a node: `train/train.py --preset NAME` trains one,
`train/plan.py --preset NAME` says beforehand what it takes.

    python train/presets.py                                  # all of them, with the commands

A preset is a shape, a recipe and a claim. Where nobody has measured the loss of that shape on that much text, it
says so instead of guessing. The recipes of tiny and small are ours, those of 124m and 350m llm.c's, that of 1b is
TinyLlama's rate (github.com/jzhang38/TinyLlama) at half its batch.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Preset:
    about: str
    kind: str                    # of the model, as in gpt/kinds.py
    config: dict                 # of its configuration
    data: str                    # a set of bpe/datasets.py, or bpe/tinyworld.py's corpus
    tokens: int                  # to train on
    length: int                  # tokens of a row
    rows: int                    # of a step, over all processes and all accumulation
    batch: int                   # rows that a process takes through the model at once
    adamw_lr: float              # peak rate; of everything where there is no muon_lr, else of what Muon leaves
    muon_lr: float | None = None
    betas: tuple = (0.9, 0.95)
    weight_decay: float = 0.1    # of the matrices alone
    schedule: str = "cosine"     # or trapezoid, of train/schedule.py
    warmup: float = 0.02         # as a fraction of all steps
    floor: float = 0.0           # the last rate as a fraction of the peak
    cooldown: float = 0.5        # of a trapezoid
    clip: float = 1.0
    parallel: str = "none"       # or ddp, fsdp: what the command starts
    checkpointing: bool = False  # activations computed again in the backward pass
    loss: float | None = None    # nats per token, as `source` has measured it
    source: str = "nobody has measured it"
    prepare: list = field(default_factory=list)      # commands that make its data, in order
    command: str = ""

    @property
    def steps(self):
        return -(-self.tokens // (self.rows * self.length))


def prepare(name, files, vocab, pattern, valid=""):
    """Commands from the files of a public set to a tokenizer and shards in out/<name>."""
    tokenizer = f"out/{name}/tokenizer"
    return [f"python bpe/train.py --data {files} --vocab {vocab} --pattern {pattern} --out {tokenizer}",
            f"python bpe/shards.py --train {files} {valid}--tokenizer {tokenizer} --out out/{name}/shards"]


def command(name, launch="python", data=None):
    return (f"{launch} train/train.py --preset {name} --data out/{data or name}/shards "
            f"--tokenizer out/{data or name}/tokenizer --out out/{name}/pretrain")


NODE = "torchrun --standalone --nproc_per_node 8"
EDU = "data/fineweb-edu/*.parquet"   # --fetch brings the first file; lay as many beside it as the tokens ask for
STORIES = "data/tinystories-full/TinyStoriesV2-GPT4"

PRESETS = {
    "tiny": Preset(
        about="run.sh's model on the embedded corpus: minutes on two cores",
        kind="llama", config=dict(vocab_size=2048, n_layer=4, n_head=4, n_kv_head=4, n_embd=128, n_hidden=352,
                                  context=512, qk_norm=True),
        data="tinyworld", tokens=4_950_000, length=256, rows=8, batch=8, adamw_lr=4e-3, muon_lr=0.02,
        weight_decay=0.01, schedule="trapezoid",
        prepare=["python bpe/tinyworld.py --out out/tiny/corpus",
                 *prepare("tiny", "out/tiny/corpus/pretrain_train.jsonl", 2048, "qwen",
                          "--valid out/tiny/corpus/pretrain_valid.jsonl ")],
        command=command("tiny")),
    "small": Preset(
        about="12 million parameters on stories: an hour on a small GPU",
        kind="llama", config=dict(vocab_size=4096, n_layer=6, n_head=6, n_kv_head=6, n_embd=384, n_hidden=1024,
                                  context=512, qk_norm=True),
        data="tinystories-full", tokens=250_000_000, length=512, rows=64, batch=16, adamw_lr=2e-3, muon_lr=0.02,
        weight_decay=0.01, schedule="trapezoid",
        prepare=["python bpe/datasets.py --fetch tinystories-full",
                 *prepare("small", f"{STORIES}-train.txt", 4096, "gpt4", f"--valid {STORIES}-valid.txt ")],
        command=command("small")),
    "124m": Preset(
        about="GPT-2 at its own shape, AdamW, the recipe of llm.c's reproduction",
        kind="gpt2", config=dict(block_size=1024, vocab_size=50304, n_layer=12, n_head=12, n_embd=768),
        data="fineweb-edu", tokens=10_000_000_000, length=1024, rows=512, batch=64, adamw_lr=6e-4, warmup=0.037,
        parallel="ddp", loss=3.29,
        source="github.com/karpathy/llm.c/discussions/481 (2024-05-28): 10B tokens of FineWeb, which is "
               "not EDU, on FineWeb's validation text",
        prepare=["python bpe/datasets.py --fetch fineweb-edu", *prepare("124m", EDU, 50304, "gpt2")],
        command=command("124m", NODE)),
    "350m": Preset(
        about="GPT-2 medium's shape, AdamW, the recipe of llm.c's run_gpt2_350M.sh",
        kind="gpt2", config=dict(block_size=1024, vocab_size=50304, n_layer=24, n_head=16, n_embd=1024),
        data="fineweb-edu", tokens=31_500_000_000, length=1024, rows=512, batch=64, adamw_lr=3e-4, warmup=0.012,
        parallel="ddp",
        prepare=["python bpe/datasets.py --fetch fineweb-edu", *prepare("124m", EDU, 50304, "gpt2")],
        command=command("350m", NODE, data="124m")),
    "1b": Preset(
        about="Llama 3.2's shape with a vocabulary of 32,768, sharded, 20 tokens a parameter",
        kind="llama", config=dict(vocab_size=32768, n_layer=16, n_head=32, n_kv_head=8, n_embd=2048, n_hidden=8192,
                                  context=2048, rope_theta=500000.0, norm_eps=1e-5),
        data="fineweb-edu", tokens=21_000_000_000, length=2048, rows=512, batch=8, adamw_lr=4e-4, warmup=0.02,
        floor=0.1, parallel="fsdp", checkpointing=True, loss=2.446,
        source="huggingface.co/GPUburnout/GPUburnout-1B-160K: the same shape but for its vocabulary, "
               "training loss after 20.97B tokens, 85% of them FineWeb-EDU",
        prepare=["python bpe/datasets.py --fetch fineweb-edu", *prepare("1b", EDU, 32768, "gpt4")],
        command=command("1b", NODE)),
}


def lines(name):
    """One preset as text."""
    p = PRESETS[name]
    shape = ", ".join(f"{key} {value}" for key, value in p.config.items())
    rates = f"AdamW {p.adamw_lr:g}" + (f", Muon {p.muon_lr:g}" if p.muon_lr else "")
    loss = f"{p.loss:.3f} nats per token: {p.source}" if p.loss else p.source
    return [f"{name}: {p.about}", f"  shape     {p.kind}: {shape}",
            f"  data      {p.data}, {p.tokens:,} tokens in {p.steps:,} steps of {p.rows} rows x {p.length}",
            f"  rate      {rates}, {p.schedule}, decay {p.weight_decay:g}, betas {p.betas}, clip {p.clip:g}",
            f"  parallel  {p.parallel}, {p.batch} rows at once" + (", checkpointing" if p.checkpointing else ""),
            f"  loss      {loss}", *(f"  prepare   {line}" for line in p.prepare), f"  train     {p.command}", ""]


def main():
    print("\n".join(line for name in PRESETS for line in lines(name)))


if __name__ == "__main__":
    main()
