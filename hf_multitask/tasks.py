"""What there is to learn: `Task`, and the five that are built in."""

from dataclasses import dataclass, field
from typing import Any

from .models.configuration_multitask import name_fault
from .models.objectives import Binary, Classification, Objective, Regression, build_objective

__all__ = ["CFIMDB", "QQP", "SICK", "SST", "STS", "TASKS", "Task"]


@dataclass(frozen=True)
class Task:
    """One thing to learn: what goes in, what comes out, and how it is judged.

    `pair` tasks read two texts, others one. `head` describes what turns pooled rows into scores; a pair
    under Linear or MLP is read as one sequence, under Concat or Cosine as two. `metric` is the number
    that enters the score; a task that is not `scored` is only there to help the others.

    >>> Task("mood", Classification(["sad", "glad"])).metric
    'accuracy'
    """

    name: str
    objective: Objective
    pair: bool = False
    metric: str = "accuracy"
    head: dict[str, Any] = field(default_factory=lambda: {"class": "Linear"})
    weight: float = 1.0
    scored: bool = True

    def __post_init__(self) -> None:
        if fault := name_fault(self.name):
            raise ValueError(fault)
        if self.weight < 0:
            raise ValueError(f"Task '{self.name}' needs a weight of zero or more. Got {self.weight:g}.")

    @classmethod
    def from_description(cls, name: str, description: dict[str, Any]) -> "Task":
        """The task that a saved model tells of."""
        return cls(name, **{**description, "objective": build_objective(description["objective"])})

    @property
    def classes(self) -> int | None:
        """How many label ids there are, of a task with classes."""
        return None if self.objective.labels is None else len(self.objective.labels)

    def describe(self) -> dict[str, Any]:
        """What a saved model must know of its task."""
        return {
            "objective": self.objective.describe(),
            "pair": self.pair,
            "metric": self.metric,
            "head": dict(self.head),
            "scored": self.scored,
        }


GRADES = ("very negative", "negative", "neutral", "positive", "very positive")

SST = Task("sst", Classification(GRADES))
QQP = Task("qqp", Binary(("different", "duplicate")), pair=True)
STS = Task("sts", Regression(0, 5), pair=True, metric="pearson")
SICK = Task("sick", Regression(0, 5), pair=True, metric="pearson", scored=False)
CFIMDB = Task("cfimdb", Binary(("negative", "positive")), scored=False)

TASKS: dict[str, Task] = {task.name: task for task in (SST, QQP, STS, SICK, CFIMDB)}
