"""Put a trained model, an ensemble or one adapter on the Hub, in one commit."""

import sys
from pathlib import Path
from typing import Any

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).resolve().parent
sys.path = [place for place in sys.path if Path(place).resolve() != HERE]

from hf_multitask.assembly.models import load_model
from hf_multitask.hub import publish
from hf_multitask.publishing.onnx_export import export_onnx
from hf_multitask.recipe import read_recipe, run
from hf_multitask.sections.publish import PublishRecipe


def main(argv):
    recipe = read_recipe(PublishRecipe, argv)
    if recipe.onnx:
        export_onnx(load_model(recipe.model), recipe.model)
    options: Any = {"base": recipe.base, "revision": recipe.revision, "private": recipe.private}
    print("Published:", publish(recipe.model, recipe.repo, **options))


if __name__ == "__main__":
    sys.exit(run(main))
