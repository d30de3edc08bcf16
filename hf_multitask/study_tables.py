"""The tables of a study: what its runs reach, and what was published beside it."""

import json
from collections.abc import Sequence
from pathlib import Path

from .report import replace_text
from .standing import standings
from .standing import table as beside
from .studies import Run, results, table
from .study_sections import ReproduceRecipe

__all__ = ["write_tables"]


def write_tables(recipe: ReproduceRecipe, runs: Sequence[Run]) -> str:
    """Write table.md and table.json of what is finished, and give the former; nothing where nothing is."""
    found = list(results(runs))
    if not found:
        return ""
    if recipe.published:
        text, content = published(recipe, runs)
    else:
        text, content = table(found), found
    folder = Path(recipe.output_dir)
    replace_text(folder / "table.json", json.dumps(content, indent=2) + "\n")
    replace_text(folder / "table.md", f"{text}\n")
    return text


def published(recipe: ReproduceRecipe, runs: Sequence[Run]) -> tuple[str, list | dict]:
    rows = standings(recipe.published, runs, reference=recipe.reference, sts=recipe.sts)
    first = list(results([run for run in runs if run.script.stem == "pretrain"]))
    seeds = ", ".join(map(str, recipe.seeds))
    trunk = recipe.trunk or "a new minBERT"
    parts = [f"# {recipe.title}", *recipe.notes]
    parts.append(
        f"Scale {recipe.scale}, trunk {trunk}, seeds {seeds}. Ours is judged on dev, sts by Pearson's r"
        + (", theirs turned into r" if recipe.sts == "unit" else "")
        + "; the score counts it as (r + 1) / 2. Where they print no score of this kind but all three tasks, theirs is "
        "computed. Intervals: 95%, by a bootstrap of rows and seeds, for the difference the same rows on both sides."
    )
    parts.append(beside(rows, reference=recipe.reference))
    if first:
        parts.append("First stages, judged before any task by plain cosine (sts) and a linear probe (sst):")
        parts.append(table(first))
    content = {"title": recipe.title, "scale": recipe.scale, "trunk": trunk, "notes": recipe.notes}
    described = [row.describe() for row in rows]
    return "\n\n".join(parts), {**content, "reference": recipe.reference, "rows": described, "first_stages": first}
