"""What a finished folder tells of how it was made."""

from pathlib import Path
from typing import Any

from ..recipe import read_recipe, read_yaml
from ..sections.ensemble import EnsembleRecipe
from ..sections.train import TrainRecipe

__all__ = ["made_by", "own_sources"]


def made_by(folder: Path) -> TrainRecipe | EnsembleRecipe:
    """The recipe of a finished model or ensemble; that a soup or a student is one model does not tell."""
    path = folder / "recipe.yaml"
    words = ["--config", str(path)]
    if "members" in (read_yaml(path) or {}):
        return read_recipe(EnsembleRecipe, words)
    return read_recipe(TrainRecipe, words)


def own_sources(recipe: TrainRecipe | EnsembleRecipe) -> dict[str, dict[str, Any]]:
    """The sources of the tasks that have one of their own."""
    if isinstance(recipe, EnsembleRecipe):
        return {}
    return {section.name: section.data for section in recipe.tasks if section.data}
