"""
Adapters in the files of Hugging Face's PEFT: adapter_config.json and adapter_model.safetensors. PEFT loads what is
saved here, and what PEFT has saved is loaded here, with equal outputs.

    save(model, folder)                                      # an adapter of lora/lora.py
    report = load(model, folder, name="code")                # onto a model without it

Names are PEFT's: base_model.model.<layer>.lora_A.weight, lora_B.weight, lora_magnitude_vector, and for
an embedding lora_embedding_A, lora_embedding_B. The hash of the base that an adapter was trained on travels along; on
another base it is refused. So are configurations that lora.py does not compute (biases, ranks by pattern).
"""

import json
import os
from pathlib import Path

import torch

from gpt.checkpoint import weights_hash
from gpt.kinds import kind_of
from lora.lora import LoRAConfig, inject, layers, load_state, remove, state

PREFIX = "base_model.model."
KEYS = {"A": "lora_A.weight", "B": "lora_B.weight", "m": "lora_magnitude_vector"}
TABLE = {"A": "lora_embedding_A", "B": "lora_embedding_B"}   # of an embedding
REFUSED = {"bias": "none", "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "lora_bias": False,
           "layers_to_transform": None, "exclude_modules": None, "target_parameters": None,
           "alora_invocation_tokens": None}                  # PEFT's field: the only value that we compute


class AdapterError(Exception):
    """One line for the user: what is wrong with an adapter, and the way out."""


def base_hash(model):
    """Hash of the weights without adapters: what gpt/checkpoint.py calls the hash of this model."""
    adapters = {f"{path}.adapters." for path, _ in layers(model)}
    weights = {name: w for name, w in model.state_dict().items() if not name.startswith(tuple(adapters) or ("\0",))}
    for path, _ in layers(model):
        weights[f"{path}.weight"] = weights.pop(f"{path}.base.weight")
    return weights_hash(weights)


def save(model, folder, name="default", base=""):
    """
    Write adapter `name` to folder, the configuration last. base: hash of the weights it was trained on, by default
    that of this model's;  ValueError if there is no such adapter
    """
    from safetensors.torch import save_file
    own = [layer.adapters[name] for _, layer in layers(model) if name in layer.adapters]
    if not own:
        raise ValueError(f"the model has no adapter {name!r}")
    folder, config = Path(folder), own[0].config
    folder.mkdir(parents=True, exist_ok=True)
    targets = sorted({path.split(".")[-1] for path, layer in layers(model) if name in layer.adapters})
    made = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": None, "inference_mode": True,
            "r": config.rank, "lora_alpha": config.alpha, "lora_dropout": config.dropout, "target_modules": targets,
            "use_rslora": config.rslora, "use_dora": config.dora, "fan_in_fan_out": kind_of(model) == "gpt2",
            "bias": "none", "init_lora_weights": True}
    tables = {path for path, layer in layers(model) if isinstance(layer.base, torch.nn.Embedding)}
    tensors = {theirs(key, tables): w.contiguous() for key, w in state(model, name).items()}
    part = folder / "adapter_model.safetensors.part"
    save_file(tensors, part, metadata={"format": "pt", "base": base or base_hash(model)})
    os.replace(part, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(made, indent=1) + "\n")


def theirs(key, tables):
    """PEFT's name of one of state()'s tensors; tables: the paths of embeddings."""
    path, _, leaf = key.rpartition(".")
    return f"{PREFIX}{path}.{(TABLE if path in tables else KEYS)[leaf]}"


def read(folder):
    """(LoRAConfig, tensors by our names, hash of the base or None) of a folder; AdapterError for what we cannot use."""
    from safetensors import SafetensorError, safe_open
    folder = Path(folder)
    try:
        made = json.loads((folder / "adapter_config.json").read_text())
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            base = (file.metadata() or {}).get("base")
            found = {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, ValueError, SafetensorError) as e:
        raise AdapterError(f"no adapter in {folder} ({e}). It needs adapter_config.json and "
                           "adapter_model.safetensors") from None
    odd = [key for key, usual in REFUSED.items() if (made.get(key) or usual) != usual]
    if made.get("peft_type") != "LORA" or odd or not isinstance(made.get("target_modules"), list):
        what = ", ".join(odd) or made.get("peft_type")
        raise AdapterError(f"{folder} wants what lora/lora.py does not compute: {what}")
    config = LoRAConfig(made["r"], made["lora_alpha"], made["lora_dropout"], tuple(made["target_modules"]),
                        made.get("use_rslora", False), made.get("use_dora", False))
    names = {theirs: ours for keys in (KEYS, TABLE) for ours, theirs in keys.items()}
    weights = {}
    for key, tensor in found.items():
        if key.endswith(".base_layer.weight"):
            continue                                         # PEFT adds the base of an embedding, which we have
        path, leaf = next(((key[len(PREFIX):-len(end) - 1], ours) for end, ours in names.items() if key.endswith(end)),
                          (None, None))
        if path is None or not key.startswith(PREFIX):
            raise AdapterError(f"{folder} has {key}, which is no part of a LoRA")
        weights[f"{path}.{leaf}"] = tensor
    return config, weights, base


def load(model, folder, name="default", check=True):
    """
    Put the adapter of a folder on a model, under a name; returns inject()'s report.
    check: refuse an adapter that was trained on another base (PEFT's own files do not say on which)
    """
    config, weights, base = read(folder)
    if check and base is not None and base != (here := base_hash(model)):
        raise AdapterError(f"{folder} was trained on the model {base[:12]}, this one is {here[:12]}. Load that one")
    try:
        report = inject(model, config, name)
    except ValueError as e:
        raise AdapterError(f"{folder} does not fit this model: {e}") from None
    try:
        load_state(model, weights, name)
    except ValueError as e:
        remove(model, name)
        raise AdapterError(f"{folder} does not fit this model: {e}") from None
    return report
