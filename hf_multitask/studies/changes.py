"""Whether a run's folder was made by the recipe of now, and in which settings it was not."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
    return list(differences({name: old[name] for name in mine}, mine))


def members_of(recipe: EnsembleRecipe) -> list[str]:
    return recipe.members


def differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Where plain values differ, as `name (old, now new)`.

    >>> list(differences({"model": {"dropout": 0.1, "trunk": None}}, {"model": {"dropout": 0.3, "trunk": None}}))
    ['model.dropout (0.1, now 0.3)']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("class") == new.get("class"):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
    elif placed(old) != placed(new):
        yield f"{name} ({shown(old)}, now {shown(new)})"


def placed(value: Any) -> Any:
    """A value in which files and folders that are there are told by one name, however they are spelled."""
    if isinstance(value, Mapping):
        return {key: placed(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [placed(child) for child in value]
    if isinstance(value, str) and value and Path(value).exists():
        return str(Path(value).resolve())
    return value


def shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONG else f"{text[:LONG]} .."
