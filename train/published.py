"""
Training runs that others have published, with what the planner needs to predict their speed.

`fused`: the code joins small operations (torch.compile or kernels by hand). Of the rows marked calibration, the first
four set the planner's four constants, and from the other two comes how it counts messages; the rest it has never seen.
Three of those it misses by more than 20%, each for a reason that it does not know: torchtitan's H100 had slower
memory and were held to 500 W, nanoGPT of 2022 had no FlashAttention, and Meta's hours hold all that a real run loses.
Shapes are as published, except that what our models do not have (value
embeddings, relu^2, ALiBi) is left out: it costs next to nothing.
"""

from typing import NamedTuple


class Run(NamedTuple):
    name: str
    device: str                  # of train/hardware.py
    gpus: int
    kind: str
    config: dict
    length: int
    batch: int                   # rows of a device at once
    rows: int                    # of a step
    tokens: float                # of the whole run, or of a stretch where only a rate is published
    hours: float                 # as published, or as tokens/s makes them
    shards: int                  # 1 is DDP, gpus is FSDP, 8 of more is hybrid: sharded in a node, copied across nodes
    fused: bool
    calibration: bool
    source: str
    date: str


def gpt(layers, heads, width, length, vocab=50304):
    return "gpt2", dict(block_size=length, vocab_size=vocab, n_layer=layers, n_head=heads, n_embd=width)


def llama(layers, heads, kv, width, hidden, length, vocab=32000, tie=False):
    return "llama", dict(vocab_size=vocab, n_layer=layers, n_head=heads, n_kv_head=kv, n_embd=width, n_hidden=hidden,
                         context=length, tie=tie)


def rate(per_gpu, gpus, tokens=1e9):
    """Hours that so many tokens take at a rate of tokens per second and GPU."""
    return tokens / (per_gpu * gpus) / 3600


MOSAIC = "github.com/mosaicml/llm-foundry/blob/061f2c7/scripts/train/benchmarking/README.md"
TITAN = "github.com/pytorch/torchtitan/blob"
LLM_C = "github.com/karpathy/llm.c/blob/f1e2ace/scripts"

RUNS = [
    Run("GPT-2 124M, llm.c", "a100", 8, *gpt(12, 12, 768, 1024), 1024, 64, 512, 18_865 * 524_288, 94.3 / 60, 1, True,
        True, f"{LLM_C}/run_gpt2_124M.sh", "2024-05-28"),
    Run("GPT-2 1558M, llm.c", "h100", 8, *gpt(48, 25, 1600, 1024), 1024, 16, 1024, 32_000 * 1_048_576,
        32_000 * 2.8 / 3600, 1, True, True, f"{LLM_C}/run_gpt2_1558M.sh", "2024-07-11"),
    Run("MPT 125M, MosaicML", "a100", 8, *gpt(12, 12, 768, 2048, 50368), 2048, 40, 640, 1e9, rate(142_830, 8), 8, False,
        True, MOSAIC, "2023"),
    Run("MPT 7B, MosaicML", "a100", 8, *gpt(32, 32, 4096, 2048, 50368), 2048, 6, 96, 1e9, rate(4641, 8), 8, False,
        True, MOSAIC, "2023"),
    Run("Llama 2 13B, torchtitan", "a100", 64, *llama(40, 40, 40, 5120, 13824, 4096), 4096, 2, 128, 1e9, rate(2162, 64),
        64, False, True, f"{TITAN}/0413364/docs/performance.md", "2024"),
    Run("Llama 2 7B, IBM", "a100", 128, *llama(32, 32, 32, 4096, 11008, 4096), 4096, 2, 256, 2.2e12, 162_000 / 128, 8,
        False, True, "github.com/foundation-model-stack/fms-fsdp/blob/0d31998/README.md", "2024-03"),

    Run("GPT-2 350M, llm.c", "a100", 8, *gpt(24, 16, 1024, 1024), 1024, 64, 512, 60_000 * 524_288,
        60_000 * 0.82 / 3600, 1, True, False, f"{LLM_C}/run_gpt2_350M.sh", "2024-05"),
    Run("GPT-2 124M, llm.c in PyTorch", "h100", 8, *gpt(12, 12, 768, 1024), 1024, 64, 512, 19_560 * 524_288, 45 / 60, 1,
        True, False, "github.com/KellerJordan/modded-nanogpt/blob/0006a9c/README.md", "2024-05-28"),
    Run("nanochat d24, first record", "h100", 8, *gpt(24, 12, 1536, 2048, 32768), 2048, 16, 256, 16_704 * 524_288,
        10_949.47 / 3600, 8, True, False, "github.com/karpathy/nanochat/blob/92d63d4/dev/LEADERBOARD.md", "2026-01-29"),
    Run("TinyLlama 1.1B", "a100-40", 16, *llama(22, 32, 4, 2048, 5632, 2048), 2048, 8, 1024, 300e9, 3456 / 16, 8, True,
        False, "github.com/jzhang38/TinyLlama/blob/026587c/README.md", "2023-09"),
    Run("GPUburnout 1.04B", "a100", 1, *llama(16, 32, 8, 2048, 8192, 2048, 32005, tie=True), 2048, 8, 64, 20.97e9,
        rate(30_500, 1, 20.97e9), 1, True, False, "huggingface.co/GPUburnout/GPUburnout-1B-160K", "2026"),
    Run("MPT 1B, MosaicML", "h100", 8, *gpt(24, 16, 2048, 2048, 50368), 2048, 14, 112, 1e9, rate(45_455, 8), 8, False,
        False, MOSAIC, "2023"),
    Run("Llama 3.1 8B, torchtitan", "h100", 128, *llama(32, 32, 8, 4096, 14336, 8192, 128256), 8192, 2, 256, 1e9,
        rate(6514, 128), 128, True, False, f"{TITAN}/31a17bf/benchmarks/llama3_h100_202412_torchtitan.md", "2024-12"),
    Run("GPT-2 124M, nanoGPT", "a100-40", 8, *gpt(12, 12, 768, 1024), 1024, 12, 480, 600_000 * 491_520, 4 * 24, 1, True,
        False, "github.com/karpathy/nanoGPT/blob/3adf61e/README.md", "2022-12-29"),
    Run("Llama 2 7B, Meta", "a100", 512, *llama(32, 32, 32, 4096, 11008, 4096), 4096, 2, 1024, 2e12, 184_320 / 512, 512,
        False, False, "github.com/meta-llama/llama/blob/0e3444b/MODEL_CARD.md", "2023-07"),
]
