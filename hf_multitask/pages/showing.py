"""What the page of a finished folder shows beyond its report: the texts, the embeddings, and the shares of tasks."""

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import AutoConfig

from ..arguments import MultitaskTrainingArguments
from ..assembly.finished import made_by, own_sources
from ..assembly.models import load_model
from ..assembly.rows import load_rows
from ..data.rows import DataError
from ..data.sampler import MultitaskSampler
from ..evaluation.answers import Answers, load_answers
from ..models.configuration_ensemble import EnsembleConfig
from ..models.configuration_multitask import MultitaskConfig
from ..models.modeling_multitask import MultitaskModel
from ..report import Report
from ..schedules import Drawn, build_schedule
from ..sections.ensemble import EnsembleRecipe
from ..sections.train import TrainRecipe
from ..tasks import Task
from .points import Seen, chosen
from .runs import Shown

__all__ = ["show"]

logger = logging.getLogger(__name__)


def show(folder: Path, *, most: int = 1000, seed: int = 0) -> Shown:
    """A finished folder with all that can be shown of it; of a first stage this is its report and pictures.

    The dev rows are read again from where the recipe has them, and left out where they have changed or are gone;
    embeddings are those of a model, not of an ensemble, and of more rows than `most` the seed draws which.
    """
    report = Report.load(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds a report, and no model that it is about. Name the model's own folder.")
    config = AutoConfig.from_pretrained(folder)
    if not isinstance(config, EnsembleConfig | MultitaskConfig):
        return Shown(folder)
    recipe = made_by(folder)
    tasks = [Task.from_description(name, task) for name, task in config.tasks.items()]
    rows = dev_rows(folder, tasks, recipe)
    answers = load_answers(folder)
    if others := [name for name in rows if name in answers and not same(rows[name], answers[name])]:
        logger.warning("%s was judged on other dev rows of %s than are there now.", folder, ", ".join(others))
        rows = {name: data for name, data in rows.items() if name not in others}
    vectors = embeddings(folder, rows, most=most, seed=seed) if isinstance(config, MultitaskConfig) else {}
    shown = Shown(folder, config.tasks, rows, vectors)
    if isinstance(recipe, TrainRecipe):
        shown.shares = shares(recipe, report.about.get("train_rows", {}), shown.state)
    return shown


def dev_rows(folder: Path, tasks: Iterable[Task], recipe: TrainRecipe | EnsembleRecipe) -> dict[str, Dataset]:
    """The dev rows of each task that can still be read."""
    own, rows = own_sources(recipe), dict[str, Dataset]()
    for task in tasks:
        try:
            rows |= load_rows([task], recipe.data, ("dev",), seed=recipe.seed, own=own)["dev"]
        except DataError as error:
            said = "The page of %s leaves out the dev rows of %s, which cannot be read any more: %s\n%s"
            advice = "Put them back where its recipe.yaml has them, or begin in the folder where its paths lead there."
            logger.warning(said, folder, task.name, error, advice)
    return rows


def same(rows: Dataset, answers: Answers) -> bool:
    """Whether the labels of rows are those that a model was judged by."""
    labels = np.asarray(rows.with_format(None)["label"][:])
    return labels.shape == answers.labels.shape and np.allclose(labels, answers.labels)


def embeddings(folder: Path, rows: Mapping[str, Dataset], *, most: int, seed: int = 0) -> dict[str, Seen]:
    """The pooled rows [n, width] of the dev texts of each task of single texts with classes, `most` at most."""
    model = load_model(str(folder))
    if not isinstance(model, MultitaskModel):
        return {}
    found = {}
    for name, data in rows.items():
        if not model.tasks[name]["pair"] and model.objectives[name].labels:
            numbers = chosen(len(data), most, seed=seed)
            found[name] = Seen(numbers, model.embed(name, data.select(numbers)["first"][:]).numpy())
    return found


def setting(recipe: TrainRecipe, name: str) -> Any:
    """One of the trainer's settings, which as a whole may not fit this machine."""
    return recipe.training.get(name, MultitaskTrainingArguments.__dataclass_fields__[name].default)


def shares(
    recipe: TrainRecipe, sizes: Mapping[str, int], state: Mapping[str, Any] | None = None
) -> dict[str, list[float]]:
    """Of each epoch's steps the share that has a task: by the schedule's probabilities over several, or as it planned.

    There are as many steps as the trainer's `state` says that were made: a training may stop early.
    """
    if not sizes:
        return {}
    seed, schedule = setting(recipe, "data_seed"), build_schedule(recipe.schedule)
    sampler = MultitaskSampler(
        # How long the rows are decides nothing of a plan.
        {name: np.zeros(size, int) for name, size in sizes.items()},
        schedule,
        batch_size=setting(recipe, "per_device_train_batch_size"),
        accumulation=setting(recipe, "gradient_accumulation_steps"),
        seed=recipe.seed if seed is None else seed,
    )
    last = sampler.end(epochs=setting(recipe, "num_train_epochs"), max_steps=setting(recipe, "max_steps"))
    # Several processes count fewer steps of an epoch, and a recipe does not tell of them.
    if state and state["max_steps"] == last:
        sampler.last = last = state["global_step"]
    found: list[list[float]] = []
    for epoch in range(math.ceil(last / sampler.steps)):
        if isinstance(schedule, Drawn) and sampler.epochs > 1:
            found.append(schedule.probabilities(epoch, sampler.epochs, sizes))
        else:
            steps = sampler.due(epoch)
            found.append([sum(name in step for step in steps) / len(steps) for name in sizes])
    return {name: [chances[place] for chances in found] for place, name in enumerate(sizes)} if found else {}
