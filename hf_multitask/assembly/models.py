"""From a recipe's sections to rows, a model and a folder: what every recipe script does first and last."""

import gc
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModel

from ..data.rows import load_all, overlap
from ..data.streams import RowStream
from ..data.vocabulary import train_tokenizer
from ..models.configuration_minbert import MinBertConfig
from ..models.configuration_multitask import MultitaskConfig
from ..models.construct import construct
from ..models.modeling_ensemble import EnsembleModel
from ..models.modeling_multitask import MultitaskModel
from ..recipe import RecipeError, read_recipe, write_recipe
from ..sections.parts import SOURCES, DataSection, ModelSection
from ..tasks import Task
from ..tuners.methods import build_tuner

__all__ = ["build_model", "claim_folder", "join_folder", "leave", "load_model", "load_rows", "move_model"]

logger = logging.getLogger(__name__)

Rows = dict[str, dict[str, Dataset]]


def load_rows(
    tasks: Iterable[Task],
    data: DataSection,
    splits: Iterable[str],
    *,
    seed: int = 0,
    own: Mapping[str, dict] | None = None,
) -> Rows:
    """Checked rows by split and task, from the common source or a task's `own`; training rows limited or streamed."""
    tasks, splits = list(tasks), list(splits)
    sources = {task.name: construct("source", SOURCES, (own or {}).get(task.name) or data.source) for task in tasks}
    streams: Any = {
        (task.name, "train"): RowStream(task, "train", sources[task.name], data.on_bad_row)
        for task in tasks
        if task.name in data.stream
    }
    wanted = [(task, split, sources[task.name]) for task in tasks for split in splits]
    loaded = (
        load_all([one for one in wanted if (one[0].name, one[1]) not in streams], on_bad_row=data.on_bad_row) | streams
    )
    rows: Rows = {split: {task.name: loaded[task.name, split] for task in tasks} for split in splits}
    for name, train in rows.get("train", {}).items():
        if name in data.stream:
            continue
        if "dev" in rows and (shared := overlap(train, rows["dev"][name])).dev:
            logger.warning("%s: %d of %d dev rows stand in train too.", name, shared.dev, len(rows["dev"][name]))
        if (limit := data.limit.get(name)) and limit < len(train):
            drawn = np.random.default_rng(seed).choice(len(train), size=limit, replace=False)
            rows["train"][name] = train.select(np.sort(drawn))
    return rows


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


def claim_folder(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Make sure that nothing of an earlier run is taken for this one's."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file. Give another output_dir.")
    # A run that failed before its first checkpoint leaves its recipe alone, and may be tried again.
    if folder.is_dir() and {file.name for file in folder.iterdir()} - {"recipe.yaml"} and not resume:
        if not overwrite:
            raise ValueError(
                f"{folder} holds an earlier run or other files. "
                "Give another output_dir, `--resume auto` to go on, or `--overwrite` to begin anew."
            )
        if not (folder / "recipe.yaml").is_file():
            raise ValueError(f"{folder} was not made by a recipe, so it is not overwritten. Give another output_dir.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Without its report a folder does not look finished, whatever else an earlier run left in it.
    for name in ("report.json", "report.md", "config.json"):
        (folder / name).unlink(missing_ok=True)


def join_folder(folder: Path, recipe: Any, *, free: Iterable[str] = ()) -> None:
    """Begin work that many processes share, or take part in it; they may differ in the settings that are `free`."""
    files = {file.name for file in folder.iterdir() if not file.name.startswith(".")} if folder.is_dir() else set()
    if files and "recipe.yaml" not in files:
        raise ValueError(f"{folder} holds other files. Give another output_dir.")
    if not files:
        write_recipe(recipe, folder)
    try:
        there = asdict(read_recipe(type(recipe), ["--config", str(folder / "recipe.yaml")]))
    except RecipeError as error:
        raise ValueError(f"{folder} holds what another recipe made. Give another output_dir.") from error
    if other := [name for name, value in asdict(recipe).items() if name not in free and value != there[name]]:
        raise ValueError(f"{folder} was begun with another {other[0]}. Give another output_dir.")


def move_model(aside: Path, folder: Path) -> None:
    """Bring a saved model from beside to `folder`, the configuration last: without it nothing loads the rest."""
    files = [file for file in sorted(aside.rglob("*")) if file.is_file()]
    for file in sorted(files, key=lambda file: file.name == "config.json"):
        place = folder / file.relative_to(aside)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)
    shutil.rmtree(aside)


def leave() -> None:
    """End what processes have in common, after the trainer was let go: what outlives it aborts some of them at exit."""
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
