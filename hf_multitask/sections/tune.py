"""The recipe of a search: a recipe of train.py, and which of its settings are searched."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..arguments import MultitaskTrainingArguments
from ..given import Given, nested, overlay
from ..schema import Reader, RecipeError
from ..tuning import Dimension
from .train import TrainRecipe

__all__ = ["FREE", "TuneRecipe"]

FREE = ("trials", "output_dir")
"""Settings in which the processes of one search may differ: one folder may be spelled in several ways."""


@dataclass
class TuneRecipe(TrainRecipe):
    """Search the settings of train.py for the best score on dev.

    Every setting of train.py may stand here, and any of them in `search` by its dotted name. The same command in
    several processes, on several machines with one folder, works on one search; given again, it goes on.

    Examples:
      python recipes/tune.py --trials 6
      python recipes/tune.py --config mine.yaml --trials 30 --search '{training.learning_rate: {low: 1e-5, high: 1e-4}}'
    """

    output_dir: str = field(default="outputs/tune", metadata={"help": "Folder of the trials and the best recipe"})
    overwrite: bool = field(default=False, metadata={"help": "The best recipe may write over an earlier run"})
    search: dict[str, Dimension] = field(
        default_factory=dict,
        metadata={"help": "{training.learning_rate: {low: 1e-5, high: 1e-4, log: true}, model.dropout: {choices: ..}}"},
    )
    trials: int = field(default=20, metadata={"help": "How many trials the search is to have, by all processes"})
    keep: int = field(default=1, metadata={"help": "How many of the best trials' recipes to leave: best-2.yaml, .."})
    prune: bool = field(default=True, metadata={"help": "End a trial that others were better than by then"})
    storage: str = field(
        default="trials.db", metadata={"help": "A file in output_dir: .db or .log; or the URL of a database"}
    )

    def __post_init__(self) -> None:
        faults: list[str] = []
        try:
            super().__post_init__()
        except RecipeError as error:
            faults += error.faults
        if not self.search:
            faults.append("search is empty. Name a setting of train.py and what it may be.")
        if self.trials < 1:
            faults.append(f"trials must be 1 or more. Got {self.trials}.")
        if not 1 <= self.keep <= max(self.trials, 1):
            faults.append(f"keep must be between 1 and trials. Got {self.keep} of {self.trials}.")
        if self.resume:
            faults.append("resume is for one training. A search goes on when the same command is given again.")
        if "://" not in self.storage and not self.storage.endswith((".db", ".log")):
            faults.append(f"storage is a file that ends in .db or .log, or a URL. Got {self.storage!r}.")
        if not faults:
            for name, dimension in self.search.items():
                found = [fault for edge in dimension.edges() for fault in self.faults_of({name: edge})]
                faults += dict.fromkeys(f"search.{fault}" for fault in found)
                if dimension.step and dimension.step % 1 and not found and self.whole(name):
                    faults.append(f"search.{name}.step must be whole, as the setting is. Got {dimension.step:g}.")
        if faults:
            raise RecipeError(faults)

    def arguments(self) -> MultitaskTrainingArguments:
        arguments = super().arguments()
        if arguments.world_size > 1:
            raise RecipeError(["A worker of tune.py is one process. Start several by themselves, not by a launcher."])
        return arguments

    @property
    def place(self) -> str:
        """Where the trials are kept."""
        return self.storage if "://" in self.storage else str(Path(self.output_dir, self.storage))

    @property
    def study(self) -> str:
        """What the search is called where its trials are kept: another one may lie in the same database."""
        shared = {name: value for name, value in asdict(self).items() if name not in FREE}
        return f"tuning-{hashlib.sha256(json.dumps(shared).encode()).hexdigest()[:16]}"

    def whole(self, name: str) -> bool:
        """Whether a searched setting takes whole numbers alone."""
        between = self.search[name].between
        return between is not None and bool(self.faults_of({name: between}))

    def faults_of(self, values: dict[str, Any]) -> tuple[str, ...]:
        try:
            self.with_values(values)
        except RecipeError as error:
            return error.faults
        return ()

    def with_values(self, values: dict[str, Any], **options: Any) -> TrainRecipe:
        """The recipe of one training, with some settings by their dotted names."""
        faults: list[str] = []
        given = Given.of({part.name: vars(self)[part.name] for part in fields(TrainRecipe)}, "")
        for name, value in {**values, **options}.items():
            given = overlay(given, nested(name, Given.of(value, "")), faults)
        reader = Reader()
        recipe = reader.read(given, TrainRecipe)
        if faults or reader.faults:
            raise RecipeError([*faults, *reader.faults])
        return recipe
