"""
Models in Hugging Face's form, both ways: config.json, model.safetensors (or several, with an index), tokenizer files.

    python gpt/hf.py --checkpoint out/tinyworld/model --out out/tinyworld/hf        # bash run.sh export does this
    python gpt/hf.py --load FOLDER                          # read one that somebody published, and describe it

What is trained here then runs in transformers, vLLM and llama.cpp without our code: GPT-2 as gpt2, the Llama-style
model as llama, with a window as mistral, with qk_norm as qwen3, latent attention and mixtures as deepseek_v3. Names of
weights are already Hugging Face's, except that its GPT-2 keeps matrices the other way round.

Nothing is unpickled: folders that hold pytorch_model.bin alone are refused. So is what our models cannot compute
(scaled rotary positions, biases in a Llama, other activations): a wrong model that runs is worse than none.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
from pathlib import Path

import torch

from gpt.deepseek import DeepSeek, DeepSeekConfig
from gpt.llama import Config, Llama
from gpt.model import GPT, GPTConfig

TRANSPOSED = "c_attn.weight", "c_proj.weight", "c_fc.weight"     # GPT-2's Conv1D: (in, out)
SHARD = 5_000_000_000  # bytes a file, as transformers has it

# ----------------------------------------------------------------------------
# configurations: ours -> Hugging Face's names, and back

COMMON = {"vocab_size": "vocab_size", "hidden_size": "n_embd", "intermediate_size": "n_hidden",
          "num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "max_position_embeddings": "context",
          "rms_norm_eps": "norm_eps", "tie_word_embeddings": "tie"}
HEADS = {"num_key_value_heads": "n_kv_head", "head_dim": "d_head"}
LATENT = {"kv_lora_rank": "kv_rank", "q_lora_rank": "q_rank", "qk_nope_head_dim": "d_nope",
          "qk_rope_head_dim": "d_rope", "v_head_dim": "d_value", "n_routed_experts": "n_expert",
          "n_shared_experts": "n_shared", "num_experts_per_tok": "top_k", "moe_intermediate_size": "n_expert_hidden",
          "n_group": "n_group", "topk_group": "top_group", "first_k_dense_replace": "first_dense",
          "routed_scaling_factor": "route_scale"}
GPT2 = {"vocab_size": "vocab_size", "n_positions": "block_size", "n_embd": "n_embd", "n_layer": "n_layer",
        "n_head": "n_head"}
NAMES = {"gpt2": GPT2, "llama": COMMON | HEADS, "mistral": COMMON | HEADS | {"sliding_window": "window"},
         "qwen3": COMMON | HEADS | {"sliding_window": "window"}, "deepseek_v3": COMMON | LATENT}
CLASSES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM",
           "qwen3": "Qwen3ForCausalLM", "deepseek_v3": "DeepseekV3ForCausalLM"}
DEFAULTS = {"tie_word_embeddings": False, "num_key_value_heads": None, "head_dim": None, "sliding_window": None,
            "q_lora_rank": None}                             # what config.json may leave out


def model_type(config):
    """Hugging Face's name for one of our configurations."""
    if isinstance(config, GPTConfig):
        return "gpt2"
    if isinstance(config, DeepSeekConfig):
        return "deepseek_v3"
    return "qwen3" if config.qk_norm else "llama" if config.window is None else "mistral"


