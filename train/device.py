"""What the machine has: the device, the number format that is fast on it, and the kernels for it."""

import platform
import subprocess
import sys
from pathlib import Path

import torch

from gpt.attention import plain, sdpa
from kernels.cross_entropy import linear_cross_entropy

ATTENTION = "flash", "sdpa", "plain"


def device():
    """CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def bfloat16_is_fast(where):
    """Whether the processor multiplies bfloat16 itself; a CPU that emulates it is five times slower than in float32."""
    if where.type == "cpu":
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return where.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def prepare(model, where):
    """The model on its device, with the loss that never holds the logits whole."""
    model.head_loss = linear_cross_entropy
    return model.to(where)


def attention(name, where):
    """The `attend` of a name in ATTENTION, by default the machine's; see gpt/attention.py"""
    name = name or ("flash" if where.type == "cuda" else "sdpa")
    if name != "flash":
        return {"sdpa": sdpa, "plain": plain}[name]
    if where.type != "cuda":
        sys.exit(f"--attention flash is a kernel for CUDA GPUs, and this is {where}. Use --attention sdpa")
    from kernels.flash import attend                         # here, since the import needs Triton
    return attend


def environment():
    """What a figure depends on, for metrics.json."""
    root = Path(__file__).resolve().parent.parent
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True)
    return {"python": platform.python_version(), "torch": torch.__version__, "threads": torch.get_num_threads(),
            "processor": processor(), "device": str(device()), "bfloat16": bfloat16_is_fast(device()),
            "commit": commit.stdout.strip() or None}


def processor():
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] \
        if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()
