"""The page of a study: its table beside what was published, sweeps, searches, its runs and how it was made."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..pages.page import Link, Part, figures, markdown_table, page, preformatted, rows_table
from ..plots import can_plot, embedded, sweep_curve
from ..publishing.manifest import without_places
from ..recipe import as_written, yaml_text
from .run_sections import RunSection, expanded
from .runs import Run
from .sections import ReproduceRecipe
from .standing import Standing, table

__all__ = ["study_page", "study_pictures"]

MEASURES = {"score": "score (0 to 1)", "sts": "sts, Pearson's r"}
SHOWN = ("title", "notes", "scale_notes", "caveats", "published")
"""Settings that the page shows above its configuration."""


def study_page(
    recipe: ReproduceRecipe, rows: Sequence[Standing], runs: Sequence[Run], *, notes: Sequence[str], data: Any
) -> str:
    """The table, a curve for each sweep of one setting, what searches left, the runs and the study's configuration."""
    parts = [Part("About", "".join(f"<p>{html.escape(note)}</p>" for note in notes))] if notes else []
    parts.append(
        Part(
            "Published and ours" if recipe.published else "Beside each other",
            markdown_table(table(rows, reference=recipe.reference, seeds=recipe.seeds)),
        )
    )
    if can_plot() and (pictures := study_pictures(recipe, rows, runs)):
        found = [(said, embedded(picture)) for said, picture in pictures.items()]
        parts.append(Part("Sweeps and searches", figures(found)))
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


def study_pictures(recipe: ReproduceRecipe, rows: Sequence[Standing], runs: Sequence[Run]) -> dict[str, Any]:
    """Pictures by what they show: a figure for each sweep, and the PNG files that searches left."""
    found: dict[str, Any] = {f"sweep of {name}": figure for name, figure in curves(recipe, rows).items()}
    for run in runs:
        if run.script.stem == "tune":
            found |= {f"{run.folder.name}: {path.stem}": path for path in sorted(run.folder.glob("*.png"))}
    return found


def curves(recipe: ReproduceRecipe, rows: Sequence[Standing]) -> dict[str, Any]:
    """What rows are judged by over the last numeric setting of each sweep; a picture for each choice of its others."""
    standing = {row.row.run: row for row in reversed(rows)}
    found: dict[str, Any] = {}
    for name, section in recipe.runs.items():
        groups: dict[str, dict[float, Standing]] = {}
        for values, run in zip(points(section), named(recipe, name), strict=True):
            if isinstance(values[-1], int | float) and run in standing and standing[run].row.by in standing[run].ours:
                title = "-".join([name, *map(str, values[:-1])])
                groups.setdefault(title, {})[float(values[-1])] = standing[run]
        for title, group in groups.items():
            if len(group) > 1:
                found[title] = curve(recipe, standing, group, list(section.sweep)[-1], title)
    return found


def spelled(setting: str, settings: Mapping[str, Any]) -> str:
    """A dotted name as people say it: of a regularizer by its class, where a run's own settings name that.

    >>> spelled("training.learning_rate", {})
    'learning rate'
    >>> spelled("regularizers.0.weight", {"regularizers": [{"class": "Smart"}]})
    'Smart weight'
    >>> spelled("regularizers.0.weight", {})
    'regularizers.0.weight'
    """
    whole, _, rest = setting.partition(".")
    if whole != "regularizers":
        return setting.rpartition(".")[2].replace("_", " ")
    listed = settings.get("regularizers")
    called = {str(number): one["class"] for number, one in enumerate(listed if isinstance(listed, list) else ())}
    number, _, option = rest.partition(".")
    return f"{called[number]} {option}".strip() if number in called else setting


def done_with(recipe: ReproduceRecipe, run: str, setting: str) -> Any:
    """What a setting is in a run, after what the scale makes of it; None where it is not found by its dotted name."""
    value: Any = recipe.layer(run, recipe.sections()[run], recipe.seeds[0])[1]
    for part in setting.split("."):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def points(section: Any) -> list[tuple[Any, ...]]:
    return [values for values, _ in section.points() if values]


def named(recipe: ReproduceRecipe, name: str) -> list[str]:
    """The names of the runs of one sweep."""
    section = recipe.runs[name]
    return list(expanded({name: section})) if section.sweep else []


def curve(
    recipe: ReproduceRecipe,
    standing: Mapping[str | None, Standing],
    group: Mapping[float, Standing],
    swept: str,
    title: str,
) -> Any:
    """The picture of a group of rows by the values that they have of a setting in the paper."""
    first = next(iter(group.values())).row
    by, section = first.by, recipe.sections()[str(first.run)]
    ours = {x: row.ours[by] for x, row in group.items() if by in row.ours}
    theirs = {x: row.theirs[by] for x, row in group.items() if by in row.theirs}
    here = {x: done_with(recipe, str(row.row.run), swept) for x, row in group.items()}
    beside = standing.get(first.against or recipe.reference)
    if beside is not None and (beside in group.values() or by not in beside.ours):
        beside = None
    return sweep_curve(
        ours,
        theirs,
        intervals={x: row.interval for x, row in group.items() if row.interval is not None},
        here={x: value for x, value in here.items() if value not in (None, x)},
        baseline=None if beside is None else (beside.row.row, beside.ours[by][0]),
        setting=spelled(swept, section.settings),
        title=f"{title}: {Path(recipe.output_dir).name}" + ("" if recipe.scale is None else f", {recipe.scale}"),
        measure=MEASURES.get(by, f"{by}, accuracy"),
    )
