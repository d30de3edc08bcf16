"""The folders that recipes write to: claimed, joined, filled."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..recipe import RecipeError, read_recipe, write_recipe

__all__ = ["claim_folder", "join_folder", "move_model"]


def claim_folder(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Make sure that nothing of an earlier run is taken for this one's."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file. Give another output_dir.")
    # A run that failed before its first checkpoint leaves its recipe alone, and may be tried again.
    if folder.is_dir() and {file.name for file in folder.iterdir()} - {"recipe.yaml"} and not resume:
        if not overwrite:
            raise ValueError(
                f"{folder} holds an earlier run or other files. "
                "Give another output_dir, `--resume auto` to go on, or `--overwrite` to begin anew."
            )
        if not (folder / "recipe.yaml").is_file():
            raise ValueError(f"{folder} was not made by a recipe, so it is not overwritten. Give another output_dir.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Without its report a folder does not look finished, whatever else an earlier run left in it.
    for name in ("report.json", "report.md", "config.json"):
        (folder / name).unlink(missing_ok=True)


def join_folder(folder: Path, recipe: Any, *, free: Iterable[str] = ()) -> None:
    """Begin work that many processes share, or take part in it; they may differ in the settings that are `free`."""
    files = {file.name for file in folder.iterdir() if not file.name.startswith(".")} if folder.is_dir() else set()
    if files and "recipe.yaml" not in files:
        raise ValueError(f"{folder} holds other files. Give another output_dir.")
    if not files:
        write_recipe(recipe, folder)
    try:
        there = asdict(read_recipe(type(recipe), ["--config", str(folder / "recipe.yaml")]))
    except RecipeError as error:
        raise ValueError(f"{folder} holds what another recipe made. Give another output_dir.") from error
    if other := [name for name, value in asdict(recipe).items() if name not in free and value != there[name]]:
        raise ValueError(f"{folder} was begun with another {other[0]}. Give another output_dir.")


def move_model(aside: Path, folder: Path) -> None:
    """Bring a saved model from beside to `folder`, the configuration last: without it nothing loads the rest."""
    files = [file for file in sorted(aside.rglob("*")) if file.is_file()]
    for file in sorted(files, key=lambda file: file.name == "config.json"):
        place = folder / file.relative_to(aside)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)
    shutil.rmtree(aside)