def to_json(config):
    """config.json of one of our configurations, as a dict."""
    kind = model_type(config)
    made = {theirs: getattr(config, ours) for theirs, ours in NAMES[kind].items()}
    made |= {"model_type": kind, "architectures": [CLASSES[kind]], "dtype": "float32", "torch_dtype": "float32"}
    if kind == "gpt2":
        return made | {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True}
    made |= {"hidden_act": "silu", "attention_bias": False, "rope_theta": config.rope_theta,
             "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta}}
    if kind == "qwen3":
        n = config.n_layer
        made |= {"use_sliding_window": config.window is not None, "max_window_layers": 0,
                 "layer_types": ["full_attention" if config.window is None else "sliding_attention"] * n}
    if kind == "deepseek_v3":
        made |= {"num_key_value_heads": config.n_head, "rope_interleave": True, "norm_topk_prob": True,
                 "scoring_func": "sigmoid", "topk_method": "noaux_tc", "num_nextn_predict_layers": 0}
        if not config.n_expert:                              # all layers dense; the fields want a number all the same
            made |= {"n_routed_experts": 1, "num_experts_per_tok": 1, "first_k_dense_replace": config.n_layer}
    return made


def from_json(made):
    """Our configuration for a config.json; ValueError for what our models cannot compute."""
    kind = made.get("model_type")
    if kind not in NAMES:
        raise ValueError(f"it is a {kind!r}, and only {', '.join(NAMES)} can be read")
    rope = made.get("rope_parameters") or made.get("rope_scaling") or {}
    silu = made.get("hidden_act", "silu")
    for wrong, what in [(rope.get("rope_type", rope.get("type", "default")) != "default", "scaled rotary positions"),
                        (made.get("attention_bias") or made.get("mlp_bias"), "biases"),
                        (silu != "silu" or made.get("activation_function", "gelu_new") != "gelu_new", "its activation"),
                        (not made.get("rope_interleave", True), "rotary pairs that are not neighbours"),
                        (made.get("scoring_func", "sigmoid") != "sigmoid" or not made.get("norm_topk_prob", True),
                         "its gate"),
                        (len(set(made.get("layer_types") or ["x"])) > 1, "layers of several kinds")]:
        if wrong:
            raise ValueError(f"our {kind} does not compute {what}")
    made = DEFAULTS | made
    if missing := [name for name in NAMES[kind] if name not in made or made[name] is None and name not in DEFAULTS]:
        raise ValueError(f"config.json says nothing of {', '.join(missing)}")
    fields = {ours: made[theirs] for theirs, ours in NAMES[kind].items()}
    if kind == "gpt2":
        return GPTConfig(**fields)
    theta = made.get("rope_theta") or rope.get("rope_theta") or 10000.0
    if kind == "deepseek_v3":
        if fields["first_dense"] >= fields["n_layer"]:
            fields |= {"n_expert": 0, "top_k": 2}
        return DeepSeekConfig(**fields, rope_theta=theta)
    if fields.get("n_kv_head") is None:
        fields["n_kv_head"] = fields["n_head"]
    if kind == "qwen3" and not made.get("use_sliding_window"):
        fields["window"] = None
    return Config(**fields, rope_theta=theta, qk_norm=kind == "qwen3")


# ----------------------------------------------------------------------------
# weights

def to_weights(model):
    """{Hugging Face's name: tensor}; tied weights once."""
    weights = {name: x.detach().contiguous() for name, x in model.state_dict().items()}
    if isinstance(model, GPT):
        for name in [name for name in weights if name.endswith(TRANSPOSED)]:
            weights[name] = weights[name].T.contiguous()
        if not model.config.bias:                            # its GPT-2 has biases always: zeros say the same
            for name in [name for name in weights if ".h." in name or ".ln_f" in name]:
                weights[name.removesuffix("weight") + "bias"] = weights[name].new_zeros(weights[name].size(-1))
    if getattr(model.config, "tie", True):
        del weights["lm_head.weight"]
    return weights


def from_weights(model, weights):
    """Put a published file's weights, in its names, into one of our models; ValueError for what does not fit."""
    if isinstance(model, GPT):                               # the first GPT-2 files lack the prefix and hold masks
        weights = {name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}": x
                   for name, x in weights.items() if not name.endswith((".attn.bias", ".attn.masked_bias"))}
        weights = {name: x.T if name.endswith(TRANSPOSED) else x for name, x in weights.items()}
        weights.setdefault("lm_head.weight", weights.get("transformer.wte.weight"))
    else:
        beyond = tuple(f"model.layers.{n}." for n in range(model.config.n_layer, model.config.n_layer + 9))
        weights = {name: x for name, x in weights.items()    # DeepSeek's layers for a second token; old buffers
                   if not name.startswith(beyond) and not name.endswith("rotary_emb.inv_freq")}
        if model.config.tie:
            weights.setdefault("lm_head.weight", weights.get("model.embed_tokens.weight"))
    own = model.state_dict()
    for problem, names in [("lacks", own.keys() - weights.keys()), ("has besides", weights.keys() - own.keys()),
                           ("has in another shape", {n for n in own.keys() & weights.keys()
                                                     if own[n].shape != weights[n].shape})]:
        if names:
            raise ValueError(f"it {problem} {len(names)} weights, {min(names)} among them")
    model.load_state_dict(weights)


