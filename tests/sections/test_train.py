from dataclasses import asdict, fields
from pathlib import Path

import pytest
import torch

from hf_multitask.aggregators import AGGREGATORS, PCGrad, build_aggregator
from hf_multitask.arguments import MultitaskTrainingArguments, computes_bf16
from hf_multitask.models.heads import HEADS
from hf_multitask.models.objectives import OBJECTIVES
from hf_multitask.recipe import RecipeError, read_recipe, write_recipe
from hf_multitask.regularizers import Bregman, Smart
from hf_multitask.schedules import SCHEDULES, build_schedule
from hf_multitask.sections.evaluate import EvaluateRecipe
from hf_multitask.sections.parts import SOURCES
from hf_multitask.sections.pretrain import PretrainRecipe
from hf_multitask.sections.train import TrainRecipe
from hf_multitask.tasks import TASKS

RECIPES = {TrainRecipe: [], EvaluateRecipe: ["--model", "somewhere"]}
"""Every recipe, and what it cannot do without."""

RECIPE_FILES = Path(__file__).parents[2] / "recipes" / "configs"
MOOD = "{name: mood, objective: {class: Classification, labels: [no, yes, maybe]}}"


def train(*argv):
    return read_recipe(TrainRecipe, argv)


def faults(*argv):
    with pytest.raises(RecipeError) as caught:
        train(*argv)
    return list(caught.value.faults)


@pytest.mark.parametrize("kind", RECIPES)
def test_needs_are_few_and_the_rest_has_defaults(kind, tmp_path):
    recipe = read_recipe(kind, RECIPES[kind])
    path = write_recipe(recipe, tmp_path)
    assert read_recipe(kind, ["--config", str(path)]) == recipe


@pytest.mark.parametrize("kind", RECIPES)
def test_a_mistyped_option_names_the_nearest(kind):
    for part in fields(kind):
        with pytest.raises(RecipeError, match=f"Did you mean '{part.name}'"):
            read_recipe(kind, [*RECIPES[kind], f"--{part.name}x", "1"])


@pytest.mark.parametrize("kind", RECIPES)
def test_data_dir_is_short_for_the_course(kind):
    recipe = read_recipe(kind, [*RECIPES[kind], "--data_dir", "somewhere"])
    assert recipe.data.source == {"class": "Course", "data_dir": "somewhere"}


def test_a_rich_recipe_reads_back_equal(tmp_path):
    recipe = train(
        "--tasks", f"[sst, sts, {MOOD}]", "--tasks.sts.head.class", "Cosine", "--tasks.mood.data",
        "{class: Hub, repo: me/moods, columns: {first: text}, rescale: [[1, 5], [0, 5]]}", "--data.limit.sst", "100",
        "--schedule", "{class: EndWith, schedule: {class: Annealed}, task: sts}", "--training.learning_rate", "2e-5",
        "--training.lr_scheduler_kwargs", "{num_cycles: 2}", "--model.size", "{num_hidden_layers: 2}",
        "--compare", "bag_of_words", "--early_stopping", "2", "--training.report_to", "[tensorboard, wandb]",
    )  # fmt: skip
    path = write_recipe(recipe, tmp_path)
    assert read_recipe(TrainRecipe, ["--config", str(path)]) == recipe
    assert recipe.training["learning_rate"] == 2e-5
    assert recipe.tasks[2].objective["labels"] == ["no", "yes", "maybe"]
    assert recipe.tasks[1].head == {"class": "Cosine"}


@pytest.mark.parametrize("name", TASKS)
def test_a_built_in_task_needs_only_its_name(name):
    (section,) = train("--tasks", name).tasks
    assert section.build() == TASKS[name]


def test_a_built_in_task_may_differ_in_some_fields():
    (section,) = train("--tasks", "[{name: sts, weight: 2, objective: {bounded: true}}]").tasks
    expected = {**TASKS["sts"].describe(), "name": "sts", "weight": 2.0, "data": None}
    expected["objective"] = {**expected["objective"], "bounded": True}
    assert asdict(section) == expected


def test_a_task_of_ones_own():
    (section,) = train("--tasks", f"[{MOOD}]", "--tasks.mood.data", "{class: Files, train: a.csv, dev: b.csv}").tasks
    assert section.build().objective.labels == ("no", "yes", "maybe")
    assert section.data == {"class": "Files", "train": "a.csv", "dev": "b.csv"}


@pytest.mark.parametrize(
    ("option", "family"),
    [
        ("--schedule.class", SCHEDULES),
        ("--aggregator.class", AGGREGATORS),
        ("--data.source.class", SOURCES),
        ("--tasks.sst.head.class", HEADS),
        ("--tasks.sst.objective.class", OBJECTIVES),
        ("--tasks.sst.data.class", SOURCES),
    ],
)
def test_every_family_names_its_members(option, family):
    (fault,) = faults(option, "Nobody")
    assert f"Choices: {', '.join(family)}." in fault


