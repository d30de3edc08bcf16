"""The page of a study: its table beside what was published, pictures, searches, its runs and how it was made."""

import html
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..pages.page import Link, Part, figures, markdown_table, page, preformatted, rows_table
from ..plots import can_plot, embedded
from ..publishing.manifest import without_places
from ..recipe import as_written, yaml_text
from .pictures import study_pictures
from .run_sections import RunSection
from .runs import Run
from .sections import ReproduceRecipe
from .standing import Standing, table

__all__ = ["study_page"]

SHOWN = ("title", "notes", "scale_notes", "caveats", "published")
"""Settings that the page shows above its configuration."""


def study_page(
    recipe: ReproduceRecipe, rows: Sequence[Standing], runs: Sequence[Run], *, notes: Sequence[str], data: Any
) -> str:
    """The table and its pictures, what searches left, the runs and the study's configuration."""
    parts = [Part("About", "".join(f"<p>{html.escape(note)}</p>" for note in notes))] if notes else []
    parts.append(
        Part(
            "Published and ours" if recipe.published else "Beside each other",
            markdown_table(table(rows, reference=recipe.reference, seeds=recipe.seeds)),
        )
    )
    if can_plot() and (pictures := study_pictures(recipe, rows, runs)):
        found = [(said, embedded(picture)) for said, picture in pictures.items()]
        parts.append(Part("Pictures", figures(found)))
    parts += [Part(f"Search: {run.folder.name}", trials) for run in runs if (trials := searched(run))]
    lines = [linked(run) for run in runs if run.finished]
    parts.append(Part("Runs", rows_table(["run", "seed", "page", "recipe"], lines)))
    parts.append(Part("Configuration", preformatted(configuration(recipe))))
    return page(recipe.title or Path(recipe.output_dir).name, parts, data=data)


def configuration(recipe: ReproduceRecipe) -> str:
    """What a study's recipe says, of each run what it says itself, and no places on this machine."""
    said = {name: value for name, value in as_written(recipe).items() if name not in SHOWN}
    silent = asdict(RunSection())
    said["runs"] = {
        run: {name: value for name, value in settings.items() if value != silent[name]}
        for run, settings in said["runs"].items()
    }
    return yaml_text(without_places(said))


def searched(run: Run) -> str:
    """The best trials of a search, as its report.md has them, and how many there are; nothing of another run."""
    path = run.folder / "report.md"
    if run.script.stem != "tune" or not path.is_file():
        return ""
    best, _, trials = path.read_text(encoding="utf-8").partition("\n\n")
    return f"{markdown_table(best)}<p>{html.escape(trials.strip())}</p>"


def linked(run: Run) -> list[Any]:
    """A line of the table of runs, whose folders lie beside the page; a search has no page, but leaves a recipe."""
    files = [run.folder / name for name in ("report.html", "best.yaml" if run.script.stem == "tune" else "recipe.yaml")]
    places = [f"{run.folder.name}/{file.name}" if file.is_file() else None for file in files]
    return [run.name, str(run.seed), *(None if place is None else Link(place, place) for place in places)]
