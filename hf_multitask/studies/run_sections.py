"""A run of a study: what it changes, what it builds on, and the points of its sweep."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal

from ..given import Given, nested, overlay
from ..schema import RecipeError
from ..tasks import TASKS

__all__ = ["RunSection", "expanded", "filled", "layered", "limited", "scaled"]


@dataclass
class RunSection:
    """A run of the study, once for each seed and each point of its sweep."""

    settings: dict[str, Any] = field(default_factory=dict, metadata={"help": "What it changes in the recipe"})
    script: Literal["train", "pretrain", "tune", "ensemble"] = field(
        default="train", metadata={"help": "What is run: train, pretrain, tune or ensemble"}
    )
    recipe: str | None = field(default=None, metadata={"help": "A recipe of its own in place of the study's"})
    init_from: str | None = field(
        default=None, metadata={"help": "A run of pretrain, whose trunk, or of train, whose model it begins with"}
    )
    best_of: str | None = field(default=None, metadata={"help": "A run of tune, whose best recipe it builds on"})
    rank: int = field(default=1, metadata={"help": "Which of the best recipes that is"})
    members: list[str] = field(default_factory=list, metadata={"help": "Runs that an ensemble is made of"})
    student: str | None = field(
        default=None, metadata={"help": "A run of train, by whose recipe rule distill trains its student"}
    )
    sweep: dict[str, list[Any]] = field(
        default_factory=dict,
        metadata={"help": "Settings by dotted names, and what each may be: a run for every choice"},
    )
    scaled: dict[str, dict[str, Any]] = field(
        default_factory=dict,
        metadata={"help": "What it changes at some scale, after all else but the factors: {demo: {..}}"},
    )

    def __post_init__(self) -> None:
        faults = []
        if bool(self.members) != (self.script == "ensemble"):
            faults.append("members and script ensemble go together. Give both or neither.")
        if self.best_of is not None and (self.script != "train" or self.sweep or self.init_from):
            faults.append("best_of is for a run of train alone, without sweep and init_from.")
        if self.init_from is not None and self.script == "ensemble":
            faults.append("init_from is for what is trained; an ensemble has members.")
        if self.student is not None and self.script != "ensemble":
            faults.append("student is for rule distill of script ensemble.")
        if self.rank < 1:
            faults.append(f"rank must be 1 or more. Got {self.rank}.")
        faults += [f"sweep.{name} is empty. Name what it may be." for name, values in self.sweep.items() if not values]
        if faults:
            raise RecipeError(faults)

    @property
    def needs(self) -> list[str]:
        """The names of the runs that must be finished first."""
        return [*(one for one in (self.init_from, self.best_of, self.student) if one), *self.members]

    def points(self, origin: str = "sweep") -> Iterator[tuple[tuple[Any, ...], "RunSection"]]:
        """The values of each point of the sweep, and the run that has them; faults name their `origin`."""
        for values in product(*self.sweep.values()):
            point = [nested(name, Given.of(value, "")).plain() for name, value in zip(self.sweep, values, strict=True)]
            yield values, replace(self, settings=layered([self.settings, *point], origin), sweep={})


def expanded(runs: Mapping[str, RunSection]) -> dict[str, RunSection]:
    """Every run, each point of a sweep under a name of its own.

    >>> list(expanded({"lr": RunSection(sweep={"training.learning_rate": [1e-5, 2e-5]})}))
    ['lr-1e-05', 'lr-2e-05']
    """
    found: dict[str, RunSection] = {}
    for name, section in runs.items():
        for values, point in section.points(f"runs.{name}"):
            called = "-".join([name, *map(spelled, values)])
            if called in found:
                raise RecipeError([f"runs: Two are called {called}. Name one otherwise, or leave out what is twice."])
            found[called] = point
    return found


def layered(layers: Iterable[Mapping[str, Any]], origin: str) -> dict[str, Any]:
    """Settings from `origin`, each layer changing those before it.

    >>> layered([{"tasks": ["sst", "qqp"]}, {"tasks": {"qqp": {"weight": 2}}}], "runs.heavy")
    {'tasks': ['sst', {'name': 'qqp', 'weight': 2}]}
    """
    settings, faults = Given({}, origin), list[str]()
    for layer in layers:
        settings = overlay(settings, Given.of(layer, origin), faults)
    if faults:
        raise RecipeError(faults)
    return settings.plain()


def spelled(value: Any) -> str:
    """A value as a part of a folder's name.

    >>> spelled(1e-5), spelled("models/bert"), spelled([1, 2])
    ('1e-05', 'models-bert', '1-2')
    """
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w.+-]+", "-", text).strip("-")


def filled(value: Any, *, data_dir: str | None) -> Any:
    """Plain settings in which {data_dir} is what it stands for.

    >>> filled({"text_file": "{data_dir}/wiki.txt"}, data_dir="data")
    {'text_file': 'data/wiki.txt'}
    """
    if isinstance(value, dict):
        return {key: filled(child, data_dir=data_dir) for key, child in value.items()}
    if isinstance(value, list):
        return [filled(child, data_dir=data_dir) for child in value]
    if isinstance(value, str) and "{data_dir}" in value:
        if data_dir is None:
            raise ValueError(f"'{value}' lies in the data's folder. Name it by --data_dir.")
        return value.replace("{data_dir}", data_dir)
    return value


def limited(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without the limits of tasks that they leave out: those of a scale are for whoever reads the task.

    A limit of something else stays, for the recipe to complain of.

    >>> limited({"tasks": ["sst"], "data": {"limit": {"sst": 8, "qqp": 9}}})
    {'tasks': ['sst'], 'data': {'limit': {'sst': 8}}}
    """
    data, tasks = settings.get("data"), settings.get("tasks")
    # A mapping changes some tasks by their names, and leaves out none; what is no setting is the recipe's to refuse.
    if not isinstance(data, dict) or not isinstance(limits := data.get("limit"), dict) or not isinstance(tasks, list):
        return settings
    names = {task.get("name") if isinstance(task, dict) else task for task in tasks}
    names |= {name for others in data.get("join", {}).values() for name in others}
    kept = {name: limit for name, limit in limits.items() if name in names or name not in TASKS}
    return {**settings, "data": {**settings["data"], "limit": kept}}


