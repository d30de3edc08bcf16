"""Configuration of `EnsembleModel`: its members, and how their answers to each task become one."""

from dataclasses import field
from typing import Any

from transformers import PreTrainedConfig

from .combiners import Combiner, build_combiner
from .construct import unknown
from .objectives import Objective, build_objective, temperature_faults

__all__ = ["EnsembleConfig"]


class EnsembleConfig(PreTrainedConfig):
    """The members of an ensemble, and a combiner for each task.

    `members` are `{"folder": .., "hash": .., "tasks": [..]}`, a folder inside the ensemble's own, or the same with
    `"repo"` and `"revision"` in place of a folder. `tasks` maps a name to what `Task.describe()` gives, without a head.
    `combiners` maps each task to `{"class": "Mean"}` and the like, whose weights and numbers are those of `members`.
    `temperatures` divide the scores of a task that has classes.
    """

    model_type = "ensemble"

    members: list[dict[str, Any]] = field(default_factory=list)
    tasks: dict[str, Any] = field(default_factory=dict)
    combiners: dict[str, Any] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=dict)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if faults := self.faults():
            raise ValueError("This ensemble cannot be built:\n" + "\n".join(f"- {fault}" for fault in faults))

    def faults(self) -> list[str]:
        found = [unknown("task of combiners", name, self.tasks) for name in self.combiners if name not in self.tasks]
        found += temperature_faults(self.temperatures, self.tasks)
        for name in self.tasks:
            try:
                combiner = self.combiner(name)
                combiner.weigh(self.knowing(name))
                combiner.check(self.objective(name))
            except ValueError as error:
                found.append(f"Task '{name}': {error}")
        return found

    def known(self, name: str) -> dict[str, Any]:
        """The description of a task, or an error that names the nearest one."""
        if name not in self.tasks:
            raise ValueError(unknown("task", name, self.tasks))
        return self.tasks[name]

    def knowing(self, name: str) -> list[bool]:
        """Which members know a task."""
        return [name in member["tasks"] for member in self.members]

    def combiner(self, name: str) -> Combiner:
        return build_combiner(self.combiners.get(name, {"class": "Mean"}))

    def objective(self, name: str) -> Objective:
        return build_objective(self.known(name)["objective"])
