"""In which settings two recipes differ, as plain values by their dotted paths."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Difference", "differences"]


class Difference(NamedTuple):
    """A setting by its dotted path, and its two values; what is not there is None."""

    setting: str
    old: Any
    new: Any


def differences(old: Any, new: Any, path: str = "") -> Iterator[Difference]:
    """Where plain values differ. Items of lists are called as in a recipe's paths: by their name, or number.

    >>> list(differences({"model": {"dropout": 0.1, "trunk": None}}, {"model": {"dropout": 0.3, "trunk": None}}))
    [Difference(setting='model.dropout', old=0.1, new=0.3)]
    >>> list(differences({"tasks": [{"name": "sst", "weight": 1}]}, {"tasks": [{"name": "sst", "weight": 2}]}))
    [Difference(setting='tasks.sst.weight', old=1, new=2)]
    """
    mine, theirs = items(old), items(new)
    if mine and theirs:
        # Of tasks that others have none of the names are enough; that order counts too.
        if list(mine) != list(theirs):
            yield Difference(path, called(old), called(new))
        for key in (key for key in mine if key in theirs):
            yield from differences(mine[key], theirs[key], f"{path}.{key}")
    elif isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("class") == new.get("class"):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif located(old) != located(new):
        yield Difference(path, old, new)


def items(value: Any) -> dict[str, Any]:
    """The items of a list of mappings by what they are called; nothing of any other value."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        return {}
    return {str(item.get("name", number)): item for number, item in enumerate(value)}


def called(value: Any) -> list[Any]:
    return [item.get("name", item) for item in value]


def located(value: Any) -> Any:
    """A value in which files and folders that are there are told by one name, however they are spelled."""
    if isinstance(value, Mapping):
        return {key: located(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [located(child) for child in value]
    # Of a text that is too long for a name, Path.exists would raise.
    if isinstance(value, str) and value and os.path.exists(value):
        return str(Path(value).resolve())
    return value
