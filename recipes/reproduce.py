"""Do the runs of a study, and print one table of what they reach."""

import json
import sys
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).parent
sys.path = [place for place in sys.path if place != str(HERE)]

from hf_multitask.recipe import read_recipe, run
from hf_multitask.report import replace_text
from hf_multitask.studies import execute, results, table
from hf_multitask.study_sections import ReproduceRecipe


def main(argv):
    recipe = read_recipe(ReproduceRecipe, argv)
    folder = Path(recipe.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    runs = recipe.build(HERE)
    try:
        execute(runs, jobs=recipe.jobs)
    finally:
        if found := list(results(runs)):
            replace_text(folder / "table.json", json.dumps(found, indent=2) + "\n")
            replace_text(folder / "table.md", f"{table(found)}\n")
            print(f"\n{table(found)}\n\nSaved in {folder}.")


if __name__ == "__main__":
    sys.exit(run(main))
