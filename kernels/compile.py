"""
Compile every kernel at its real block sizes for GPUs that this machine need not have.

    python kernels/compile.py --arch 80 90 100       # A100, H100, B200

Triton compiles for an explicit target, and brings the assembler and the disassembler along. For each
kernel: registers a thread, spills (bytes of local memory a thread, which live in slow memory), shared
memory a program, tensor-core instructions. It fails where a kernel spills more than its file declares,
or needs more shared memory than the GPU gives one program.

Each file of kernels says in builds(arch) what to compile: a list of {name, kernel, signature, constants,
options, spills}. Types are Triton's ("*bf16" a pointer, "i32:16" an integer known to be a multiple of 16);
pointers are taken as multiples of 16 bytes, as torch allocates them and Triton finds at run time.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import multiprocessing
import re
import subprocess
import tempfile

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels import flash, flash_backward, logits_gradient, rmsnorm, rope, swiglu

MODULES = (flash, flash_backward, logits_gradient, rmsnorm, rope, swiglu)
SHARED = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}  # bytes a program: CUDA guide, technical specifications
TMEM = 512                                                   # columns of tensor memory, sm_100 alone has it
TENSOR_CORES = r"\b(mma\.sync|wgmma\.mma_async|tcgen05\.mma)\b"


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--arch", type=int, nargs="+", choices=SHARED, default=[90], help="90 means sm_90 [90]")
    p.add_argument("--only", default="", help="compile the kernels alone whose name contains this text")
    p.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes [%(default)s]")
    return p.parse_args(argv)


def compiled(build, arch):
    """The compiled kernel: .asm holds PTX and machine code, .metadata the shared memory."""
    names = build["kernel"].arg_names
    types = {name: build["signature"].get(name, "constexpr").removesuffix(":16") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names)
               if types[name].startswith("*") or build["signature"].get(name, "").endswith(":16")}
    source = ASTSource(build["kernel"], types, build["constants"], aligned)
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=build["options"])


def measure(kernel):
    """What the machine code uses (registers, spills, shared and tensor memory), and its tensor-core instructions."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        said = subprocess.run([triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name],
                              capture_output=True, text=True, check=True).stdout
    used = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", said)}
    return {"registers": used["REG"], "spills": used["STACK"] + used["LOCAL"], "shared": kernel.metadata.shared,
            "tmem": getattr(kernel.metadata, "tmem_size", 0) or 0,
            "tensor": sorted(set(re.findall(TENSOR_CORES, kernel.asm["ptx"])))}


def complaint(found, declared, arch):
    """What is wrong with a kernel, or nothing."""
    if found["spills"] > declared:
        return f"spills {found['spills']} bytes a thread, {declared} declared"
    if found["shared"] > SHARED[arch]:
        return f"needs {found['shared']} bytes of shared memory, sm_{arch} has {SHARED[arch]}"
    if found["tmem"] > TMEM:                                 # Triton then writes an empty kernel
        return f"needs {found['tmem']} columns of tensor memory, there are {TMEM}"
    return ""


def job(task):
    """(arch, which module, which of its builds) -> its name, what was found, what is wrong. Kernels do not pickle."""
    arch, module, index = task
    build = list(MODULES[module].builds(arch))[index]
    found = measure(compiled(build, arch))
    return build["name"], found, complaint(found, build["spills"], arch)


def main(argv=None):
    args = parse(argv)
    if triton.knobs.runtime.interpret:
        sys.exit("TRITON_INTERPRET is set: kernels are interpreted, not compiled. "
                 "env -u TRITON_INTERPRET python kernels/compile.py")
    tasks = [(arch, m, index) for arch in args.arch for m, module in enumerate(MODULES)
             for index, build in enumerate(module.builds(arch)) if args.only in build["name"]]
    row = "{:44s} {:>6} {:>9} {:>6} {:>7}  {}"
    print(f"Triton {triton.__version__}")
    print(row.format("kernel", "GPU", "registers", "spills", "shared", "tensor cores"), flush=True)
    wrong = []
    with multiprocessing.get_context("fork").Pool(args.jobs) as pool:
        for (arch, _, _), (name, found, problem) in zip(tasks, pool.imap(job, tasks)):
            print(row.format(name, f"sm_{arch}", found["registers"], found["spills"], found["shared"],
                             ", ".join(found["tensor"]) or "-"), flush=True)
            wrong += [f"{name} on sm_{arch} {problem}"] if problem else []
    if wrong:
        sys.exit("\n".join(wrong))
    print("all compile, and fit")


if __name__ == "__main__":
    main()
