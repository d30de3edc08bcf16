"""The tables of a study: what its runs reach, and what was published beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..pages.page import write_page
from ..report import replace_text
from .pages import study_page
from .runs import Run, results, table
from .sections import ReproduceRecipe
from .standing import standings
from .standing import table as beside

__all__ = ["write_tables"]

NEW = "a new minBERT"


def write_tables(recipe: ReproduceRecipe, runs: Sequence[Run]) -> str:
    """Write table.md and table.json of what is finished, and give the former; nothing where nothing is.

    With `reports` the page of the study comes beside them.
    """
    found = list(results(runs))
    if not found:
        return ""
    folder = Path(recipe.output_dir)
    content: Any
    if recipe.published:
        text, content = published(recipe, runs)
    else:
        text, content = table(found), found
    replace_text(folder / "table.json", json.dumps(content, indent=2) + "\n")
    replace_text(folder / "table.md", f"{text}\n")
    return text


def published(recipe: ReproduceRecipe, runs: Sequence[Run]) -> tuple[str, dict[str, Any]]:
    """The table of a system as Markdown, with all that a reader must know of it; and the same for programs."""
    rows = standings(recipe.published, runs, reference=recipe.reference, sts=recipe.sts)
    first = list(results([run for run in runs if run.script.stem == "pretrain"]))
    notes, trunk = [*recipe.notes, legend(recipe)], recipe.trunk or NEW
    content: dict[str, Any] = {"title": recipe.title, "scale": recipe.scale, "trunk": trunk, "notes": notes}
    content |= {"reference": recipe.reference, "rows": [row.describe() for row in rows], "first_stages": first}
    if recipe.reports:
        write_page(study_page(recipe, rows, runs, notes=notes, data=content), recipe.output_dir)
    parts = [f"# {recipe.title}", *notes, beside(rows, reference=recipe.reference)]
    if first:
        parts += ["First stages, judged before any task by plain cosine (sts) and a linear probe (sst):", table(first)]
    return "\n\n".join(parts), content


def legend(recipe: ReproduceRecipe) -> str:
    seeds = ", ".join(map(str, recipe.seeds))
    turned = ", theirs turned into r" if recipe.sts == "unit" else ""
    return (
        f"Scale {recipe.scale}, trunk {recipe.trunk or NEW}, seeds {seeds}. Ours is judged on dev, sts by Pearson's "
        f"r{turned}; the score counts it as (r + 1) / 2. Where they print no score of this kind but all three tasks, "
        "theirs is computed. Intervals: 95%, by a bootstrap of rows and seeds, which for a difference are the same on "
        "both sides. A difference whose interval holds zero is inside the noise. Ensembles that choose on dev flatter: "
        "their own reports have them cross-fitted."
    )
