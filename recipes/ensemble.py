"""Make one model of several by a rule, judge it beside the best of them, and leave a folder that AutoModel loads."""

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).resolve().parent
sys.path = [place for place in sys.path if Path(place).resolve() != HERE]

from transformers import set_seed

from hf_multitask.assembly.finished import read_asking
from hf_multitask.assembly.folders import check_folder, claim_folder, move_model
from hf_multitask.assembly.rows import load_rows
from hf_multitask.assembly.trainers import build_trainer
from hf_multitask.ensembles.ballots import collect
from hf_multitask.ensembles.judgement import judge
from hf_multitask.ensembles.making import combine, gather, mix, soft_rows, taught
from hf_multitask.evaluation.answers import Answers, save_answers
from hf_multitask.recipe import RecipeError, read_recipe, run
from hf_multitask.sections.ensemble import EnsembleRecipe
from hf_multitask.sections.train import TrainRecipe
from hf_multitask.tasks import Task


def main(argv):
    recipe, own, drawn = read_asking(EnsembleRecipe, argv, lambda asked: asked.members)
    student = read_recipe(TrainRecipe, ["--config", recipe.student]) if recipe.student else None
    folder = check_folder(recipe)
    if recipe.rule == "weighted":
        # What is lacking is said before members are asked.
        import_module("optuna")
    ensemble = gather(recipe.members, one_at_a_time=recipe.one_at_a_time, over=recipe.over)
    recipe.check_tasks({name: ensemble.config.knowing(name) for name in ensemble.tasks})
    # Its folder tells by itself which rows it knows.
    recipe = replace(recipe, sources=own)
    asking: Any = {"cache": recipe.cache, "batch_size": recipe.batch_size}
    how: Any = {"calibrated": recipe.calibrate, "seed": recipe.seed}
    splits = ("train", "dev") if student else ("dev",)
    tasks = [Task.from_description(name, task) for name, task in ensemble.tasks.items()]
    if student:
        sections = [section for section in student.tasks if section.name in ensemble.tasks]
        if not sections:
            raise RecipeError([f"{recipe.student} has none of the members' tasks: {', '.join(ensemble.tasks)}."])
        tasks = [section.build() for section in sections]
    rows = load_rows(tasks, recipe.data, splits, seed=drawn, own=recipe.sources)
    if few := [name for name, dev in rows["dev"].items() if len(dev) < 2]:
        raise RecipeError(
            [f"What is chosen is judged on two halves of dev. {few[0]} has one row there, and wants more."]
        )
    ballots = collect(ensemble, rows["dev"], **asking)
    if student:
        taken = soft_rows(
            ensemble, rows["train"], objectives={t.name: t.objective for t in tasks}, trust=recipe.trust, **asking
        )
        claim_folder(recipe)
        set_seed(recipe.seed)
        taught_by = replace(student, output_dir=str(folder / "student"), seed=recipe.seed)
        trainer = build_trainer(taught_by, rows, sections=sections, taught=taken)
        trainer.train()
        model = trainer.model
        made = taught(model, ballots, rows["dev"], batch_size=recipe.batch_size, **how)
    elif recipe.rule == "soup":
        greedily = recipe.soup == "greedy"
        options: Any = {"greedily": greedily, "prior": recipe.prior, "batch_size": recipe.batch_size}
        made = mix(ensemble, ballots, rows["dev"], **options, **how)
    else:
        made = combine(ensemble, ballots, recipe.choose, **how)
    answers: dict[str, Answers] = {}
    about: Any = {"rule": recipe.rule, "members": recipe.members}
    report = judge(made, ballots, rows["dev"], seed=recipe.seed, answers=answers, **about)
    if not student:
        # Until now an earlier run is left as it was.
        claim_folder(recipe)
    made.model.save_pretrained(folder / ".model")
    move_model(folder / ".model", folder)
    save_answers(answers, folder)
    report.save(folder)
    print(f"\n{report.to_markdown()}\nSaved in {folder}: AutoModel.from_pretrained({str(folder)!r})")


if __name__ == "__main__":
    sys.exit(run(main))
