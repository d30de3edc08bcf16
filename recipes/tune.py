"""Search settings of train.py, and leave the best recipe for it; the same command again takes part in the search."""

import gc
import sys
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).resolve().parent
sys.path = [place for place in sys.path if Path(place).resolve() != HERE]

from transformers import set_seed

from hf_multitask.assembly.folders import join_folder
from hf_multitask.assembly.trainers import build_trainer, read_rows
from hf_multitask.recipe import read_recipe, run, write_recipe
from hf_multitask.sections.tune import FREE, TuneRecipe
from hf_multitask.training.curves import NotFinite
from hf_multitask.tuning import Watch, best_params, draw, optimize, save_trials

DEFAULT = HERE / "configs" / "tune" / "demo.yaml"
ONE_TRIAL = {"training.save_strategy": "no", "training.load_best_model_at_end": False, "compare": []}


def main(argv):
    recipe = read_recipe(TuneRecipe, argv, default=DEFAULT)
    # Here, so that help needs nothing and its lack is a sentence.
    import optuna

    folder = Path(recipe.output_dir)
    join_folder(folder, recipe, free=FREE)
    whole = {name: recipe.whole(name) for name in recipe.search}
    greater = bool(recipe.arguments().greater_is_better)

    def score(trial):
        values = {name: space.suggest(trial, name, whole=whole[name]) for name, space in recipe.search.items()}
        watch = Watch(trial, prune=recipe.prune)
        try:
            train(recipe.with_values(values, **ONE_TRIAL, output_dir=str(folder / "trials")), watch)
        except NotFinite as error:
            raise optuna.TrialPruned(str(error)) from error
        return watch.best(greater=greater)

    study = optimize(score, recipe.place, trials=recipe.trials, name=recipe.study, seed=recipe.seed, greater=greater)
    for rank, found in enumerate(best_params(study, recipe.keep), 1):
        name = "best" if rank == 1 else f"best-{rank}"
        chosen = {setting: space.chosen(found[setting]) for setting, space in recipe.search.items()}
        write_recipe(recipe.with_values(chosen, output_dir=str(folder / name)), folder, f"{name}.yaml")
    draw(study, folder)
    print(f"\n{save_trials(study, folder, list(recipe.search))}")
    print(f"The best recipe: python recipes/train.py --config {folder / 'best.yaml'}")


def train(recipe, watch):
    """One training, of which nothing is kept but what `watch` sees."""
    set_seed(recipe.seed)
    trainer = build_trainer(recipe, read_rows(recipe, recipe.tasks), callbacks=[watch])
    trainer.train()
    if not watch.values:
        trainer.evaluate()
    del trainer
    gc.collect()


if __name__ == "__main__":
    sys.exit(run(main))
