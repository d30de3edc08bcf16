"""The model of a recipe, made anew or loaded."""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

from datasets import Dataset
from transformers import AutoModel

from ..data.vocabulary import train_tokenizer
from ..models.configuration_minbert import MinBertConfig
from ..models.configuration_multitask import MultitaskConfig
from ..models.modeling_ensemble import EnsembleModel
from ..models.modeling_multitask import MultitaskModel
from ..sections.parts import ModelSection
from ..tasks import Task
from ..tuners.methods import build_tuner

__all__ = ["build_model", "load_model"]

logger = logging.getLogger(__name__)


def build_model(
    tasks: Iterable[Task],
    section: ModelSection,
    train: Mapping[str, Dataset],
    *,
    max_length: int,
    tuner: dict[str, Any] | None = None,
) -> MultitaskModel:
    """A model for the tasks, each with an adapter where a `tuner` describes one.

    The trunk is a pretrained one, or a small minBERT whose vocabulary is made of the rows of `train`.
    """
    model = plain_model(tasks, section, train, max_length=max_length)
    if tuner is not None:
        try:
            model.add_adapters(build_tuner(tuner))
        except (ValueError, RuntimeError, TypeError) as error:
            raise ValueError(f"tuner {tuner['class']} does not fit this trunk: {error}") from error
    if section.keep_heads:
        begin_as(model, str(section.trunk), revision=section.revision)
    return model


def begin_as(model: MultitaskModel, path: str, *, revision: str) -> None:
    """Take over all weights of a trained model that is made alike."""
    trained = load_model(path, revision=revision)
    try:
        model.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"keep_heads needs a trunk that is a model of the same tasks, heads and tuner. {path} is another: {error}"
        ) from error


def plain_model(
    tasks: Iterable[Task], section: ModelSection, train: Mapping[str, Dataset], *, max_length: int
) -> MultitaskModel:
    described = {task.name: task.describe() for task in tasks}
    options: dict[str, Any] = {
        "pooling": section.pooling,
        "dropout": section.dropout,
        "freeze_trunk": section.freeze_trunk,
        "train_norms": section.train_norms,
        "max_length": max_length,
    }
    if section.trunk is not None:
        if section.size:
            logger.warning("model.size is for a new trunk, and has no effect on %s.", section.trunk)
        try:
            return MultitaskModel.from_trunk(
                section.trunk,
                described,
                revision=section.revision,
                attn_implementation=section.attn_implementation,
                **options,
            )
        except OSError as error:
            raise ValueError(absent("trunk", section.trunk)) from error
        except (ValueError, ImportError) as error:
            if section.attn_implementation is None:
                raise
            raise ValueError(f"attn_implementation {section.attn_implementation} does not go: {error}") from error
    texts = [
        text for rows in train.values() for side in ("first", "second") if side in rows.features for text in rows[side]
    ]
    tokenizer = train_tokenizer(texts, max_length=max_length)
    trunk = MinBertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **section.size)
    model = MultitaskModel(MultitaskConfig(trunk=trunk, tasks=described, **options))
    model.tokenizer = tokenizer
    return model


def load_model(path: str, *, revision: str = "main") -> MultitaskModel | EnsembleModel:
    """A trained model or an ensemble from a folder or the Hub."""
    try:
        model = AutoModel.from_pretrained(path, revision=revision)
    except OSError as error:
        raise ValueError(absent("model", path)) from error
    if not isinstance(model, MultitaskModel | EnsembleModel):
        raise ValueError(f"{path} holds a '{model.config.model_type}', not a multitask model. Train one on it first.")
    return model


def absent(what: str, path: str) -> str:
    if os.path.isdir(path):
        return f"The folder {path} holds no {what}: config.json and model.safetensors are needed."
    return (
        f"The {what} {path} is no folder here, and the Hub does not give it (no such name, no access, or no network)."
    )
