"""A dry run of a study: every object of every run is built, and does one step; nothing is kept."""

import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import transformers
from tqdm import tqdm
from transformers import PrinterCallback

from ..assembly.trainers import build_first_stage, build_trainer, read_rows
from ..recipe import RecipeError, read_recipe
from ..sections.train import TrainRecipe
from .run_sections import RunSection
from .runs import Run
from .sections import KINDS, ReproduceRecipe

__all__ = ["rehearse"]

ONE_STEP = {
    "max_steps": 1,
    "save_strategy": "no",
    "eval_strategy": "no",
    "load_best_model_at_end": False,
    "disable_tqdm": True,
}


def rehearse(study: ReproduceRecipe, runs: Sequence[Run]) -> str:
    """Build what each run needs and do its first step; every fault of all of them is raised at once.

    What a run takes over from another, which is not there yet, begins as that one does. Of ensembles the settings are
    read; a search tries all choices and both ends of each setting, and what it will choose is not tried again. What was
    done comes back in words.
    """
    # What was imported is no garbage, and the trainers look for some after each run.
    gc.freeze()
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    faults: list[str] = []
    kept: dict[str, Any] = {}
    stepped: set[Run] = set()
    sections = study.sections()
    with TemporaryDirectory() as folder:
        for run in tqdm(runs, unit="run"):
            section = sections[run.name]
            if section.best_of is not None:
                # The search that its recipe comes from is tried itself.
                continue
            try:
                recipe = read(run, section.script)
                if section.script == "tune" or (section.script == "ensemble" and recipe.rule == "weighted"):
                    # Its lack is a sentence, here as later.
                    import_module("optuna")
                if section.init_from is not None:
                    recipe.model = fresh(recipe, run, runs, sections)
                for number, one in enumerate(attempts(section.script, recipe)):
                    step(one, Path(folder, f"{run.folder.name}-{number}"), kept)
                    stepped.add(run)
            except (ValueError, RuntimeError, OSError) as error:
                faults.append(f"{run.folder.name}: {error}")
    gc.unfreeze()
    if faults:
        raise RecipeError(faults)
    return told(runs, sections, len(stepped))


def told(runs: Sequence[Run], sections: Mapping[str, RunSection], stepped: int) -> str:
    """What a rehearsal without a fault did."""
    chosen = sum(sections[run.name].best_of is not None for run in runs)
    read_only = sum(sections[run.name].script == "ensemble" for run in runs)
    said = [f"{stepped} were built and did their first step"]
    said += [f"the settings of {read_only} ensembles were read"] if read_only else []
    said += [f"{chosen} are trained by what a search will find"] if chosen else []
    return f"All {len(runs)} runs can begin: {', '.join(said)}. Nothing was kept but their recipes."


def read(run: Run, script: str) -> Any:
    return read_recipe(KINDS[script], ["--config", str(run.recipe)])


def fresh(recipe: Any, run: Run, runs: Sequence[Run], sections: Mapping[str, RunSection]) -> Any:
    """The model of a run that goes on from another, with the trunk that the first of them begins with."""
    begin = run
    while (source := sections[begin.name].init_from) is not None:
        begin = next(other for other in runs if (other.name, other.seed) == (source, run.seed))
    if (search := sections[begin.name].best_of) is not None:
        # What it finds is not there yet, and begins as it does.
        begin = next(other for other in runs if (other.name, other.seed) == (search, run.seed))
    first = read(begin, sections[begin.name].script).model
    kept = {"keep_heads": False} if isinstance(recipe, TrainRecipe) else {}
    return replace(recipe.model, trunk=first.trunk, size=first.size, **kept)


def attempts(script: str, recipe: Any) -> list[Any]:
    """The recipes to try: none of an ensemble, the ends of a search."""
    if script == "ensemble":
        return []
    if script != "tune":
        return [recipe]
    ends = {name: dimension.edges() for name, dimension in recipe.search.items()}
    most = max(map(len, ends.values()))
    return [recipe.with_values({name: edges[i % len(edges)] for name, edges in ends.items()}) for i in range(most)]


def step(recipe: Any, folder: Path, kept: dict[str, Any]) -> None:
    """One step of a training, with rows that were read for another if it reads the same."""
    recipe = replace(recipe, output_dir=str(folder), training={**recipe.training, **ONE_STEP}, resume=None)
    if isinstance(recipe, TrainRecipe):
        recipe = replace(recipe, early_stopping=None)
        sections = sorted(json.dumps([section.name, section.objective, section.data]) for section in recipe.tasks)
        key = json.dumps([sections, asdict(recipe.data), recipe.seed])
        if key not in kept:
            kept[key] = read_rows(recipe, recipe.tasks)
        trainer: Any = build_trainer(recipe, kept[key])
    else:
        trainer = build_first_stage(recipe).trainer
    # One bar tells how far the rehearsal is, and the numbers of a first step tell nothing.
    trainer.remove_callback(PrinterCallback)
    trainer.train()
