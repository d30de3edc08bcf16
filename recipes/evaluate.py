"""Write a model's answers for a split in the course's format, and judge them where the split has labels."""

import sys
from pathlib import Path
from typing import Any

# This folder holds an evaluate.py, which would hide the library of that name.
sys.path = [place for place in sys.path if place != str(Path(__file__).parent)]

from hf_multitask.assembly.models import load_model
from hf_multitask.assembly.rows import load_rows
from hf_multitask.evaluation.submission import write_submission
from hf_multitask.evaluator import InBatches, evaluate, predicted
from hf_multitask.recipe import read_recipe, run
from hf_multitask.sections.evaluate import EvaluateRecipe
from hf_multitask.tasks import Task
from hf_multitask.training.backends import leave, processes


def main(argv):
    recipe = read_recipe(EvaluateRecipe, argv)
    state = processes()
    model = load_model(recipe.model, revision=recipe.revision).to(state.device)
    names = recipe.tasks or list(model.tasks)
    tasks = [Task.from_description(name, model.config.known(name)) for name in names]
    rows = load_rows(tasks, recipe.data, [recipe.split], seed=recipe.seed)[recipe.split]
    judged = {name: data for name, data in rows.items() if "label" in data.column_names}
    answering, several, report = InBatches(model, recipe.batch_size), state.num_processes > 1, None
    values: dict[str, Any] = {}
    if judged:
        options: Any = {"split": recipe.split, "seed": recipe.seed, "trunk": recipe.model}
        report = evaluate(answering, judged, values=values, distributed=several, **options)
    # In an order that is the same in every process.
    for name in (name for name in rows if name not in judged):
        _, values[name], _ = predicted(answering, name, rows[name], distributed=several)
    if state.is_main_process:
        folder = Path(recipe.output_dir)
        for name in rows:
            print("Wrote", write_submission(folder, name, recipe.split, rows[name]["id"], values[name]))
        if report is not None:
            report.save(folder)
            print(f"\n{report.to_markdown()}")
    leave()


if __name__ == "__main__":
    sys.exit(run(main))
