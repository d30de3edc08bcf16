"""What a finished folder tells of how it was made, and of the rows that it knows."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ..recipe import RecipeError, read_recipe, read_yaml
from ..sections.ensemble import EnsembleRecipe
from ..sections.evaluate import EvaluateRecipe
from ..sections.train import TrainRecipe

__all__ = ["made_by", "own_sources", "read_asking"]

FILE = "recipe.yaml"
Sources = dict[str, dict[str, Any]]
R = TypeVar("R", EnsembleRecipe, EvaluateRecipe)


def made_by(folder: Path) -> TrainRecipe | EnsembleRecipe:
    """The recipe of a finished model or ensemble; that a soup or a student is one model does not tell."""
    path = folder / FILE
    if "objective" in (read_yaml(path) or {}):
        raise ValueError(f"{folder} is a first stage and no model of tasks. Train one on it: --model.trunk {folder}")
    words = ["--config", str(path)]
    if "members" in (read_yaml(path) or {}):
        return read_recipe(EnsembleRecipe, words)
    return read_recipe(TrainRecipe, words)


def own_sources(recipe: TrainRecipe | EnsembleRecipe) -> Sources:
    """The sources of the tasks that have one of their own; of an ensemble as it says, or its members or student do."""
    if isinstance(recipe, TrainRecipe):
        return {section.name: section.data for section in recipe.tasks if section.data}
    # Earlier versions did not write them down.
    return recipe.sources or said(recipe, recipes_of(recipe.members))


def read_asking(kind: type[R], argv: Sequence[str], models: Callable[[R], Sequence[str]]) -> tuple[R, Sources, int]:
    """A recipe that asks `models` of rows, the tasks' own sources, and the seed that draws rows where there are limits.

    Where it does not say which rows, they are those that the first of the models learnt from whose folder tells; of
    a task with a source of its own, those of the first model that says one.
    """
    names = models(read_recipe(kind, argv))
    known = recipes_of(names)
    if not known:
        recipe = read_recipe(kind, argv)
        # What is the same upon another source was said.
        if recipe.data.source != read_recipe(kind, argv, upon={"data": {"source": {"class": "Published"}}}).data.source:
            raise RecipeError(
                [f"{Path(names[0])} does not tell which rows it learnt. Say --data_dir or --data.source.class."]
            )
        return recipe, said(recipe, known), recipe.seed
    # Streams are for training.
    recipe = read_recipe(kind, argv, upon={"data": {**asdict(known[0].data), "stream": {}}})
    return recipe, said(recipe, known), drawn_by(known[0])


def said(recipe: EnsembleRecipe | EvaluateRecipe, known: Sequence[TrainRecipe | EnsembleRecipe]) -> Sources:
    """The sources that a recipe says, and of other tasks those of a student, or those that the models tell."""
    if isinstance(recipe, EnsembleRecipe) and recipe.student:
        own = own_sources(read_recipe(TrainRecipe, ["--config", recipe.student]))
    else:
        own = told(recipe, known)
    return {**own, **recipe.sources}


def told(recipe: EnsembleRecipe | EvaluateRecipe, known: Sequence[TrainRecipe | EnsembleRecipe]) -> Sources:
    """The sources that any of the models says, the first one's before those of others; none where it asks elsewhere."""
    if not known or recipe.data.source != known[0].data.source:
        return {}
    return {task: source for one in reversed(known) for task, source in own_sources(one).items()}


def drawn_by(recipe: TrainRecipe | EnsembleRecipe) -> int:
    """The seed that drew the rows of a model, or of an ensemble's first member, where there are limits."""
    if isinstance(recipe, EnsembleRecipe) and (known := recipes_of(recipe.members)):
        return drawn_by(known[0])
    return recipe.seed


def recipes_of(models: Sequence[str]) -> list[TrainRecipe | EnsembleRecipe]:
    """The recipes of those models whose folders are here and tell."""
    return [made_by(Path(name)) for name in models if Path(name, FILE).is_file()]
