"""What sentence embeddings are worth as they are: plain cosine for pairs, a linear probe for classes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..models.construct import unknown
from ..models.objectives import Prediction
from ..tasks import Task

__all__ = ["Probe"]

Encode = Callable[[Sequence[str]], np.ndarray]


class Probe:
    """Judge an encoder without training it.

    A pair of a task with numbers is answered by the cosine of its two embeddings, 0 and 1 standing for the ends of the
    range; it needs no fitting. A text of a task with classes is answered by logistic regression on its standardised
    embedding. It predicts as a model does, so the same evaluator judges it.

    >>> from hf_multitask.tasks import SST
    >>> rows = Dataset.from_dict({"first": ["aa", "b", "aaa"], "label": [4, 0, 4]})
    >>> lengths = lambda texts: np.array([[len(text)] for text in texts], dtype=float)
    >>> Probe([SST], encode=lengths).fit("sst", rows).predict("sst", ["aaaa"]).labels
    ['very positive']
    """

    def __init__(self, tasks: Iterable[Task], *, encode: Encode):
        self.encode = encode
        self.known = {task.name: task for task in tasks}
        for task in self.known.values():
            if task.pair == bool(task.objective.labels):
                raise ValueError(
                    f"A probe reads pairs with numbers or single texts with classes. Task '{task.name}' is neither."
                )
        self.fitted: dict[str, Any] = {}

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        return {name: task.describe() for name, task in self.known.items()}

    def fit(self, task: str, dataset: Dataset) -> "Probe":
        """Learn the classes of one task from the columns first and label."""
        if not self.named(task).pair:
            judge = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
            self.fitted[task] = judge.fit(self.encode(dataset["first"][:]), np.asarray(dataset["label"][:]))
        return self

    def predict(self, task: str, first: Sequence[str], second: Sequence[str] | None = None) -> Prediction:
        """Answers to raw texts, in their order."""
        objective: Any = self.named(task).objective
        if second is not None:
            u, v = (torch.from_numpy(self.encode(texts)).double() for texts in (first, second))
            values = objective.low + (objective.high - objective.low) * torch.cosine_similarity(u, v, dim=-1)
            return Prediction(objective.scores_of(values[:, None]), values)
        if task not in self.fitted:
            raise ValueError(f"The probe of '{task}' has not been fitted. Call fit(\"{task}\", rows) first.")
        judge = self.fitted[task]
        chances = torch.full((len(first), len(objective.labels)), -1e3)
        # A class that nobody chose has no column in what was fitted.
        chances[:, torch.from_numpy(judge.classes_)] = torch.from_numpy(
            judge.predict_log_proba(self.encode(first))
        ).float()
        return objective.decode(chances if objective.outputs > 1 else chances[:, 1:] - chances[:, :1])

    def named(self, task: str) -> Task:
        if task not in self.known:
            raise ValueError(unknown("task", task, self.known))
        return self.known[task]
