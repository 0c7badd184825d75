"""
Checkpoints that survive a kill at any instant, and that hold no code.

    run/latest                     the name of the newest complete step, one line
    run/step_000500/
        checkpoint.json            kind and config of the model, step, stage, parent, hash of the weights
        model.pt  state.pt         tensors and plain values; state.pt is what resuming needs, if anything
        tokenizer.json             travels with the weights that were trained on it
        shards/                    instead of model.pt: the pieces that ranks have written (train/sharded.py)

A step is written to step_000500.tmp, synced to the disk, renamed, and only then named by `latest`,
which is replaced in one piece: whoever reads finds the last good step. Loading never unpickles
anything but tensors and plain values (weights_only=True), so a stranger's file is data, not a program.
"""

import contextlib
import hashlib
import json
import os
import pickle
import shutil
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path

import torch

from bpe.bpe import Tokenizer
from gpt.kinds import KINDS, build, kind_of

DTYPES = {str(dtype).removeprefix("torch."): dtype
          for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)}
PLAIN = (type(None), bool, int, float, str, bytes)           # exactly these: numpy's float64 is a kind of float


class CheckpointError(Exception):
    """One line for the user: what is wrong with a checkpoint, and the way out."""


# ----------------------------------------------------------------------------
# writing

def weights_hash(weights):
    """sha256, in hexadecimal, of a state_dict: names, types, shapes and bytes, whatever file or layout it is in."""
    digest = hashlib.sha256()
    for name, x in sorted(weights.items()):
        x = x.full_tensor() if hasattr(x, "full_tensor") else x    # one at a time: all ranks, together, gather it
        digest.update(f"{name} {x.dtype} {tuple(x.shape)}\n".encode())
        digest.update(x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def check_plain(value, name="state"):
    """ValueError naming the first thing inside that weights_only=True would refuse to load."""
    if type(value) in (list, tuple):
        value = dict(enumerate(value))
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            check_plain(key, f"a key of {name}")
            check_plain(item, f"{name}[{key!r}]")
    elif type(value) not in PLAIN and not isinstance(value, torch.Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}; a checkpoint holds tensors and plain values")


def sync(path):
    """Wait until a file, or the list of names in a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(run):
    """Turns whatever keeps a step from being written (disk full, folder read-only) into one line."""
    try:
        yield
    except (OSError, RuntimeError) as e:                     # torch's writer makes a RuntimeError of a full disk
        if isinstance(e, RuntimeError) and "write" not in str(e):
            raise
        for part in Path(run).glob("step_*.tmp"):
            shutil.rmtree(part, ignore_errors=True)
        why = getattr(e, "strerror", None) or " ".join(str(e).split())[:200]
        raise CheckpointError(f"cannot write a checkpoint to {run} ({why}). What it holds stands: make room for "
                              "another there, then run the same command again") from None


def begin(run, step):
    """
    An empty folder, run/step_<step>.tmp, that finish() will make the newest step. If that name is taken (a run
    resumed from an older step comes by again) a suffix is added: nothing complete is ever overwritten.
    """
    name, again = f"step_{step:06d}", 1
    while (run / name).exists():
        name, again = f"step_{step:06d}_{again}", again + 1
    for part in run.glob("step_*.tmp"):                      # a kill left it
        shutil.rmtree(part)
    part = run / f"{name}.tmp"
    part.mkdir(parents=True)
    return part


def finish(part, step, model, tokenizer, state, digest, stage="", parent=None, keep=None):
    """What goes with the weights that are in `part` already; then all of it gets its name. See save()"""
    if state is not None:
        with open(part / "state.pt", "wb") as file:
            torch.save(state, file)
    tokenizer.save(part)
    files = sorted(path for path in part.rglob("*") if path.is_file())
    kind = next(kind for kind, (config, _) in KINDS.items() if config is type(model.config))
    info = {"schema": 1, "kind": kind, "config": asdict(model.config), "step": step, "stage": stage,
            "dtype": str(next(model.parameters()).dtype).removeprefix("torch."), "parent": parent,
            "hash": digest, "tokenizer": tokenizer.hash,
            "bytes": {file.relative_to(part).as_posix(): file.stat().st_size for file in files}}
    (part / "checkpoint.json").write_text(json.dumps(info, indent=1) + "\n")
    for path in [*part.rglob("*"), part]:
        sync(path)
    run, name = part.parent, part.stem
    os.rename(part, run / name)
    sync(run)
    point(run / "latest", name)
    if keep:
        prune(run, keep, name)
    return run / name


def save(run, step, model, tokenizer, state=None, stage="", parent=None, keep=None):
    """
    Write run/step_<step>, point run/latest to it, and return its path. CheckpointError if it cannot be written.

    state: nested dicts and lists of tensors and plain values, for load_state();  stage: "pretrain", "sft", ...
    parent: hash of the weights this training started from;  keep: older steps beyond this number are removed
    """
    kind_of(model)
    check_plain(state)
    weights = model.state_dict()
    with writing(run):
        part = begin(Path(run), step)
        with open(part / "model.pt", "wb") as file:          # a file of Python's says why it cannot be written
            torch.save(weights, file)
        return finish(part, step, model, tokenizer, state, weights_hash(weights), stage, parent, keep)


def point(path, target):
    """Make `path` a one-line text file that says `target`: the old line or the new one is there, never half."""
    part = path.with_name(path.name + ".tmp")
    part.write_text(f"{target}\n")
    sync(part)
    os.replace(part, path)
    sync(path.parent)


def prune(run, keep, newest):
    """Remove all steps but the last `keep` and the newest; what is half removed has no step's name any more."""
    steps = [path for path in run.glob("step_*") if path.suffix != ".tmp" and path.name != newest]
    steps.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
    for path in steps[:len(steps) - (keep - 1)]:
        part = path.with_name(path.name + ".tmp")
        os.rename(path, part)
        shutil.rmtree(part)


# ----------------------------------------------------------------------------
# reading

def find(path):
    """The step folder that `path` means: itself, a run's latest, or what a one-line text file names."""
    start = path = Path(path)
    if path.is_file():
        path = path.parent / path.read_text(errors="replace").strip()
    if (path / "latest").is_file():
        path = path / (path / "latest").read_text(errors="replace").strip()
    if not (path / "checkpoint.json").is_file():
        raise CheckpointError(f"no checkpoint at {start}. Make one: bash run.sh")
    return path


def describe(path):
    """What checkpoint.json says, after every file has been found to have its length."""
    path = find(path)
    try:
        info = json.loads((path / "checkpoint.json").read_text())
        sizes, kind, _ = info["bytes"], info["kind"], info["config"]["vocab_size"]
    except (ValueError, KeyError, TypeError) as e:
        raise damaged(path / "checkpoint.json", f"{type(e).__name__}: {e}") from None
    if kind not in KINDS:
        raise CheckpointError(f"{path} holds a model of kind {kind!r}, and this version loads {', '.join(KINDS)}. "
                              "Update it")
    for name, size in sizes.items():
        have = (path / name).stat().st_size if (path / name).is_file() else 0
        if have != size:
            raise damaged(path / name, f"it has {have:,} of {size:,} bytes")
    return info | {"path": str(path)}


def damaged(path, why):
    older = "load an older step beside it, or train again"
    return CheckpointError(f"{path} is damaged ({' '.join(why.split())[:200]}). Remove {path.parent} and {older}")


def read(path, device):
    """A file of tensors and plain values."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as e:
        raise damaged(path, f"{type(e).__name__}: {e}") from None


class Index(pickle.Unpickler):
    """Reads torch's index of shards, a pickle, and refuses all but what such an index is made of: no programs."""
    NAMES = {"torch.distributed.checkpoint.metadata": (
                 "Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "ChunkStorageMetadata",
                 "TensorProperties", "_MEM_FORMAT_ENCODING"),
             "torch.distributed.checkpoint.filesystem": ("_StorageInfo",), "pathlib": ("PosixPath",),
             "torch": ("Size", "float64", "float32", "bfloat16", "float16"), "torch.serialization": ("_get_layout",)}

    def find_class(self, module, name):
        if name in self.NAMES.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} in an index of shards")


