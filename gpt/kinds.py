"""Every kind of model that there is, by the name that its checkpoints carry."""

from gpt.deepseek import DeepSeek, DeepSeekConfig
from gpt.llama import Config, Llama
from gpt.model import GPT, GPTConfig

KINDS = {"llama": (Config, Llama), "gpt2": (GPTConfig, GPT), "deepseek": (DeepSeekConfig, DeepSeek)}


def build(config, **options):
    """The model of a configuration, with fresh weights; options: attend and what else that model takes"""
    return next(model for shape, model in KINDS.values() if shape is type(config))(config, **options)


def kind_of(model):
    """Its name; ValueError for what is none of them."""
    for kind, (_, model_class) in KINDS.items():
        if type(model) is model_class:
            return kind
    raise ValueError(f"no checkpoint kind for a {type(model).__name__}")
