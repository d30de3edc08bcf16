"""The course of a study: its runs, and the tables at the end, whatever failed before."""

from collections.abc import Sequence
from pathlib import Path

from .jobs import Stopped
from .results import check_results, write_results
from .runs import Run, execute
from .sections import ReproduceRecipe
from .tables import write_tables

__all__ = ["perform"]


def perform(recipe: ReproduceRecipe, runs: Sequence[Run], scripts: Path) -> None:
    """Do what is left of the runs, and print what all reach that are finished; raise at the end what failed."""
    if recipe.results is not None:
        check_results(recipe, Path(recipe.results))
    try:
        execute(runs, jobs=recipe.jobs)
    except (Stopped, KeyboardInterrupt):
        # Whoever ends it waits for the tables alone.
        conclude(recipe, recipe.every(scripts, runs), None)
        raise
    except RuntimeError as failed:
        try:
            conclude(recipe, recipe.every(scripts, runs), recipe.results)
        except (ValueError, RuntimeError, OSError) as error:
            raise RuntimeError(f"{failed}\n\nWhat is finished could not be shown: {error}") from error
        raise
    found = recipe.every(scripts, runs)
    conclude(recipe, found, recipe.results)
    if others := [run.folder.name for run in runs if run not in found]:
        raise RuntimeError(
            f"{', '.join(others)}: another process made it meanwhile, otherwise. It is not in the table."
        )


def conclude(recipe: ReproduceRecipe, runs: Sequence[Run], results: str | None) -> None:
    """Write and print the tables of what is finished, and into a folder `results` what may be shown of it."""
    if tables := write_tables(recipe, runs):
        print(f"\n{tables.text}\n\nSaved in {recipe.output_dir}.")
        if results is not None:
            print(write_results(recipe, runs, tables, results))
