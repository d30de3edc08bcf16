"""The recipe of a study: which runs it has, what each changes, and what was published of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..assembly.finished import read_asking
from ..given import Given, overlay
from ..models.construct import unknown
from ..recipe import read_recipe, said_in, write_layer
from ..schema import RecipeError
from ..sections.ensemble import EnsembleRecipe
from ..sections.pretrain import PretrainRecipe
from ..sections.train import TrainRecipe
from ..sections.tune import TuneRecipe
from .run_sections import RunSection, expanded, filled, layered, limited, scaled
from .runs import Run
from .standing import Published

__all__ = ["KINDS", "ReproduceRecipe", "changed", "spelled_out"]

KINDS: dict[str, type] = {
    "train": TrainRecipe,
    "pretrain": PretrainRecipe,
    "tune": TuneRecipe,
    "ensemble": EnsembleRecipe,
}
PASSING = ("output_dir", "overwrite", "resume", "cache", "batch_size")
SCALES = ("demo", "small", "full")
SHORT = ("system", "scale")
"""Options that are short for a file; what a scale says counts more than what a system says."""


@dataclass
class ReproduceRecipe:
    """Do the runs of a study, each seed of each, and print one table of what they reach.

    Finished runs are kept, and a run that was ended goes on where it was. One that fails does not lose the others.
    A run waits for those that it builds on. --system and --scale are short for files in recipes/configs/systems and
    recipes/configs/scales.

    Examples:
      python recipes/reproduce.py --system pals --scale demo --jobs 2
      python recipes/reproduce.py --system sbrrt --scale small --data_dir data --trunk MINILM
      python recipes/reproduce.py --system sbrrt --scale small --data_dir data --results recipes/results/sbrrt
      python recipes/reproduce.py --system sbrrt --scale full --data_dir data --dry_run
      python recipes/reproduce.py --config recipes/configs/tables/adapters.yaml --data_dir data
      python recipes/reproduce.py --config recipes/configs/tables/adapters.yaml --only plain,pal --seeds 0 --jobs 2
    """

    runs: dict[str, RunSection] = field(metadata={"help": "{NAME: {settings: ..}}"})
    recipe: str | None = field(
        default=None, metadata={"help": "The recipe that every training builds on, from the folder that you are in"}
    )
    output_dir: str = field(default="outputs/study", metadata={"help": "Folder of the runs and the table"})
    title: str = field(default="", metadata={"help": "What stands over the table"})
    notes: list[str] = field(default_factory=list, metadata={"help": "Sentences that stand over the table"})
    caveats: list[str] = field(default_factory=list, metadata={"help": "More of them: what a scale changes"})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Every run is done with each"})
    only: list[str] | None = field(
        default=None, metadata={"help": "Names of runs to do, and what they need; null: all"}
    )
    jobs: int = field(default=1, metadata={"help": "How many runs go on side by side"})
    data_dir: str | None = field(default=None, metadata={"help": "The course's files, for every run"})
    trunk: str | None = field(default=None, metadata={"help": "The pretrained trunk of every run"})
    settings: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "What all trainings on tasks change in their recipe"}
    )
    scale: Literal["demo", "small", "full"] = field(
        default="full", metadata={"help": "Which of the runs' `scaled` settings count"}
    )
    scripts: dict[str, dict[str, Any]] = field(
        default_factory=dict,
        metadata={"help": "What all runs of a script change, after all else but the factors: {train: {..}}"},
    )
    epochs: float = field(
        default=1.0, metadata={"help": "Multiplies the epochs that every recipe says, to one or more"}
    )
    steps: float = field(default=1.0, metadata={"help": "Multiplies every schedule's steps_per_epoch, to one or more"})
    rates: float = field(
        default=1.0, metadata={"help": "Multiplies the learning rates that recipes say: fewer steps want larger ones"}
    )
    published: list[Published] = field(default_factory=list, metadata={"help": "What was published, row by row"})
    sts: Literal["r", "unit"] = field(
        default="r", metadata={"help": "Published correlations are r, or (r + 1) / 2: unit"}
    )
    reference: str | None = field(default=None, metadata={"help": "The run that all others are compared with"})
    reports: bool = field(default=False, metadata={"help": "Leave report.html, with pictures, in every folder"})
    results: str | None = field(
        default=None,
        metadata={"help": "Folder for what may be shown: tables, pictures, the best row's answers to the test split"},
    )
    dry_run: bool = field(default=False, metadata={"help": "Build all that every run needs, do one step, and end"})

    def __post_init__(self) -> None:
        sections = self.sections()
        faults = [f"only: {unknown('run', name, sections)}" for name in self.only or () if name not in sections]
        if self.jobs < 1:
            faults.append(f"jobs must be 1 or more. Got {self.jobs}.")
        if self.results is not None and Path(self.results).is_file():
            faults.append(f"results: {self.results} is a file. Name a folder.")
        if not self.seeds:
            faults.append("seeds is empty. Name one or more.")
        factors = {name: vars(self)[name] for name in ("epochs", "steps", "rates")}
        faults += [f"{name} multiplies, and must be above zero. Got {by:g}." for name, by in factors.items() if by <= 0]
        used = {self.recipe, *(run.recipe for run in sections.values())} - {None}
        faults += [f"There is no recipe {path}." for path in sorted(map(str, used)) if not Path(path).is_file()]
        faults += [f"scripts: {unknown('script', name, KINDS)}" for name in self.scripts if name not in KINDS]
        for name, run in sections.items():
            faults += [f"runs.{name}: {unknown('run', need, sections)}" for need in run.needs if need not in sections]
            faults += [f"runs.{name}.scaled: {unknown('scale', at, SCALES)}" for at in run.scaled if at not in SCALES]
        named = {"reference": self.reference} | {f"published '{row.row}'": row.run for row in self.published}
        named |= {f"published '{row.row}', against": row.against for row in self.published}
        faults += [
            f"{at}: {unknown('run', name, sections)}" for at, name in named.items() if name not in (None, *sections)
        ]
        if not faults:
            faults += self.circles(sections)
        if faults:
            raise RecipeError(faults)

    def sections(self) -> dict[str, RunSection]:
        """Every run, each point of a sweep for itself."""
        return expanded(self.runs)

    @staticmethod
    def circles(sections: Mapping[str, RunSection]) -> list[str]:
        """The runs that would wait for themselves."""
        settled: set[str] = set()
        while free := [n for n, run in sections.items() if n not in settled and settled.issuperset(run.needs)]:
            settled.update(free)
        stuck = [name for name in sections if name not in settled]
        return [f"runs: {', '.join(stuck)} wait for each other."] if stuck else []

    def wanted(self) -> dict[str, RunSection]:
        """The runs that are to be done, with those that they need."""
        sections = self.sections()
        names = set(self.only or sections)
        while more := {need for name in names for need in sections[name].needs} - names:
            names |= more
        return {name: run for name, run in sections.items() if name in names}

    def build(self, scripts: Path) -> list[Run]:
        """The runs of each seed in turn; each one's recipe is written into the folder, and is a recipe like any."""
        found, faults = [], []
        for seed in self.seeds:
            for name, section in self.wanted().items():
                folder = self.folder(name, seed)
                recipe = self.recipe_of(folder)
                base, settings = self.layer(name, section, seed)
                write_layer(recipe, base=base, settings=settings)
                needs = tuple(self.folder(need, seed) for need in section.needs)
                after = scripts / "report.py" if self.reports and section.script != "tune" else None
                run = Run(name, seed, scripts / f"{section.script}.py", recipe, folder, needs, after)
                if gone := run.outdated():
                    faults.append(f"{folder} was made of another {', '.join(gone)} than is there now. Remove it too.")
                elif other := changed(folder / "recipe.yaml", recipe, KINDS[section.script]):
                    faults.append(f"{folder} was made with another {', '.join(other)}. Give another output_dir.")
                found.append(run)
        if faults:
            raise RecipeError(faults)
        return found

    def folder(self, name: str, seed: int) -> Path:
        return Path(self.output_dir, f"{name}-{seed}")

    @staticmethod
    def recipe_of(folder: Path) -> Path:
        # A name may hold a number with a point.
        return folder.with_name(f"{folder.name}.yaml")

    def layer(self, name: str, section: RunSection, seed: int) -> tuple[Path | None, dict[str, Any]]:
        """The recipe that a run builds on, and what it changes there."""
        folder = self.folder(name, seed)
        base = section.recipe or (self.recipe if section.script in ("train", "pretrain") else None)
        layers = list(self.layers(section, seed))
        if section.best_of is not None:
            best = "best.yaml" if section.rank == 1 else f"best-{section.rank}.yaml"
            base = str(self.folder(section.best_of, seed) / best)
            layers = [section.settings, self.scripts.get("train", {}), section.scaled.get(self.scale, {})]
        settings = layered([*layers, {"seed": seed, "output_dir": str(folder)}], f"runs.{name}")
        plain = limited(filled(settings, data_dir=self.data_dir))
        if section.init_from is not None:
            # A size is for new trunks.
            plain.get("model", {}).pop("size", None)
        factors = {"epochs": self.epochs, "steps": self.steps, "rates": self.rates}
        if section.best_of is None and set(factors.values()) != {1.0}:
            below = {} if base is None else said_in(Path(base))
            whole = overlay(Given.of(below, ""), Given.of(plain, ""), []).plain()
            plain |= scaled({name: whole[name] for name in ("training", "schedule") if name in whole}, **factors)
        return None if base is None else Path(base), plain

    def layers(self, section: RunSection, seed: int) -> Iterator[dict[str, Any]]:
        """What a run's recipe is made of, what counts more after what counts less."""
        if self.data_dir is not None:
            yield {"data": {"source": {"class": "Course", "data_dir": self.data_dir}}}
        if section.script != "ensemble" and self.trunk is not None:
            yield {"model": {"trunk": self.trunk}}
        if section.script in ("train", "tune"):
            yield self.settings
        yield section.settings
        yield self.scripts.get(section.script, {})
        yield section.scaled.get(self.scale, {})
        if section.init_from is not None:
            whole = self.sections()[section.init_from].script == "train"
            start: dict[str, Any] = {"trunk": str(self.folder(section.init_from, seed))}
            yield {"model": {**start, **({"keep_heads": True} if whole else {})}}
        if section.members:
            members = [str(self.folder(name, seed)) for name in section.members]
            yield {"members": members, "cache": str(Path(self.output_dir, "answers"))}
        if section.student is not None:
            yield {"student": str(self.recipe_of(self.folder(section.student, seed)))}