def read_shards(folder, tensors):
    """
    Fill tensors, name -> tensor, in place from run/step_000500/shards, whatever number of ranks has written them.
    A rank of several asks for its own part: its tensors are DTensors, and all ranks call this together.
    """
    import torch.distributed as dist
    from torch.distributed import checkpoint as sharded

    class Reader(sharded.FileSystemReader):
        def read_metadata(self, *args, **kwargs):
            index.storage_meta.load_id = self.load_id
            return index

    try:
        with open(folder / ".metadata", "rb") as file:
            index = Index(file).load()
        sharded.load(tensors, storage_reader=Reader(folder), no_dist=not dist.is_initialized())
    except (sharded.CheckpointException, RuntimeError, ValueError, KeyError, AttributeError, EOFError,
            pickle.UnpicklingError) as e:
        raise damaged(folder, f"{type(e).__name__}: {e}") from None


def load(path, device="cpu"):
    """
    path: a step folder, a run folder (its latest step), or a text file naming one of them
    returns: model on the device in evaluation mode, tokenizer, info (checkpoint.json and "path");
    CheckpointError, in one line, if anything is missing, damaged or does not fit together
    """
    info = describe(path)
    folder = Path(info["path"])
    try:
        tokenizer = Tokenizer.load(folder)
    except ValueError as e:
        raise damaged(folder / "tokenizer.json", str(e)) from None
    vocab = info["config"]["vocab_size"]
    if tokenizer.hash != info["tokenizer"] or tokenizer.n_vocab > vocab:
        raise CheckpointError(
            f"wrong tokenizer in {folder}: it is {tokenizer.hash[:12]} with {tokenizer.n_vocab} ids, the model was "
            f"trained with {info['tokenizer'][:12]} and has {vocab}. Put that one back")
    weights = None if "model.pt" not in info["bytes"] else read(folder / "model.pt", device)
    try:
        with torch.random.fork_rng(devices=[]):              # building draws weights that are not used
            model = build(KINDS[info["kind"]][0](**info["config"]))
        model = model.to(device, next(iter(weights.values())).dtype if weights else DTYPES[info["dtype"]])
        if weights is None:
            read_shards(folder / "shards", {f"model.{name}": p.detach() for name, p in model.named_parameters()})
            weights = model.state_dict()
        model.load_state_dict(weights)
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError) as e:
        raise damaged(folder / "model.pt", f"{type(e).__name__}: {e}") from None
    if weights_hash(weights) != info["hash"]:
        raise damaged(folder / "model.pt", "its weights are not those that were saved")
    return model.eval(), tokenizer, info


def load_state(path, device="cpu"):
    """The state that save() was given. CheckpointError if there is none, or if it is damaged."""
    info = describe(path)
    if "state.pt" not in info["bytes"]:
        raise CheckpointError(f"{info['path']} has no state to resume from. Start a new run from its weights")
    return read(Path(info["path"]) / "state.pt", device)
