"""Write a model's answers for a split in the course's format, and judge them where the split has labels."""

import sys
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).resolve().parent
sys.path = [place for place in sys.path if Path(place).resolve() != HERE]

from hf_multitask.assembly.answering import answered, write_answers
from hf_multitask.assembly.finished import read_asking
from hf_multitask.assembly.models import load_model
from hf_multitask.assembly.rows import load_rows
from hf_multitask.recipe import run
from hf_multitask.sections.evaluate import EvaluateRecipe
from hf_multitask.tasks import Task
from hf_multitask.training.backends import leave, processes


def main(argv):
    recipe, own, drawn = read_asking(EvaluateRecipe, argv, lambda asked: [asked.model])
    state = processes()
    model = load_model(recipe.model, revision=recipe.revision).to(state.device)
    names = recipe.tasks or list(model.tasks)
    tasks = [Task.from_description(name, model.config.known(name)) for name in names]
    recipe.check_tasks(model.tasks)
    rows = load_rows(tasks, recipe.data, [recipe.split], seed=drawn, own=own)[recipe.split]
    values, report = answered(
        model, rows, split=recipe.split, batch_size=recipe.batch_size, seed=recipe.seed, trunk=recipe.model
    )
    if state.is_main_process:
        folder = Path(recipe.output_dir)
        for path in write_answers(folder, recipe.split, rows, values):
            print("Wrote", path)
        # An earlier report tells of other answers.
        for path in (folder / name for name in ("report.json", "report.md")):
            path.unlink(missing_ok=True)
        if report is not None:
            report.save(folder)
            print(f"\n{report.to_markdown()}")
    leave()


if __name__ == "__main__":
    sys.exit(run(main))
