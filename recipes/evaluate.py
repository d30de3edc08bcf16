"""Write a model's answers for a split in the course's format, and judge them where the split has labels."""

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
    answers = Answers(model, recipe.batch_size)
    folder = Path(recipe.output_dir)
    judged = {name: data for name, data in rows.items() if "label" in data.column_names}
    report = evaluate(answers, judged, split=recipe.split, seed=recipe.seed, trunk=recipe.model) if judged else None
    for name in rows.keys() - judged.keys():
        answers.predict(name, rows[name]["first"], rows[name]["second"] if model.tasks[name]["pair"] else None)
    for name, values in answers.values.items():
        print("Wrote", write_submission(folder, name, recipe.split, rows[name]["id"], values))
    if report is not None:
        report.save(folder)
        print(f"\n{report.to_markdown()}")


class Answers:
    """A model that keeps what it answered."""

    def __init__(self, model, batch_size):
        self.model, self.tasks, self.batch_size = model, model.tasks, batch_size
        self.values = {}

    def predict(self, task, first, second=None):
        prediction = self.model.predict(task, first, second, batch_size=self.batch_size)
        self.values[task] = prediction.values
        return prediction


if __name__ == "__main__":
    sys.exit(run(main))
