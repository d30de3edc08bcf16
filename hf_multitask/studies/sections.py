"""The recipe of a study: which runs it has, what each changes, and what was published of them."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from ..given import Given, overlay
from ..models.construct import unknown
from ..recipe import layer_text, said_in
from ..report import replace_text
from ..schema import RecipeError
from ..sections.ensemble import EnsembleRecipe
from ..sections.pretrain import PretrainRecipe
from ..sections.train import TrainRecipe
from ..sections.tune import TuneRecipe
from .building import circles, misled
from .changes import changed
from .run_sections import RunSection, expanded, filled, layered, limited, scaled
from .runs import Run
from .standing import Published

__all__ = ["KINDS", "ReproduceRecipe", "spelled_out"]

logger = logging.getLogger(__name__)

KINDS: dict[str, type] = {
    "train": TrainRecipe,
    "pretrain": PretrainRecipe,
    "tune": TuneRecipe,
    "ensemble": EnsembleRecipe,
}
SCALES = ("demo", "small", "full")
NAME = re.compile(r"\w[\w.+-]*")
"""What a run may be called: it names a folder."""
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
    scale_notes: dict[str, list[str]] = field(
        default_factory=dict, metadata={"help": "More of them, at some scale alone: {small: [..]}"}
    )
    caveats: list[str] = field(default_factory=list, metadata={"help": "More of them: what a scale changes"})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Every run is done with each"})
    only: list[str] | None = field(
        default=None, metadata={"help": "Names of runs or sweeps to do, and what they need; null: all"}
    )
    jobs: int = field(default=1, metadata={"help": "How many runs go on side by side"})
    data_dir: str | None = field(default=None, metadata={"help": "The course's files, for every run"})
    trunk: str | None = field(default=None, metadata={"help": "The pretrained trunk of every run"})
    settings: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "What all trainings on tasks change in their recipe"}
    )
    scale: Literal["demo", "small", "full"] | None = field(
        default=None, metadata={"help": "Which of the runs' `scaled` settings count; null: none"}
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
        known = dict.fromkeys([*sections, *self.runs])
        faults = [f"only: {unknown('run', name, known)}" for name in self.only or () if name not in known]
        faults += [
            f"runs: '{name}' names a folder. Take letters, digits, _, ., + and -."
            for name in sections
            if not NAME.fullmatch(name)
        ]
        if self.jobs < 1:
            faults.append(f"jobs must be 1 or more. Got {self.jobs}.")
        if self.results is not None and Path(self.results).is_file():
            faults.append(f"results: {self.results} is a file. Name a folder.")
        if self.results is not None and Path(self.results).resolve() == Path(self.output_dir).resolve():
            faults.append(f"results: {self.results} is output_dir, where the runs are. Name another folder.")
        if Path(self.output_dir).is_file():
            faults.append(f"output_dir: {self.output_dir} is a file. Name a folder.")
        if not self.seeds:
            faults.append("seeds is empty. Name one or more.")
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds, default=0) < 0:
            faults.append(f"seeds are different numbers from 0 on. Got {', '.join(map(str, self.seeds))}.")
        factors = {name: vars(self)[name] for name in ("epochs", "steps", "rates")}
        faults += [f"{name} multiplies, and must be above zero. Got {by:g}." for name, by in factors.items() if by <= 0]
        faults += [f"scale_notes: {unknown('scale', at, SCALES)}" for at in self.scale_notes if at not in SCALES]
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
            faults += circles(sections) + misled(sections, keeps=self.keeps)
            faults += [
                f"{name} is a search, which is no model to compare: name what builds on it by best_of."
                for name in dict.fromkeys([*named.values()])
                if name is not None and sections[name].script == "tune"
            ]
        if faults:
            raise RecipeError(faults)

    def keeps(self, search: RunSection) -> int:
        """How many recipes a search leaves."""
        said = [search.settings, self.scripts.get("tune", {}), self.at_scale(search)]
        return ([layer["keep"] for layer in said if "keep" in layer] or [TuneRecipe.keep])[-1]

    def at_scale(self, section: RunSection) -> dict[str, Any]:
        """What a run changes at the study's scale."""
        return {} if self.scale is None else section.scaled.get(self.scale, {})

    def remarks(self) -> list[str]:
        """All that stands over the table at the study's scale."""
        return [*self.caveats, *self.notes, *self.scale_notes.get(self.scale or "", [])]

    def sections(self) -> dict[str, RunSection]:
        """Every run, each point of a sweep for itself."""
        return expanded(self.runs)

    def wanted(self) -> dict[str, RunSection]:
        """The runs that are to be done, with those that they need."""
        sections = self.sections()
        points = {name: list(expanded({name: run})) for name, run in self.runs.items()}
        names = {point for name in self.only or sections for point in ([name] if name in sections else points[name])}
        while more := {need for name in names for need in sections[name].needs} - names:
            names |= more
        return {name: run for name, run in sections.items() if name in names}

    def build(self, scripts: Path) -> list[Run]:
        """The runs of each seed in turn; each one's recipe is written into the folder, and is a recipe like any."""
        if self.scale != "demo" and self.published and not self.says_rows():
            whose = "The study" if self.scale is None else f"--scale {self.scale}"
            raise RecipeError([f"{whose} reads the papers' rows. Name the folder of their files by --data_dir."])
        found = [self.run(name, seed, scripts) for seed in self.seeds for name in self.wanted()]
        if faults := [fault for run in found if (fault := self.other(run))]:
            raise RecipeError(faults)
        Path(self.output_dir).mkdir(parents=True, exist_ok=True)
        for run in found:
            replace_text(run.recipe, str(run.layer))
        return found

    def every(self, scripts: Path, runs: Sequence[Run]) -> list[Run]:
        """These runs, and those that `only` leaves out and that are finished, in the order of the study.

        What was made by other settings, by another process meanwhile or before, is left out with a warning.
        """
        mine, found = {(run.name, run.seed): run for run in runs}, []
        for place in [(name, seed) for seed in self.seeds for name in self.sections()]:
            run, why = mine.get(place), None
            if (self.folder(*place) / "report.json").is_file():
                try:
                    run = run or self.run(*place, scripts)
                    why = self.other(run)
                except ValueError as error:
                    # What nobody asked for need not be possible.
                    why = str(error)
            if why is not None:
                logger.warning("It is not in the table: %s", why)
            elif run is not None:
                found.append(run)
        return found

    def says_rows(self) -> bool:
        """Whether something says which rows are read, if only a recipe of the study's own."""
        said = [self.settings, *self.scripts.values(), *(run.settings for run in self.sections().values())]
        named = any("source" in (layer.get("data") or {}) for layer in said)
        return named or self.data_dir is not None or self.recipe is not None

    def run(self, name: str, seed: int, scripts: Path) -> Run:
        section, folder = self.sections()[name], self.folder(name, seed)
        base, settings = self.layer(name, section, seed)
        needs = tuple(self.folder(need, seed) for need in section.needs)
        after = scripts / "report.py" if self.reports and section.script != "tune" else None
        text = layer_text(base=base, settings=settings)
        return Run(name, seed, scripts / f"{section.script}.py", self.recipe_of(folder), folder, needs, after, text)

    def other(self, run: Run) -> str | None:
        """Why the folder of a run is not its own as it is now; None where it is, or nothing is there."""
        if gone := run.outdated():
            return f"{run.folder} was made of another {', '.join(gone)} than is there now. Remove it too."
        with TemporaryDirectory() as aside:
            now = Path(aside, "recipe.yaml")
            now.write_text(str(run.layer), encoding="utf-8")
            if found := changed(run.folder / "recipe.yaml", now, KINDS[run.script.stem]):
                return f"{run.folder} was made with another {', '.join(found)}. Give another output_dir."
        return None

    def folder(self, name: str, seed: int) -> Path:
        return Path(self.output_dir, f"{name}-{seed}")

    @staticmethod
    def recipe_of(folder: Path) -> Path:
        # A name may hold a number with a point.
        return folder.with_name(f"{folder.name}.yaml")

    def layer(self, name: str, section: RunSection, seed: int) -> tuple[Path | None, dict[str, Any]]:
        """The recipe that a run builds on, and what it changes there."""
        folder = self.folder(name, seed)
        base = section.recipe or (self.recipe if section.script in ("train", "tune") else None)
        layers = list(self.layers(section, seed))
        if section.best_of is not None:
            best = "best.yaml" if section.rank == 1 else f"best-{section.rank}.yaml"
            base = str(self.folder(section.best_of, seed) / best)
            layers = [section.settings, self.scripts.get("train", {}), self.at_scale(section)]
        settings = layered([*layers, {"seed": seed, "output_dir": str(folder)}], f"runs.{name}")
        plain = limited(filled(settings, data_dir=self.data_dir))
        if section.init_from is not None:
            # A size is for new trunks.
            plain.get("model", {}).pop("size", None)
        factors = {"epochs": self.epochs, "steps": self.steps, "rates": self.rates}
        if set(factors.values()) != {1.0}:
            # What a search leaves is what it did, and that was multiplied.
            below = {} if base is None or section.best_of is not None else said_in(Path(base))
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
        yield self.at_scale(section)
        if section.init_from is not None:
            whole = self.sections()[section.init_from].script == "train"
            start: dict[str, Any] = {"trunk": str(self.folder(section.init_from, seed))}
            yield {"model": {**start, **({"keep_heads": True} if whole else {})}}
        if section.members:
            members = [str(self.folder(name, seed)) for name in section.members]
            yield {"members": members, "cache": str(Path(self.output_dir, "answers"))}
        if section.student is not None:
            yield {"student": str(self.recipe_of(self.folder(section.student, seed)))}


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
    if "system" in files and "scale" not in files and "--help" not in rest:
        raise RecipeError(["--system wants a --scale: demo (minutes), small (hours) or full (a GPU)."])
    return [*(part for name in SHORT if name in files for part in ("--config", str(files[name]))), *rest]
