"""The tables of a study: what its runs reach, and what was published beside it."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..pages.page import write_page
from ..report import Report, replace_text
from .pages import study_page
from .runs import Run, results, table
from .sections import ReproduceRecipe
from .standing import Standing, standings
from .standing import table as beside

__all__ = ["Tables", "trunk_of", "write_tables"]

NEW = "a new minBERT"
FITTED = (
    " Ensembles that choose on dev flatter: cross-fitted is their score where each half of dev is answered by what the "
    "other half chose, and differences are of these answers."
)


class Tables(NamedTuple):
    """What runs reach: as Markdown, for programs, and row by row where rows were published."""

    text: str
    content: Any
    rows: Sequence[Standing] = ()

    def save(self, folder: str | Path) -> None:
        """Write table.json and table.md."""
        replace_text(Path(folder, "table.json"), json.dumps(self.content, indent=2) + "\n")
        replace_text(Path(folder, "table.md"), f"{self.text}\n")


def write_tables(recipe: ReproduceRecipe, runs: Sequence[Run]) -> Tables | None:
    """Write table.md and table.json of what is finished, and give them; nothing where nothing is.

    With `reports` the page of the study comes beside them.
    """
    found = list(results(runs))
    if not found:
        return None
    if recipe.published or recipe.reference:
        tables = compared(recipe, runs)
    else:
        tables = Tables(table(found), found)
        if recipe.reports:
            page = study_page(recipe, standings((), runs), runs, notes=recipe.remarks(), data=found)
            write_page(page, recipe.output_dir)
    tables.save(recipe.output_dir)
    return tables


def compared(recipe: ReproduceRecipe, runs: Sequence[Run]) -> Tables:
    """The table of what is compared, with what was published or a run here, and all that a reader must know of it."""
    rows = standings(recipe.published, runs, reference=recipe.reference, sts=recipe.sts)
    first = list(results([run for run in runs if run.script.stem == "pretrain"]))
    trunk = trunk_of(recipe, runs)
    notes = [*recipe.remarks(), legend(recipe, trunk, {run.seed for run in runs if run.finished})]
    if any(row.crossfitted for row in rows):
        notes[-1] += FITTED
    content: dict[str, Any] = {"title": recipe.title, "scale": recipe.scale, "trunk": trunk, "notes": notes}
    content |= {"reference": recipe.reference, "rows": [row.describe() for row in rows], "first_stages": first}
    if recipe.reports:
        write_page(study_page(recipe, rows, runs, notes=notes, data=content), recipe.output_dir)
    parts = [f"# {recipe.title or 'Runs'}", *notes, beside(rows, reference=recipe.reference, seeds=recipe.seeds)]
    if first:
        parts += ["First stages, judged before any task by plain cosine (sts) and a linear probe (sst):", table(first)]
    return Tables("\n\n".join(parts), content, rows)


def trunk_of(recipe: ReproduceRecipe, runs: Sequence[Run]) -> str:
    """The trunk's name, without the way to it: the study's, or those that finished runs began with."""
    if recipe.trunk is not None:
        return Path(recipe.trunk).name
    sections = recipe.sections()
    begun = [run for run in runs if run.finished and run.script.stem in ("train", "pretrain")]
    trunks = [Report.load(run.folder).trunk for run in begun if sections[run.name].init_from is None]
    return ", ".join(dict.fromkeys(NEW if trunk is None else Path(trunk).name for trunk in trunks)) or NEW


def legend(recipe: ReproduceRecipe, trunk: str, finished: Collection[int]) -> str:
    """What a reader must know of all numbers; `finished` are the seeds that there is anything of."""
    there = [seed for seed in recipe.seeds if seed in finished]
    seeds = f"seed{'s' if len(there) > 1 else ''} {', '.join(map(str, there))}"
    if len(there) < len(recipe.seeds):
        seeds += f" of {', '.join(map(str, recipe.seeds))}, the others being unfinished"
    several = "rows, and by Student's t of the seeds, of which two tell little"
    drawn = several if len(there) > 1 else "rows alone: of other seeds one tells nothing"
    turned = ", theirs turned into r" if recipe.sts == "unit" else ""
    start, whose, computed = "Trunk" if recipe.scale is None else f"Scale {recipe.scale}, trunk", "All", ""
    if recipe.published:
        whose = "Ours"
        computed = " Where they print no score of this kind but all three tasks, theirs is computed."
    return (
        f"{start} {trunk}, {seeds}. {whose} is judged on dev, sts by Pearson's "
        f"r{turned}; the score counts it as (r + 1) / 2.{computed} "
        f"Intervals: 95%, by a bootstrap of {drawn}. Both sides of a difference have answered the "
        "same rows, with the same seeds. One whose interval holds zero is inside the noise; "
        "of twenty that are nothing at all, about one is called more."
    )