def test_a_schedule_that_was_read_can_be_built():
    assert build_schedule(train("--schedule", "{class: Annealed, end: 1e-1}").schedule).end == 0.1


def test_an_aggregator_that_was_read_can_be_built_and_needs_but_some_steps_of_several_tasks():
    sometimes = "{class: EndWith, schedule: {class: RoundRobin}, task: sts}"
    recipe = train("--aggregator.class", "PCGrad", "--schedule", sometimes)
    assert isinstance(build_aggregator(recipe.aggregator), PCGrad)
    assert train().aggregator is train("--aggregator", "null").aggregator is None


def test_regularizers_are_read_built_and_changed_one_by_one():
    words = ["--regularizers", "[{class: Smart, norm: 2}, {class: Bregman, beta: {class: BetaSchedule, after: 0.2}}]"]
    smart, bregman = train(*words, "--regularizers.0.weight", "3").methods()["regularizers"]
    assert (type(smart), smart.weight, smart.norm) == (Smart, 3, "2")
    assert (type(bregman), bregman.beta.after) == (Bregman, 0.2)
    (bregman,) = train("--regularizers", "[{class: Bregman, beta: 0.5}]").methods()["regularizers"]
    assert bregman.beta(1, 2) == 0.5
    assert train().methods()["regularizers"] == []


@pytest.mark.parametrize(
    ("argv", "fault"),
    [
        (["--tasks", "stss"], "tasks.stss: Unknown task 'stss'. Did you mean 'sts'?"),
        (["--tasks", "[]"], "tasks is empty. Name one or more of sst, qqp"),
        (["--tasks", "sst,sst"], "Task 'sst' is there 2 times."),
        (["--tasks", "[{name: mood}]"], "tasks.mood: Unknown task 'mood'."),
        (["--tasks.sst.head.class", "Cosine"], "tasks.sst: Cosine gives one score a row."),
        (["--tasks.sst.head.class", "Concat"], "tasks.sst: the head Concat compares two texts, and this task has one."),
        (["--tasks.sst.metric", "person"], "tasks.sst: Unknown metric of this task 'person'."),
        (["--tasks.sts.metric", "accuracy"], "tasks.sts: Unknown metric of this task 'accuracy'."),
        (["--tasks.sst.weight", "-1"], "tasks.sst: Task 'sst' needs a weight of zero or more. Got -1."),
        (["--tasks.sts.objective", "{low: 5, high: 1}"], "tasks.sts.objective: Regression needs low < high."),
        (["--data.limit.stss", "5"], "data.limit: Unknown task 'stss'. Did you mean 'sts'?"),
        (["--data.limit.sst", "0"], "data: limit.sst must be 1 or more. Got 0."),
        (["--data.max_length", "2"], "data: max_length must be 3 or more"),
        (["--data.on_bad_row", "droop"], "data.on_bad_row: Unknown choice 'droop'. Did you mean 'drop'?"),
        (["--data.source.class", "Course"], "data.source: Course needs 'data_dir'."),
        (["--model.pooling", "max"], "model.pooling: Unknown choice 'max'. Choices: cls, mean, pooler."),
        (["--model.dropout", "1"], "model: dropout must be at least 0 and below 1. Got 1."),
        (["--model.size.hidden_size", "100"], "model: MinBertConfig cannot hold this model: hidden_size 100"),
        (["--model.size.vocab_size", "100"], "model.size: Unknown field of MinBertConfig 'vocab_size'."),
        (["--schedule", "{class: Temperature, t: 0}"], "schedule: Temperature must be above zero. Got 0."),
        (["--schedule", "{class: EndWith, schedule: {class: X}, task: sts}"], "schedule: Unknown schedule 'X'."),
        (["--aggregator.class", "PCGrad", "--schedule.class", "Annealed"], "under Annealed no step of sst, qqp, sts"),
        (["--aggregator.class", "PCGrad", "--tasks", "sst"], "under RoundRobin no step of sst holds two."),
        (["--aggregator.class", "PCGrad", "--loss", "mean"], "so does loss: mean. Leave loss at sum"),
        (["--aggregator", "{class: PCGrad, order: 1}"], "aggregator: Unknown option of PCGrad 'order'."),
        (["--regularizers", "[{class: Smrt}]"], "regularizers.0: Unknown regularizer 'Smrt'. Did you mean 'Smart'?"),
        (["--regularizers", "[{class: Smart, norm: l2}]"], "regularizers.0.norm: Unknown choice 'l2'."),
        (["--regularizers", "[{class: Smart, steps: 0}]"], "regularizers.0: steps of Smart must be 1 or more. Got 0."),
        (["--regularizers", "[{class: Bregman, beta: 2}]"], "regularizers.0: start of BetaSchedule must be between 0"),
        (["--regularizers", "[{class: Smart}, {class: Smart}]"], "regularizers: Smart is there 2 times."),
        (["--halve_on_rising_loss", "0"], "halve_on_rising_loss must be 1 or more, or null. Got 0."),
        (["--data.stream.sst", "0"], "data: stream.sst must be 1 or more. Got 0."),
        (["--data.stream", "{ssst: 5}"], "data.stream: Unknown task 'ssst'. Did you mean 'sst'?"),
        (["--data.stream", "{sst: 5}", "--data.limit", "{sst: 5}"], "stream.sst is a limit already. Leave limit out."),
        (["--data.stream", "{sst: 5}"], "A new trunk takes its vocabulary from all training rows"),
        (["--loss", "summ"], "loss: Unknown choice 'summ'. Did you mean 'sum'?"),
        (["--early_stopping", "0"], "early_stopping must be 1 or more, or null. Got 0."),
        (["--training.metric_for_best_model", "sst_acuracy"], "Did you mean 'sst_accuracy'"),
        (["--training.metric_for_best_model", "eval_sick_pearson"], "Unknown metric 'sick_pearson'"),
        (["--resume", "auto", "--overwrite"], "resume goes on with what overwrite would replace."),
        (["--model.attn_implementation", "sdpa"], "attn_implementation is for a pretrained trunk"),
        (["--compare", "bag"], "compare.bag: Unknown choice 'bag'."),
        (["--learning_rate", "1"], "Unknown option 'learning_rate'. Did you mean 'training.learning_rate'?"),
        (["--training.learning_rte", "1"], "Did you mean 'learning_rate'?"),
        (["--training.learning_rate", "fast"], "training.learning_rate: Expected a number. Got 'fast'."),
        (["--training.optim", "adam"], "training.optim: Unknown choice 'adam'."),
        (["--training.seed", "1"], "training.seed: Set 'seed' at the top of the recipe instead."),
        (["--training.resume_from_checkpoint", "x"], "Set 'resume' at the top of the recipe instead."),
    ],
)
def test_a_fault_is_named_once_and_where_it_is(argv, fault):
    (found,) = faults(*argv)
    assert fault in found