def members_of(recipe: EnsembleRecipe) -> list[str]:
    return recipe.members


def changed(before: Path, now: Path, kind: type) -> list[str]:
    """The settings in which the recipe that a folder was made with is not the one of now."""
    if not before.is_file():
        return []
    old, words = vars(read_recipe(kind, ["--config", str(before)])), ["--config", str(now)]
    new: Mapping[str, Any]
    # The rows of an ensemble are those of its members, unless it says others.
    if kind is EnsembleRecipe:
        recipe, own, _ = read_asking(EnsembleRecipe, words, members_of)
        new = {**vars(recipe), "sources": own}
    else:
        new = vars(read_recipe(kind, words))
    return [name for name in new if name not in PASSING and old[name] != new[name]]


def spelled_out(argv: Sequence[str], configs: Path) -> list[str]:
    """The words of a command line, with the files that --system NAME and --scale NAME are short for before all else.

    >>> spelled_out(["--jobs", "2"], Path("recipes/configs"))
    ['--jobs', '2']
    """
    files: dict[str, Path] = {}
    rest, words = [], list(argv)
    while words:
        word, equals, text = words.pop(0).partition("=")
        name = word.removeprefix("--")
        if word == name or name not in SHORT:
            rest.append(word + equals + text)
            continue
        text = text if equals or not words else words.pop(0)
        places = {path.stem: path for path in sorted((configs / f"{name}s").glob("*.yaml"))}
        if text not in places:
            raise RecipeError([unknown(name, text, places)])
        files[name] = places[text]
    if "system" in files and "scale" not in files:
        raise RecipeError(["--system wants a --scale: demo (minutes), small (hours) or full (a GPU)."])
    return [*(part for name in SHORT if name in files for part in ("--config", str(files[name]))), *rest]
