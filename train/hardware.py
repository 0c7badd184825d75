"""
What devices can do by their data sheets, and what this one does when it is asked.

    python train/hardware.py                 # this machine's matrix products, and the table

Dense bfloat16 with float32 sums, without sparsity. Sheets: nvidia.com's "A100 Tensor Core GPU" (2021), "H100 Tensor
Core GPU" (2023), "DGX B200" (2024), "Ampere GA102" (2020) and "Ada GPU architecture" (2022) white papers. Consumer
cards have no NVLink between them here: PCIe 4.0 x16, through the host. Prices are what the run named beside them paid.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import time
from functools import lru_cache
from typing import NamedTuple

import torch


class Device(NamedTuple):
    name: str
    flops: float                 # peak, per second
    memory: float                # bytes
    bandwidth: float             # of its memory, bytes/s
    link: float                  # to the others in its node, bytes/s in one direction
    network: float               # its share of the node's network, bytes/s
    dollars: float | None        # an hour, where a source says so


DEVICES = {
    "3090": Device("RTX 3090", 71e12, 24e9, 0.936e12, 16e9, 1.25e9, None),
    "4090": Device("RTX 4090", 165e12, 24e9, 1.008e12, 16e9, 1.25e9, None),
    "a100-40": Device("A100 40 GB", 312e12, 40e9, 1.555e12, 300e9, 25e9, 1.29),   # llm.c's discussion 481, 2024
    "a100": Device("A100 80 GB", 312e12, 80e9, 2.039e12, 300e9, 25e9, 1.75),      # llm.c's run_gpt2_124M.sh, 2024
    "h100": Device("H100", 989e12, 80e9, 3.35e12, 450e9, 50e9, 3.00),             # nanochat's README, 2026
    "b200": Device("B200", 2250e12, 180e9, 8e12, 900e9, 50e9, None),
}
NAMES = {"RTX 3090": "3090", "RTX 4090": "4090", "A100": "a100", "H100": "h100", "B200": "b200"}   # in CUDA's names


def best(work, seconds=0.3):
    """The shortest of several runs, in seconds."""
    work()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def measured_flops(dtype, n=1024):
    """Operations a second of n x n matrix products on this CPU, with the threads that torch has."""
    draw = torch.Generator().manual_seed(0)          # its own: a run that measures and resumes draws what it would have
    a, b = (torch.randn(n, n, generator=draw).to(dtype) for _ in range(2))
    return 2 * n**3 / best(lambda: a @ b)


@lru_cache
def peak_flops(where, dtype):
    """What MFU is measured against: the sheet's peak of a GPU that is in the table, else a product measured here."""
    if where.type == "cuda":
        for name, key in NAMES.items():
            if name in torch.cuda.get_device_name(where):
                return DEVICES[key].flops
    return measured_flops(dtype) if where.type == "cpu" else None


def cpu():
    """This machine as a Device."""
    x, y = torch.zeros(2**25), torch.zeros(2**25)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    flops = max(measured_flops(torch.float32), measured_flops(torch.bfloat16))
    copied = 2 * 4 * len(x) / best(lambda: y.copy_(x))
    return Device("this CPU", flops, memory, copied, copied / 2, 1.25e9, None)


def main():
    for dtype in (torch.float32, torch.bfloat16):
        print(f"this CPU, {torch.get_num_threads()} threads, {dtype}: {measured_flops(dtype) / 1e9:,.0f} GFLOP/s")
    print("\ndevice          TFLOP/s  memory GB  memory GB/s  node GB/s  network GB/s  $/h")
    for key, d in DEVICES.items():
        print(f"{key:8s} {d.flops / 1e12:13,.0f} {d.memory / 1e9:10.0f} {d.bandwidth / 1e9:12,.0f} {d.link / 1e9:10.0f}"
              f" {d.network / 1e9:13.1f}  {f'{d.dollars:.2f}' if d.dollars else 'give --price'}")


if __name__ == "__main__":
    main()