def test_the_trainer_gets_what_the_recipe_says(tmp_path):
    recipe = train(
        "--output_dir", str(tmp_path), "--seed", "7", "--loss", "mean", "--early_stopping", "2",
        "--training", "{learning_rate: 2e-5, num_train_epochs: 1}",
    )  # fmt: skip
    arguments = recipe.arguments()
    assert isinstance(arguments, MultitaskTrainingArguments)
    assert (arguments.output_dir, arguments.seed, arguments.loss) == (str(tmp_path), 7, "mean")
    assert (arguments.early_stopping, arguments.learning_rate, arguments.num_train_epochs) == (2, 2e-5, 1.0)


@pytest.mark.parametrize("kind", [TrainRecipe, PretrainRecipe])
@pytest.mark.parametrize("computes", [True, False])
def test_auto_is_bfloat16_where_the_machine_computes_in_it(kind, computes, monkeypatch, caplog):
    computes_bf16.cache_clear()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: computes)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    recipe = read_recipe(kind, ["--training.bf16", "auto"])
    assert recipe.arguments().bf16 is computes
    assert f"this machine {'computes' if computes else 'does not compute'} in bfloat16" in caplog.text
    computes_bf16.cache_clear()


def test_the_best_is_chosen_by_the_score_where_nothing_is_said():
    recipe = read_recipe(TrainRecipe, ["--training.metric_for_best_model", "null"])
    assert recipe.arguments().metric_for_best_model == "score"


def test_what_the_trainer_refuses_is_a_fault_of_the_recipe():
    with pytest.raises(RecipeError, match=r"training: .*save"):
        train("--training.save_strategy", "no").arguments()
    with pytest.raises(RecipeError, match="epochs is not a valid"):
        train("--training.eval_strategy", "epochs").arguments()


CONFIGS = sorted((Path(__file__).parents[2] / "recipes" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_training_recipe_that_ships_is_whole(path):
    assert train("--config", str(path)).tasks


def test_rows_that_are_answered_are_no_stream():
    with pytest.raises(RecipeError, match=r"data\.stream is for train\.py"):
        read_recipe(EvaluateRecipe, ["--model", "somewhere", "--data.stream", "{sst: 5}"])


def test_a_trunk_upon_the_demo_is_warned_of(caplog):
    words = ["--model.trunk", "bert-base-uncased"]
    read_recipe(TrainRecipe, words, default=RECIPE_FILES / "demo.yaml")
    assert "Without --config, what is not said is as in demo.yaml" in caplog.text
    caplog.clear()
    real = ["--config", str(RECIPE_FILES / "real.yaml")]
    read_recipe(TrainRecipe, [*real, *words], default=RECIPE_FILES / "demo.yaml")
    read_recipe(TrainRecipe, ["--model.trunk", "null"], default=RECIPE_FILES / "demo.yaml")
    assert not caplog.text