def scaled(settings: dict[str, Any], *, epochs: float, steps: float, rates: float = 1) -> dict[str, Any]:
    """Settings of fewer epochs, and of fewer steps in each, one at least, with other learning rates.

    >>> scaled({"training": {"num_train_epochs": 25, "learning_rate": 1e-5}}, epochs=0.1, steps=1, rates=4)
    {'training': {'num_train_epochs': 3, 'learning_rate': 4e-05}}
    """
    # What is no number or no mapping is the recipe's to refuse.
    found, training = dict(settings), settings.get("training")
    if isinstance(training, dict):
        found["training"] = training = dict(training)
        if epochs != 1 and isinstance(training.get("num_train_epochs"), int | float):
            training["num_train_epochs"] = math.ceil(round(training["num_train_epochs"] * epochs, 6))
        if isinstance(training.get("learning_rate"), int | float):
            training["learning_rate"] *= rates
    if steps != 1 and isinstance(found.get("schedule"), dict):
        found["schedule"] = shortened(found["schedule"], steps)
    return found


def shortened(schedule: dict[str, Any], steps: float) -> dict[str, Any]:
    """A schedule, and the one that may stand inside it, of fewer steps."""
    within = schedule.get("schedule")
    inner = {"schedule": shortened(within, steps)} if isinstance(within, dict) else {}
    if isinstance(schedule.get("steps_per_epoch"), int | float):
        inner["steps_per_epoch"] = math.ceil(round(schedule["steps_per_epoch"] * steps, 6))
    return {**schedule, **inner}
