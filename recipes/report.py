"""Write the page of a finished run: tables, pictures, configuration, mistakes; or of two runs side by side."""

import sys
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).resolve().parent
sys.path = [place for place in sys.path if Path(place).resolve() != HERE]

from hf_multitask.pages.page import write_page
from hf_multitask.pages.runs import beside_file, beside_page, run_page
from hf_multitask.pages.showing import show
from hf_multitask.recipe import read_recipe, run
from hf_multitask.sections.report import ReportRecipe


def main(argv):
    recipe = read_recipe(ReportRecipe, argv)
    one = show(Path(recipe.folder), most=recipe.most, seed=recipe.seed)
    if recipe.beside is None:
        path = write_page(run_page(one, seed=recipe.seed), recipe.folder)
    else:
        other = show(Path(recipe.beside), most=recipe.most, seed=recipe.seed)
        name = beside_file(one.folder, other.folder)
        path = write_page(beside_page(one, other, seed=recipe.seed), recipe.folder, name)
    print(f"Wrote {path}")


if __name__ == "__main__":
    sys.exit(run(main))
