"""Measure what things cost, in turns on the same batches, and print ratios."""

import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path

# This folder holds an evaluate.py, which would hide the library of that name.
HERE = Path(__file__).resolve().parent
sys.path = [place for place in sys.path if Path(place).resolve() != HERE]

import datasets
import torch
import transformers

from hf_multitask.benchmarks import (
    compiled,
    data,
    everything,
    floor,
    gradients,
    growth,
    pals,
    prediction,
    regularizers,
    training,
)
from hf_multitask.benchmarks.profiles import where_time_goes
from hf_multitask.benchmarks.table import markdown
from hf_multitask.benchmarks.turns import in_turns
from hf_multitask.benchmarks.workload import Workload
from hf_multitask.recipe import read_recipe, run
from hf_multitask.sections.benchmark import BenchmarkRecipe

SUITES = {
    "compiled": compiled.contenders,
    "data": data.contenders,
    "everything": everything.contenders,
    "floor": floor.contenders,
    "gradients": gradients.contenders,
    "growth": growth.contenders,
    "pals": pals.contenders,
    "prediction": prediction.contenders,
    "regularizers": regularizers.contenders,
    "training": training.contenders,
}


def main(argv):
    recipe = read_recipe(BenchmarkRecipe, argv)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    workload = Workload(recipe.layers, recipe.width, recipe.rows, bf16=recipe.bf16, seed=recipe.seed)
    threads = f"{torch.get_num_threads()} threads"
    named = {"cpu": threads, "cuda": torch.cuda.is_available() and torch.cuda.get_device_name()}
    machine = named.get(workload.device, workload.device)
    about = f"{workload.name}, {recipe.rows} rows of each of three tasks a step, {machine}"
    folder = Path(recipe.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    tables, lines = [], {}
    if recipe.profile:
        tables.append(f"where a step's time goes: {about}\n\n{where_time_goes(workload.training(workload.model()))}")
        print(f"\n{tables[-1]}")
    for suite in recipe.suites:
        lines[suite] = in_turns(SUITES[suite](workload), rounds=recipe.rounds, budget=recipe.budget)
        tables.append(f"{suite}: {about}, {lines[suite][0].rounds} rounds\n\n{markdown(lines[suite])}")
        print(f"\n{tables[-1]}")
        # After each suite, for the next may fail.
        found = {name: [asdict(line) for line in measured] for name, measured in lines.items()}
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        kept = {"recipe": asdict(recipe), "machine": machine, "versions": versions, "suites": found}
        (folder / "benchmark.json").write_text(json.dumps(kept, indent=2) + "\n")
        (folder / "benchmark.md").write_text("\n\n".join(tables) + "\n")
    if "growth" in lines:
        growth.draw(lines["growth"], folder)


if __name__ == "__main__":
    sys.exit(run(main))
