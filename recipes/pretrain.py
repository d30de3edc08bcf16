"""Train a trunk before the tasks, and leave a folder that `--model.trunk` and SentenceTransformer take."""

import sys
import time
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
sys.path = [place for place in sys.path if place != str(Path(__file__).parent)]

from datasets import Dataset
from transformers import set_seed

from hf_multitask.assembly import build_model, claim_folder, leave, load_rows, move_model
from hf_multitask.checkpoints import chosen
from hf_multitask.plots import can_plot
from hf_multitask.pretrain_sections import PretrainRecipe
from hf_multitask.pretraining.encoder import add_adapter, save_encoder
from hf_multitask.pretraining.evaluators import evaluators
from hf_multitask.pretraining.judgement import Judge
from hf_multitask.pretraining.trainer import PretrainingTrainer
from hf_multitask.recipe import read_recipe, run, write_recipe
from hf_multitask.tuners.methods import build_tuner

DEFAULT = Path(__file__).parent / "configs" / "pretrain" / "demo.yaml"


def main(argv):
    recipe = read_recipe(PretrainRecipe, argv, default=DEFAULT)
    arguments, stage = recipe.arguments(), recipe.stage()
    folder, started, first = Path(recipe.output_dir), time.time(), arguments.process_index == 0
    if first:
        claim_folder(folder, overwrite=recipe.overwrite, resume=recipe.resume is not None)
        write_recipe(recipe, folder)
    set_seed(recipe.seed)
    sections = recipe.read_tasks()
    tasks = {section.name: section.build() for section in sections}
    own = {section.name: section.data for section in sections if section.data}
    rows = load_rows(tasks.values(), recipe.data, ("train", "dev"), seed=recipe.seed, own=own)
    texts = recipe.sentences(rows["train"])
    words = {**rows["train"], "text": Dataset.from_dict({"first": texts})}
    encoder = build_model([], recipe.model.build(), words, max_length=recipe.data.max_length).to_sentence_transformer()
    if recipe.tuner is not None:
        add_adapter(encoder, build_tuner(recipe.tuner), freeze=recipe.model.freeze_trunk)

    batch = arguments.per_device_eval_batch_size
    watched = [(tasks[name], rows["train"][name], rows["dev"][name]) for name in recipe.watched()]
    watching = [evaluator for task in watched for evaluator in evaluators(*task, batch_size=batch)]
    read = stage.rows(rows["train"], texts)
    trainer = PretrainingTrainer(encoder, arguments, stage=stage, rows=read, evaluators=watching)
    judge = Judge([tasks[name] for name in recipe.judged()], rows, seed=recipe.seed, batch_size=batch)
    trunk = recipe.model.trunk or "minbert, new"
    before = judge(encoder, trunk=trunk) if first else None
    trained = trainer.train(resume_from_checkpoint=chosen(recipe.resume, folder))
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
