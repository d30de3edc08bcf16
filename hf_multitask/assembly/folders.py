"""The folders that recipes write to: claimed, joined, filled."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..recipe import RecipeError, read_recipe, write_recipe

__all__ = ["check_folder", "claim_folder", "join_folder", "move_model"]


MADE_LATER = (
    "report.json",
    "report.md",
    "report.html",
    "beside-*.html",
    "config.json",
    "answers.npz",
    "*.png",
    "onnx/*",
)
"""What tells of the model that a run ended with, its configuration too. Without a report no folder looks finished."""
BEGUN_WITH = ("trunk", "student", "data_dir", "train", "dev", "test", "text_file")
"""Settings that may name files or folders; of its members an ensemble's recipe knows itself."""


def check_folder(recipe: Any, *, resume: bool = False) -> Path:
    """The folder of a recipe's run, if the run may write there; nothing is changed yet."""
    folder, overwrite = Path(recipe.output_dir), recipe.overwrite
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file. Give another output_dir.")
    rest = {name: value for name, value in asdict(recipe).items() if name not in ("output_dir", "resume")}
    for text in places(rest):
        # Of a text that is too long for a name, Path.exists would raise.
        if os.path.exists(text) and Path(text).resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"The run begins with {text}, which lies in its own output_dir. Give another output_dir.")
    if used(folder) and not resume:
        if not overwrite:
            raise ValueError(
                f"{folder} holds an earlier run or other files. "
                "Give another output_dir, `--resume auto` to go on, or `--overwrite` to begin anew."
            )
        if not (folder / "recipe.yaml").is_file():
            raise ValueError(f"{folder} was not made by a recipe, so it is not overwritten. Give another output_dir.")
    return folder


def claim_folder(recipe: Any, *, resume: bool = False) -> Path:
    """The folder of a recipe's run with its recipe, in which nothing of an earlier one is taken for this one's.

    Called when all that the run needs is there: what fails before leaves an earlier run as it was.
    """
    folder = check_folder(recipe, resume=resume)
    if used(folder) and not resume:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in [path for pattern in MADE_LATER for path in folder.glob(pattern)]:
        path.unlink()
    write_recipe(recipe, folder)
    return folder


def used(folder: Path) -> bool:
    """Whether a run lies there.

    One that failed before its first checkpoint leaves its recipe alone, and is none; neither is one that was killed
    while it wrote that, which leaves `.recipe.yaml.` and a number.
    """
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    return any(name != "recipe.yaml" and not name.startswith(".recipe.yaml.") for name in names)


def places(value: Any, *, named: bool = False) -> Iterator[str]:
    """What plain values say of files and folders; a text is one where a setting that `named` it may be."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from places(part, named=name in BEGUN_WITH)
    elif isinstance(value, list):
        for part in value:
            yield from places(part, named=named)
    elif named and isinstance(value, str) and value:
        yield value


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
