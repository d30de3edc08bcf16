"""Judge a trained model on a labelled split, or write its answers for a split without labels."""

import sys
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
sys.path = [place for place in sys.path if place != str(Path(__file__).parent)]

from hf_multitask.assembly import load_model, load_rows
from hf_multitask.evaluator import evaluate
from hf_multitask.recipe import read_recipe, run
from hf_multitask.sections import EvaluateRecipe
from hf_multitask.submission import write_submission
from hf_multitask.tasks import Task


def main(argv):
    recipe = read_recipe(EvaluateRecipe, argv)
    model = load_model(recipe.model, revision=recipe.revision)
    names = recipe.tasks or list(model.tasks)
    tasks = [Task.from_description(name, model.config.known(name)) for name in names]
    rows = load_rows(tasks, recipe.data, [recipe.split], seed=recipe.seed)[recipe.split]
    folder = Path(recipe.output_dir)
    for name, answered in ((name, data) for name, data in rows.items() if "label" not in data.column_names):
        second = answered["second"] if model.tasks[name]["pair"] else None
        values = model.predict(name, answered["first"], second, batch_size=recipe.batch_size).values
        print(write_submission(folder, name, recipe.split, answered["id"], values))
    if judged := {name: data for name, data in rows.items() if "label" in data.column_names}:
        report = evaluate(model, judged, split=recipe.split, seed=recipe.seed, trunk=recipe.model)
        report.save(folder)
        print(report.to_markdown())


if __name__ == "__main__":
    sys.exit(run(main))
