"""From a recipe to its trainer: the one way in which train, tune, ensemble, pretrain and a dry run build it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datasets import Dataset
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback

from ..pretraining.encoder import add_adapter
from ..pretraining.evaluators import evaluators
from ..pretraining.judgement import Judge
from ..pretraining.trainer import PretrainingTrainer
from ..sections.parts import RunRecipe, TaskSection
from ..sections.pretrain import PretrainRecipe
from ..sections.train import TrainRecipe
from ..trainer import MultitaskTrainer
from ..tuners.methods import build_tuner
from .models import build_model
from .rows import Rows, load_rows

__all__ = ["FirstStage", "build_first_stage", "build_trainer", "read_rows"]


class FirstStage(NamedTuple):
    """An encoder, its trainer, and what judges it before and after."""

    encoder: SentenceTransformer
    trainer: PretrainingTrainer
    judge: Judge


def read_rows(recipe: RunRecipe, sections: Sequence[TaskSection]) -> Rows:
    """The rows of train and dev of some tasks of a recipe."""
    own = {section.name: section.data for section in sections if section.data}
    tasks = [section.build() for section in sections]
    return load_rows(tasks, recipe.data, ("train", "dev"), seed=recipe.seed, own=own)


def build_trainer(
    recipe: TrainRecipe,
    rows: Rows,
    *,
    sections: Sequence[TaskSection] | None = None,
    taught: Mapping[str, Dataset] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> MultitaskTrainer:
    """A new model for the tasks of a recipe, or for some of them, and what trains it.

    The vocabulary of a new trunk is that of `rows`; what is learnt are they, or what is `taught` of them.
    """
    tasks = [section.build() for section in (recipe.tasks if sections is None else sections)]
    learnt: Mapping[str, Dataset] = rows["train"] if taught is None else taught
    options: Any = recipe.methods()
    options["weights"] = {task.name: task.weight for task in tasks}
    return MultitaskTrainer(
        build_model(tasks, recipe.model, rows["train"], max_length=recipe.data.max_length, tuner=recipe.tuner),
        recipe.arguments(),
        train_dataset={name: learnt[name] for name in recipe.trained() if name in learnt},
        eval_dataset=rows["dev"],
        callbacks=list(callbacks),
        **options,
    )


def build_first_stage(recipe: PretrainRecipe) -> FirstStage:
    """All that a first stage needs, its rows among it."""
    arguments, stage, sections = recipe.arguments(), recipe.stage(), recipe.read_tasks()
    rows, tasks = read_rows(recipe, sections), {section.name: section.build() for section in sections}
    texts = recipe.sentences(rows["train"])
    words = {**rows["train"], "text": Dataset.from_dict({"first": texts})}
    encoder = build_model([], recipe.model.build(), words, max_length=recipe.data.max_length).to_sentence_transformer()
    if recipe.tuner is not None:
        add_adapter(encoder, build_tuner(recipe.tuner), freeze=recipe.model.freeze_trunk)
    batch = arguments.per_device_eval_batch_size
    watched = [(tasks[name], rows["train"][name], rows["dev"][name]) for name in recipe.watched()]
    watching = [evaluator for task in watched for evaluator in evaluators(*task, batch_size=batch)]
    read = stage.rows(rows["train"], texts)
    trainer = PretrainingTrainer(encoder, arguments, stage=stage, rows=read, evaluators=watching)
    judge = Judge([tasks[name] for name in recipe.judged()], rows, seed=recipe.seed, batch_size=batch)
    return FirstStage(encoder, trainer, judge)
