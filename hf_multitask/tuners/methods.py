"""The family of adapters that a recipe may name: PALs, and whatever PEFT puts into a model's layers."""

from typing import Any

from peft import PeftConfig, PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import constants

from ..models.construct import construct
from .pal import PalConfig

__all__ = ["TUNERS", "build_tuner"]

# They read a task's number, change themselves as training goes on, train tokens and not layers, or keep what adapters
# share on a wrapper that a transformers model does not have.
UNFIT = {
    "AdaLoraConfig",
    "AdaptionPromptConfig",
    "FrodConfig",
    "LilyConfig",
    "PolyConfig",
    "PveraConfig",
    "RandLoraConfig",
    "ShadowConfig",
    "TinyLoraConfig",
    "TrainableTokensConfig",
    "UniLoraConfig",
    "VBLoRAConfig",
    "VeraConfig",
    "XLoraConfig",
}

TUNERS: dict[str, Any] = {"Pal": PalConfig} | {
    config.__name__: config
    for config in PEFT_TYPE_TO_CONFIG_MAPPING.values()
    if config is not PalConfig and not issubclass(config, PromptLearningConfig) and config.__name__ not in UNFIT
}

# PEFT knows by a model's type which layers to adapt where none are named; minBERT's are called as BERT's are.
for name, mapping in vars(constants).items():
    if name.startswith("TRANSFORMERS_MODELS_TO") and "bert" in mapping:
        mapping["minbert"] = mapping["bert"]


def build_tuner(spec: dict[str, Any]) -> PeftConfig:
    """The configuration that `{"class": "Pal", "width": 204}` or `{"class": "LoraConfig", "r": 8}` describes.

    >>> build_tuner({"class": "Pal", "width": 96}).heads
    12
    """
    return construct("tuner", TUNERS, spec)
