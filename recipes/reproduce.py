"""Do the runs of a study, and print one table of what they reach, beside what was published."""

import sys
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).resolve().parent
sys.path = [place for place in sys.path if Path(place).resolve() != HERE]

from hf_multitask.recipe import STOPPED, read_recipe, run
from hf_multitask.studies.course import perform
from hf_multitask.studies.jobs import Stopped
from hf_multitask.studies.rehearsal import rehearse
from hf_multitask.studies.sections import ReproduceRecipe, spelled_out


def main(argv):
    recipe = read_recipe(ReproduceRecipe, spelled_out(argv, HERE / "configs"))
    runs = recipe.build(HERE)
    if recipe.dry_run:
        print(rehearse(recipe, runs))
        return
    perform(recipe, runs, HERE)


if __name__ == "__main__":
    try:
        code = run(main)
    except (Stopped, KeyboardInterrupt):
        print("Stopped. The same command goes on.", file=sys.stderr)
        code = STOPPED
    sys.exit(code)
