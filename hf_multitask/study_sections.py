"""The recipe of a study: which runs it has, and what each changes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .given import Given, overlay
from .pretrain_sections import PretrainRecipe
from .recipe import read_recipe, write_layer
from .schema import RecipeError
from .sections import TrainRecipe
from .studies import Run

__all__ = ["ReproduceRecipe", "RunSection"]

KINDS = {"train": TrainRecipe, "pretrain": PretrainRecipe}
PASSING = ("output_dir", "overwrite", "resume")


@dataclass
class RunSection:
    """A run of the study, once for each seed."""

    settings: dict[str, Any] = field(default_factory=dict, metadata={"help": "What it changes in the recipe"})
    script: Literal["train", "pretrain"] = field(default="train", metadata={"help": "What is run: train or pretrain"})
    recipe: str | None = field(default=None, metadata={"help": "A recipe of its own in place of the study's"})


@dataclass
class ReproduceRecipe:
    """Do the runs of a study, each seed of each, and print one table of what they reach.

    Finished runs are kept, and a run that was ended goes on where it was. One that fails does not lose the others.

    Examples:
      python recipes/reproduce.py --config recipes/configs/tables/adapters.yaml --data_dir data
      python recipes/reproduce.py --config recipes/configs/tables/adapters.yaml --only plain,pal --seeds 0 --jobs 2
    """

    recipe: str = field(metadata={"help": "The recipe that every run builds on, from the folder that you are in"})
    runs: dict[str, RunSection] = field(metadata={"help": "{NAME: {settings: ..}}"})
    output_dir: str = field(default="outputs/study", metadata={"help": "Folder of the runs and the table"})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Every run is done with each"})
    only: list[str] | None = field(default=None, metadata={"help": "Names of the runs to do; null: all"})
    jobs: int = field(default=1, metadata={"help": "How many runs go on side by side"})
    data_dir: str | None = field(default=None, metadata={"help": "The course's files, for every run"})
    trunk: str | None = field(default=None, metadata={"help": "The pretrained trunk of every run"})
    settings: dict[str, Any] = field(default_factory=dict, metadata={"help": "What all runs change in their recipe"})

    def __post_init__(self) -> None:
        faults = [f"only: There is no run '{name}'." for name in self.only or () if name not in self.runs]
        if self.jobs < 1:
            faults.append(f"jobs must be 1 or more. Got {self.jobs}.")
        if not self.seeds:
            faults.append("seeds is empty. Name one or more.")
        used = {self.recipe, *(run.recipe for run in self.runs.values() if run.recipe)}
        faults += [f"There is no recipe {path}." for path in sorted(used) if not Path(path).is_file()]
        if faults:
            raise RecipeError(faults)

    def build(self, scripts: Path) -> list[Run]:
        """The runs of each seed in turn; each one's recipe is written into the folder, and is a recipe like any."""
        shared: dict[str, Any] = {}
        if self.data_dir is not None:
            shared["data"] = {"source": {"class": "Course", "data_dir": self.data_dir}}
        if self.trunk is not None:
            shared["model"] = {"trunk": self.trunk}
        found, faults = [], []
        for seed in self.seeds:
            for name, section in self.runs.items():
                if self.only and name not in self.only:
                    continue
                folder = Path(self.output_dir, f"{name}-{seed}")
                settings = Given.of(shared, "")
                for over in (self.settings, section.settings, {"seed": seed, "output_dir": str(folder)}):
                    settings = overlay(settings, Given.of(over, ""), [])
                recipe = folder.with_suffix(".yaml")
                write_layer(recipe, base=Path(section.recipe or self.recipe), settings=settings.plain())
                if other := changed(folder / "recipe.yaml", recipe, KINDS[section.script]):
                    faults.append(f"{folder} was made with another {', '.join(other)}. Give another output_dir.")
                found.append(Run(name, seed, scripts / f"{section.script}.py", recipe, folder))
        if faults:
            raise RecipeError(faults)
        return found


def changed(before: Path, now: Path, kind: type) -> list[str]:
    """The settings in which the recipe that a folder was made with is not the one of now."""
    if not before.is_file():
        return []
    old, new = (vars(read_recipe(kind, ["--config", str(path)])) for path in (before, now))
    return [name for name in new if name not in PASSING and old[name] != new[name]]
