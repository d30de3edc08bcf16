"""Whether a run may go on from what an earlier one left: by the settings that decide what a checkpoint is."""

import logging
from pathlib import Path
from typing import Any

from ..recipe import as_written, read_yaml
from ..sections.parts import RunRecipe
from ..training.origins import said

__all__ = ["check_resumed"]

logger = logging.getLogger(__name__)


def check_resumed(recipe: RunRecipe, checkpoint: str | None) -> None:
    """Raise where a checkpoint was left by a run that was begun with something else, and say what may be otherwise.

    What it was begun with is told by the recipe beside the checkpoint.
    """
    there = None if checkpoint is None else read_yaml(Path(checkpoint).parent / "recipe.yaml")
    if there is None:
        return
    here = as_written(recipe)
    changes = {name: pair for name in (*recipe.LASTING, *recipe.TOLD) if (pair := differing(name, there, here))}
    words = {name: f"{name} was {said(old)}, and is {said(new)} here." for name, (old, new) in changes.items()}
    if faults := [words[name] for name, (old, _) in changes.items() if name in recipe.LASTING and not gone(old)]:
        raise ValueError(
            f"This run cannot go on from {checkpoint}. {' '.join(faults)} Begin a new run, by another output_dir."
        )
    if words:
        logger.warning("%s Training goes on from the same weights.", " ".join(words.values()))


def differing(name: str, there: dict[str, Any], here: dict[str, Any]) -> tuple[Any, Any] | None:
    """A setting of both, if it is not the same; what earlier versions did not write down is."""
    old, new = there, here
    for part in name.split("."):
        if not isinstance(old, dict) or part not in old:
            return None
        old, new = old[part], new[part]
    return None if place(old) == place(new) else (old, new)


def place(value: Any) -> Any:
    """A folder, however it is written."""
    return str(Path(value).resolve()) if isinstance(value, str) and Path(value).exists() else value


def gone(value: Any) -> bool:
    """Whether something is a folder's name that is no longer there: it may have another name now."""
    return isinstance(value, str) and Path(value).is_absolute() and not Path(value).exists()
