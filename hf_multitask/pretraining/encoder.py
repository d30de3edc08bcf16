"""The encoder that a first stage trains: how it gets an adapter, and how it is kept."""

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from ..models.adapters import FOLDER, base_key, check_adapter, is_adapter, save_adapter

__all__ = ["ADAPTER", "add_adapter", "save_encoder"]

ADAPTER = "pretraining"
"""What the one adapter of a first stage is called."""


def add_adapter(encoder: SentenceTransformer, config: Any, *, freeze: bool) -> None:
    """Give the trunk an adapter: Projected Attention Layers, or another method of PEFT's; `freeze` trains it alone."""
    check_adapter(config)
    config.auto_mapping = {"base_model_class": "AutoModel", "parent_library": "transformers"}
    encoder.add_adapter(config, ADAPTER)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(is_adapter(name, [ADAPTER]) or not freeze)


def save_encoder(encoder: SentenceTransformer, folder: str | Path) -> None:
    """Write a folder that is a SentenceTransformer and a trunk at once, its adapter in a folder beside.

    No card is written: the library's would print sentences of the training data.
    """
    transformer: Any = encoder[0]
    trunk = transformer.model
    if ADAPTER in (getattr(trunk, "peft_config", None) or {}):
        state = trunk.state_dict()
        save_adapter(trunk, ADAPTER, Path(folder, FOLDER, ADAPTER), state)
        transformer.model = type(trunk)(trunk.config, **getattr(transformer, "model_args", {}))
        bare = {base_key(key): weight for key, weight in state.items() if not is_adapter(key, [ADAPTER])}
        transformer.model.load_state_dict(bare)
    try:
        encoder.save_pretrained(str(folder), create_model_card=False)
    finally:
        transformer.model = trunk
