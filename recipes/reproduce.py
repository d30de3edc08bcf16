"""Do the runs of a study, and print one table of what they reach, beside what was published."""

import sys
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).parent
sys.path = [place for place in sys.path if place != str(HERE)]

from hf_multitask.recipe import STOPPED, read_recipe, run
from hf_multitask.studies.jobs import Stopped
from hf_multitask.studies.rehearsal import rehearse
from hf_multitask.studies.results import write_results
from hf_multitask.studies.runs import execute
from hf_multitask.studies.sections import ReproduceRecipe, spelled_out
from hf_multitask.studies.tables import write_tables


def main(argv):
    recipe = read_recipe(ReproduceRecipe, spelled_out(argv, HERE / "configs"))
    folder = Path(recipe.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    runs = recipe.build(HERE)
    if recipe.dry_run:
        rehearse(recipe, runs)
        print(f"All {len(runs)} runs can be built, and do their first step. Nothing was kept but their recipes.")
        return
    try:
        execute(runs, jobs=recipe.jobs)
    except (Stopped, KeyboardInterrupt):
        # Whoever ends it waits for the tables alone.
        recipe.results = None
        raise
    finally:
        if tables := write_tables(recipe, runs):
            print(f"\n{tables.text}\n\nSaved in {folder}.")
            if recipe.results is not None:
                print(write_results(recipe, runs, tables, recipe.results))


if __name__ == "__main__":
    try:
        code = run(main)
    except Stopped:
        code = STOPPED
    sys.exit(code)
