"""Whether a run's folder was made by the recipe of now, and in which settings it was not."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..assembly.differences import differences
from ..assembly.finished import read_asking
from ..recipe import read_recipe
from ..sections.ensemble import EnsembleRecipe

__all__ = ["changed"]

PASSING = ("output_dir", "overwrite", "resume", "cache", "batch_size")
LONG = 60
"""How many characters of a value are shown."""


def changed(before: Path, now: Path, kind: type) -> list[str]:
    """The settings in which the recipe that a folder was made with is not the one of now, with both values."""
    if not before.is_file():
        return []
    old, words = asdict(read_recipe(kind, ["--config", str(before)])), ["--config", str(now)]
    # The rows of an ensemble are those of its members, unless it says others.
    if kind is EnsembleRecipe:
        recipe, own, _ = read_asking(EnsembleRecipe, words, members_of)
        new = {**asdict(recipe), "sources": own}
    else:
        new = asdict(read_recipe(kind, words))
    mine = {name: value for name, value in new.items() if name not in PASSING}
    found = differences({name: old[name] for name in mine}, mine)
    return [f"{setting} ({shown(then)}, now {shown(after)})" for setting, then, after in found]


def members_of(recipe: EnsembleRecipe) -> list[str]:
    return recipe.members


def shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONG else f"{text[:LONG]} .."
