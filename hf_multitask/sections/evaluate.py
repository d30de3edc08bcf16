"""The recipe of an evaluation: which settings there are, and what each may be."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..schema import RecipeError
from .parts import DataSection, Source, misnamed

__all__ = ["EvaluateRecipe"]


@dataclass
class EvaluateRecipe:
    """Write a model's answers for a split, and judge them where the split has labels.

    Where --data says nothing else, the rows are from where the model's folder says that it learnt.

    Examples:
      python recipes/evaluate.py --model outputs/train
      python recipes/evaluate.py --model outputs/train --data_dir data --split test --tasks sst,sts
    """

    model: str = field(metadata={"help": "A model's folder, or its name on the Hub"})
    revision: str = field(default="main", metadata={"help": "The model's branch, tag or commit on the Hub"})
    output_dir: str = field(default="outputs/evaluate", metadata={"help": "Folder of the report or the predictions"})
    tasks: list[str] | None = field(default=None, metadata={"help": "Names of the model's tasks; null: all"})
    split: Literal["dev", "test", "train"] = field(
        default="dev", metadata={"help": "The rows to judge by: dev, test or train"}
    )
    batch_size: int = field(default=64, metadata={"help": "Rows of a batch"})
    seed: int = field(default=0, metadata={"help": "Decides the resamples behind the intervals"})
    data: DataSection = field(default_factory=DataSection)
    sources: dict[str, Source] = field(
        default_factory=dict, metadata={"help": "Sources of single tasks: {mood: {class: Files, dev: mood.csv}}"}
    )

    def __post_init__(self) -> None:
        if Path(self.output_dir, "config.json").is_file():
            raise ValueError(f"{self.output_dir} holds a model, with a report of its own. Give another output_dir.")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more. Got {self.batch_size}.")
        if self.data.stream:
            raise ValueError("data.stream is for train.py: here every row is answered.")

    def check_tasks(self, tasks: Collection[str]) -> None:
        """Raise where something is said of a task that the model does not know."""
        if faults := misnamed({"sources": self.sources}, tasks) + self.data.misnamed(tasks):
            raise RecipeError(faults)
