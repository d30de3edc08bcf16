"""Do the runs of a study, and print one table of what they reach, beside what was published."""

import sys
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).parent
sys.path = [place for place in sys.path if place != str(HERE)]

from hf_multitask.jobs import Stopped
from hf_multitask.recipe import STOPPED, read_recipe, run
from hf_multitask.rehearsal import rehearse
from hf_multitask.studies import execute
from hf_multitask.study_sections import ReproduceRecipe
from hf_multitask.study_tables import write_tables

SHORT = {"system": HERE / "configs" / "systems", "scale": HERE / "configs" / "scales"}


def main(argv):
    recipe = read_recipe(ReproduceRecipe, spelled_out(argv))
    folder = Path(recipe.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    runs = recipe.build(HERE)
    if recipe.dry_run:
        rehearse(recipe, runs)
        print(f"All {len(runs)} runs can be built, and do their first step. Nothing was kept but their recipes.")
        return
    try:
        execute(runs, jobs=recipe.jobs)
    finally:
        if text := write_tables(recipe, runs):
            print(f"\n{text}\n\nSaved in {folder}.")


def spelled_out(argv):
    """The words of a command line with the files that --system and --scale are short for, before all else."""
    files, rest, words = [], [], [part for word in argv for part in word.split("=", 1)]
    while words:
        word = words.pop(0)
        if word[2:] in SHORT and words:
            places = {path.stem: path for path in SHORT[word[2:]].glob("*.yaml")}
            if words[0] not in places:
                raise ValueError(f"There is no {word[2:]} '{words[0]}'. Choices: {', '.join(sorted(places))}.")
            files.append((word[2:], places[words.pop(0)]))
        else:
            rest.append(word)
    # What a scale says counts more than what a system says.
    files.sort(key=lambda file: list(SHORT).index(file[0]))
    return [*(word for _, file in files for word in ("--config", str(file))), *rest]


if __name__ == "__main__":
    try:
        code = run(main)
    except Stopped:
        code = STOPPED
    sys.exit(code)
