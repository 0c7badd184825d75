"""Every kernel compiles for GPUs that are not here, does not spill and fits; and a kernel that does not is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def compile_for(*arguments, **environment):
    """Runs kernels/compile.py in a process of its own: this one's Triton may be interpreting."""
    clean = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run([sys.executable, "kernels/compile.py", *arguments], cwd=ROOT, env=clean | environment,
                          capture_output=True, text=True, timeout=900)


def check(archs):
    done = compile_for("--arch", *archs)
    assert done.returncode == 0, done.stdout + done.stderr
    for arch in archs:
        assert f" sm_{arch} " in done.stdout
    attention = [line for line in done.stdout.splitlines() if line.startswith("flash") and "float32" not in line]
    assert attention and all("mma" in line for line in attention), "attention without tensor cores"


def test_every_kernel_compiles_for_an_h100():
    check(["90"])


@pytest.mark.slow
def test_every_kernel_compiles_for_three_generations():
    check(["80", "90", "100"])


def test_a_kernel_that_spills_is_refused(tmp_path):
    """A kernel that keeps 65,536 numbers in the registers of four warps, beside a declaration of none."""
    (tmp_path / "greedy.py").write_text('''
import triton, triton.language as tl
from kernels import compile

@triton.jit
def greedy(x, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    block = tl.load(x + at)
    tl.store(x + at, block / tl.sum(block, 0))

def builds(arch):
    yield {"name": "greedy", "kernel": greedy, "signature": {"x": "*fp32"}, "constants": {"BLOCK": 65536},
           "options": {"num_warps": 4}, "spills": 0}

if __name__ == "__main__":
    import greedy
    compile.MODULES = (greedy,)
    compile.main([])
''')
    clean = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "greedy.py"], cwd=tmp_path, env=clean | {"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=900)
    assert done.returncode == 1 and "greedy on sm_90 spills" in done.stderr, done.stdout + done.stderr


def test_what_does_not_fit_is_refused():
    """The limits are the GPU's: 163 KiB on an A100, 227 on an H100; spills as declared pass."""
    from kernels.compile import complaint
    found = {"registers": 255, "spills": 8, "shared": 200 * 1024, "tmem": 0, "tensor": []}
    assert "shared memory" in complaint(found, 8, 80) and complaint(found, 8, 90) == ""
    assert "8 bytes a thread, 4 declared" in complaint(found, 4, 90)
    assert "tensor memory" in complaint(found | {"tmem": 544}, 8, 100)
    assert complaint(found | {"tmem": 512}, 8, 100) == ""


def test_interpreting_is_no_compiling():
    done = compile_for(TRITON_INTERPRET="1")
    assert done.returncode == 1 and "env -u TRITON_INTERPRET" in done.stderr and "Traceback" not in done.stderr
