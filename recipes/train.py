"""Train one model on several tasks, judge it on dev, and leave a folder that AutoModel loads."""

import sys
import time
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).resolve().parent
sys.path = [place for place in sys.path if Path(place).resolve() != HERE]

from transformers import set_seed

from hf_multitask.assembly.folders import check_folder, claim_folder, move_model
from hf_multitask.assembly.resuming import check_resumed
from hf_multitask.assembly.trainers import build_trainer, read_rows
from hf_multitask.evaluation.answers import Answers, save_answers
from hf_multitask.evaluation.baseline import BagOfWords
from hf_multitask.evaluator import evaluate
from hf_multitask.recipe import read_recipe, run
from hf_multitask.report import chance
from hf_multitask.sections.train import TrainRecipe
from hf_multitask.training.backends import leave
from hf_multitask.training.callbacks import Pace
from hf_multitask.training.checkpoints import chosen, seconds_to

DEFAULT = HERE / "configs" / "demo.yaml"


def main(argv):
    recipe = read_recipe(TrainRecipe, argv, default=DEFAULT)
    arguments = recipe.arguments()
    folder, started = Path(recipe.output_dir), time.time()
    resume = chosen(recipe.resume, folder)
    started -= seconds_to(resume)
    if arguments.process_index == 0:
        check_folder(recipe, resume=recipe.resume is not None)
        check_resumed(recipe, resume)
    set_seed(recipe.seed)
    rows = read_rows(recipe, recipe.tasks)
    trainer = build_trainer(recipe, rows, callbacks=[pace := Pace()])
    trainer.begun = started
    if resume:
        trainer.origin.check(Path(resume), trainer.model.config)
    if arguments.process_index == 0:
        claim_folder(recipe, resume=recipe.resume is not None)
    trained = trainer.train(resume_from_checkpoint=resume)
    answers: dict[str, Answers] = {}
    report = trainer.report(rows["dev"], seed=recipe.seed, trunk=recipe.model.trunk or "minbert, new", answers=answers)
    report.about["steps_per_second"] = pace.steps_per_second
    report.about["train_rows"] = {name: len(task) for name, task in trainer.encoded.items()}
    report.seconds = time.time() - started
    report.examples_per_second = trained.metrics["train_samples_per_second"]
    trainer.save_model(str(folder / ".model"))
    trainer.save_state()
    if arguments.process_index == 0:
        tasks, dev = [task.build() for task in recipe.tasks], rows["dev"]
        for name in recipe.compare:
            report.beside[name.replace("_", " ")] = BASELINES[name](tasks, rows)
        report.beside["chance"] = {task.name: chance(dev[task.name], task.metric, task.classes) for task in tasks}
        move_model(folder / ".model", folder)
        save_answers(answers, folder)
        report.save(folder)
        print(f"\n{report.to_markdown()}\nSaved in {folder}: AutoModel.from_pretrained({str(folder)!r})")
    del trainer
    leave()


def bag_of_words(tasks, rows):
    """What a linear model of word counts reaches on the same rows."""
    words = BagOfWords(tasks)
    for name, train in rows["train"].items():
        words.fit(name, train)
    return evaluate(words, rows["dev"], resamples=0).values


BASELINES = {"bag_of_words": bag_of_words}

if __name__ == "__main__":
    sys.exit(run(main))