# ----------------------------------------------------------------------------
# files

def save_hf(model, tokenizer, folder, shard=SHARD):
    """Write a model in Hugging Face's form; tokenizer: a bpe Tokenizer or None;  shard: bytes a file at most"""
    from safetensors.torch import save_file
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = to_json(model.config)
    if tokenizer is not None:
        tokenizer.export_hf(folder)
        made |= {"bos_token_id": tokenizer.specials.get("<|bos|>"), "eos_token_id": tokenizer.specials.get("<|end|>")}
    (folder / "config.json").write_text(json.dumps(made, indent=1) + "\n")
    files, size = [{}], 0
    for name, x in to_weights(model).items():
        if files[-1] and size + x.nbytes > shard:
            files, size = [*files, {}], 0
        files[-1][name] = x
        size += x.nbytes
    names = ["model.safetensors"] if len(files) == 1 else [
        f"model-{n:05d}-of-{len(files):05d}.safetensors" for n in range(1, len(files) + 1)]
    for name, weights in zip(names, files):
        save_file(weights, folder / name, metadata={"format": "pt"})
    if len(files) > 1:
        index = {"metadata": {"total_size": sum(x.nbytes for weights in files for x in weights.values())},
                 "weight_map": {key: name for name, weights in zip(names, files) for key in weights}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def load_hf(folder, dtype=torch.float32):
    """The model of a folder in Hugging Face's form, in evaluation mode; ValueError in one line if it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"no config.json in {folder}")
    index = folder / "model.safetensors.index.json"
    try:
        config = from_json(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        names = {"model.safetensors"}
        if index.is_file():
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if any(Path(name).name != name for name in names):
            raise ValueError("its index names files outside of the folder")
        weights = {}
        for name in sorted(names):
            weights |= load_file(folder / name)
    except (SafetensorError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"{folder} is damaged ({type(e).__name__}: {e})") from None
    except FileNotFoundError as e:
        raise ValueError(f"no {e.filename or 'model.safetensors'} in {folder}; a pickled model is not read") from None
    except ValueError as e:
        raise ValueError(f"{folder}: {e}") from None
    make = {GPTConfig: GPT, Config: Llama, DeepSeekConfig: DeepSeek}[type(config)]
    model = make(config).to(dtype)
    from_weights(model, {name: x.to(dtype) if x.is_floating_point() else x for name, x in weights.items()})
    return model.eval()


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", help="of ours, to be written in Hugging Face's form: a step, run or model file")
    what.add_argument("--load", metavar="FOLDER", help="in Hugging Face's form, to be read and described")
    p.add_argument("--out", type=Path, help="folder to write to [out/hf]", default=Path("out/hf"))
    return p.parse_args(argv)


def main(argv=None):
    from gpt import checkpoint, describe
    args = parse(argv)
    try:
        if args.load:
            model = load_hf(args.load)
        else:
            model, tokenizer, _ = checkpoint.load(args.checkpoint)
            save_hf(model, tokenizer, args.out)
            again = load_hf(args.out)
            same = all(torch.equal(x, again.state_dict()[name]) for name, x in model.state_dict().items())
            if not same:
                sys.exit(f"{args.out} does not hold what was saved. Is the disk full?")
            print(f"wrote {args.out}: {', '.join(sorted(p.name for p in args.out.iterdir()))}")
            print(f"next: transformers chat {args.out}, or llama.cpp's convert_hf_to_gguf.py {args.out}")
    except ModuleNotFoundError as e:
        sys.exit(f"Hugging Face's weight files need {e.name}. Get it with\n    pip install {e.name}")
    except (ValueError, checkpoint.CheckpointError) as e:
        sys.exit(str(e))
    print("\n".join(describe.lines(model)))


if __name__ == "__main__":
    main()
