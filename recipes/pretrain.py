"""Train a trunk before the tasks, and leave a folder that `--model.trunk` and SentenceTransformer take."""

import sys
import time
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).resolve().parent
sys.path = [place for place in sys.path if Path(place).resolve() != HERE]

from transformers import set_seed

from hf_multitask.assembly.folders import check_folder, claim_folder, move_model
from hf_multitask.assembly.resuming import check_resumed
from hf_multitask.assembly.trainers import build_first_stage
from hf_multitask.plots import can_plot
from hf_multitask.pretraining.encoder import save_encoder
from hf_multitask.recipe import read_recipe, run
from hf_multitask.sections.pretrain import PretrainRecipe
from hf_multitask.training.backends import leave
from hf_multitask.training.checkpoints import chosen, seconds_to

DEFAULT = HERE / "configs" / "pretrain" / "demo.yaml"


def main(argv):
    recipe = read_recipe(PretrainRecipe, argv, default=DEFAULT)
    folder, started, first = Path(recipe.output_dir), time.time(), recipe.arguments().process_index == 0
    resume = chosen(recipe.resume, folder)
    started -= seconds_to(resume)
    if first:
        check_folder(recipe, resume=recipe.resume is not None)
        check_resumed(recipe, resume)
    set_seed(recipe.seed)
    encoder, trainer, judge = build_first_stage(recipe)
    trainer.begun = started
    if resume:
        trainer.check(resume)
    if first:
        claim_folder(recipe, resume=recipe.resume is not None)
    trunk = recipe.model.trunk or "minbert, new"
    before = judge(encoder, trunk=trunk) if first else None
    trained = trainer.train(resume_from_checkpoint=resume)
    trainer.save_state()
    if before is not None:
        after = judge(encoder, trunk=trunk)
        report = judge.compare(before, after, objective=recipe.objective["class"])
        report.seconds = time.time() - started
        report.examples_per_second = trained.metrics["train_samples_per_second"]
        if can_plot():
            judge.draw(before, after, folder)
        save_encoder(encoder, folder / ".model")
        move_model(folder / ".model", folder)
        report.save(folder)
        print(f"\n{report.to_markdown()}\nSaved in {folder}, for --model.trunk and for SentenceTransformer.")
    del trainer
    leave()


if __name__ == "__main__":
    sys.exit(run(main))
