"""What an encoder is worth before a first stage and after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset
from sentence_transformers import SentenceTransformer

from ..evaluation.probe import Probe
from ..evaluator import evaluate
from ..plots import embedding_map
from ..report import Report, chance
from ..tasks import Task
from .evaluators import Geometry, encoding

__all__ = ["Judge", "Judgement"]


@dataclass(frozen=True)
class Judgement:
    """A report, and the embeddings [n, width] of each task of classes on dev."""

    report: Report
    embeddings: dict[str, np.ndarray]


class Judge:
    """Judges an encoder by tasks that it was not trained on: plain cosine on pairs, a linear probe on classes.

    `rows` are those of train and dev by task; alignment and uniformity of the pairs stand in the report's "geometry".
    """

    def __init__(
        self, tasks: Sequence[Task], rows: Mapping[str, Mapping[str, Dataset]], *, seed: int = 0, batch_size: int = 64
    ):
        self.tasks, self.train, self.dev = tasks, rows["train"], rows["dev"]
        self.seed, self.batch_size = seed, batch_size

    def __call__(self, encoder: SentenceTransformer, *, trunk: str | None = None) -> Judgement:
        encode = encoding(encoder, self.batch_size)
        probe = Probe(self.tasks, encode=encode)
        for task in self.tasks:
            probe.fit(task.name, self.train[task.name])
        report = evaluate(probe, {task.name: self.dev[task.name] for task in self.tasks}, seed=self.seed, trunk=trunk)
        shapes = [
            Geometry(task, self.dev[task.name], batch_size=self.batch_size)(encoder) for task in self.tasks if task.pair
        ]
        report.about["geometry"] = {name: value for shape in shapes for name, value in shape.items()}
        single = [task.name for task in self.tasks if not task.pair]
        return Judgement(report, {name: encode(self.dev[name]["first"][:]) for name in single})

    def compare(self, before: Judgement, after: Judgement, *, objective: str) -> Report:
        """The report of `after` with `before` beside it."""
        report = after.report
        report.beside["before"] = before.report.values
        report.beside["chance"] = {
            task.name: chance(self.dev[task.name], task.metric, task.classes) for task in self.tasks
        }
        report.about |= {
            "objective": objective,
            "geometry": {"before": before.report.about["geometry"], "after": report.about["geometry"]},
            "before": before.report.tasks,
        }
        return report

    def draw(self, before: Judgement, after: Judgement, folder: str | Path) -> list[Path]:
        """A map of each task of classes before and after, as `{task}.png`."""
        return [
            embedding_map(
                Path(folder, f"{task.name}.png"),
                {"before": before.embeddings[task.name], "after": after.embeddings[task.name]},
                self.dev[task.name]["label"][:],
                task.objective.labels or (),
                seed=self.seed,
            )
            for task in self.tasks
            if task.name in before.embeddings
        ]
