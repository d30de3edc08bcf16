"""Pictures of a study: its rows beside each other, its sweeps, and what searches left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..plots import RowMarks, rows_beside, sweep_curve
from .run_sections import expanded
from .runs import Run
from .sections import ReproduceRecipe
from .standing import Standing

__all__ = ["study_pictures"]

MEASURES = {"score": "score (0 to 1)", "sts": "sts, Pearson's r"}


def study_pictures(recipe: ReproduceRecipe, rows: Sequence[Standing], runs: Sequence[Run]) -> dict[str, Any]:
    """Pictures by what they show: the rows, a figure for each sweep, and the PNG files that searches left."""
    found = {f"rows by {by}": beside(recipe, rows, by) for by in dict.fromkeys(row.row.by for row in rows)}
    found |= {f"sweep of {name}": figure for name, figure in curves(recipe, rows).items()}
    for run in runs:
        if run.script.stem == "tune":
            found |= {f"{run.folder.name}: {path.stem}": path for path in sorted(run.folder.glob("*.png"))}
    return {name: picture for name, picture in found.items() if picture is not None}


def beside(recipe: ReproduceRecipe, rows: Sequence[Standing], by: str) -> Any:
    """The rows that are judged `by` one number, where two or more have it."""
    names = {row.row.run: row.row.row for row in reversed(rows)}
    found = [
        marks(row, by, names.get(row.row.against or recipe.reference))
        for row in rows
        if row.row.by == by and (by in row.ours or by in row.theirs)
    ]
    return rows_beside(found, title=titled(recipe, "rows"), measure=measured(by)) if len(found) > 1 else None


def marks(row: Standing, by: str, over: str | None) -> RowMarks:
    return RowMarks(
        row.row.row if row.row.split == "dev" else f"{row.row.row} ({row.row.split})",
        ours=row.ours[by][0] if by in row.ours else None,
        interval=row.interval,
        theirs=row.theirs.get(by),
        crossfitted=None if row.crossfitted is None else row.crossfitted[0],
        gain=None if row.gain is None else (row.gain.gain, *row.gain.ci95),
        over=None if row.gain is None else over,
    )


def titled(recipe: ReproduceRecipe, what: str) -> str:
    return f"{what}: {Path(recipe.output_dir).name}" + ("" if recipe.scale is None else f", {recipe.scale}")


def measured(by: str) -> str:
    return MEASURES.get(by, f"{by}, accuracy")


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
        title=titled(recipe, title),
        measure=measured(by),
    )
