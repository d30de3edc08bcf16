"""Trunks: how one is built, loaded and run, whichever encoder it is."""

from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from .batch import Batch
from .configuration_multitask import MultitaskConfig
from .modeling_minbert import MinBertModel

__all__ = ["build_trunk", "load_encoder", "meaning", "places", "run_trunk"]

PASSING = {"architectures", "attn_implementation", "dtype", "gradient_checkpointing", "transformers_version", "unpad"}
PASSING |= {"attention_probs_dropout_prob", "hidden_dropout_prob", "initializer_range", "use_cache"}
"""Fields of a trunk's configuration that say how it is trained, run or was saved, and nothing about its weights."""


def build_trunk(config: MultitaskConfig) -> PreTrainedModel:
    """A trunk without its weights."""
    if config.trunk.model_type == "minbert":
        return MinBertModel(config.trunk, add_pooling_layer=config.pooling == "pooler")
    return AutoModel.from_config(config.trunk)


def load_encoder(path: str | Path, config: Any, *, pooler: bool, **loading: Any) -> PreTrainedModel:
    """A pretrained encoder, BERT as `MinBertModel`; refused where weights are missing or the model is none."""
    if config.is_encoder_decoder or config.model_type not in {**MODEL_FOR_MASKED_LM_MAPPING_NAMES, "minbert": ""}:
        raise ValueError(f"A trunk must be an encoder such as BERT or RoBERTa. {path} holds a '{config.model_type}'.")
    if config.model_type in ("bert", "minbert"):
        loading["add_pooling_layer"] = pooler
    loader: Any = MinBertModel if config.model_type in ("bert", "minbert") else AutoModel
    model, report = loader.from_pretrained(path, output_loading_info=True, **loading)
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler.") or pooler)
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ValueError(f"{path} lacks weights of a '{config.model_type}' encoder: {shown}. Is it another model?")
    if "attention_mask" not in signature(model.forward).parameters:
        raise ValueError(
            f"A trunk must tell texts from padding, or what it says of one text depends on the others of its batch. "
            f"{path} holds a '{config.model_type}', which cannot."
        )
    return model


def meaning(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a trunk's configuration that say what its weights mean.

    >>> meaning({"hidden_size": 24, "use_cache": False, "_name_or_path": "bert"})
    {'hidden_size': 24}
    """
    return {key: value for key, value in config.items() if key not in PASSING and key[:1] != "_"}


def places(trunk: PreTrainedModel) -> int | None:
    """How many tokens a trunk has positions for; None where it counts none."""
    for name, module in trunk.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and isinstance(module, nn.Embedding):
            # RoBERTa and its kind begin to count behind the padding.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def run_trunk(trunk: PreTrainedModel, batch: Batch, words: Tensor | None = None, **options: Any) -> tuple[Tensor, Any]:
    """Hidden states [tokens, width], and the pooler's output [rows, width] where the trunk has one, else None."""
    packing = batch.packing
    read = {"input_ids": batch.input_ids} if words is None else {"inputs_embeds": words}
    if batch.token_type_ids is not None:
        read["token_type_ids"] = batch.token_type_ids
    if isinstance(trunk, MinBertModel):
        output = trunk(**read, packing=packing, **options)
        return output.last_hidden_state, output.pooler_output
    read["attention_mask"] = torch.ones_like(batch.input_ids)
    output = trunk(**{name: packing.pad(value) for name, value in read.items()}, **options)
    return packing.unpad(output.last_hidden_state), output.pooler_output if "pooler_output" in output else None
