from pathlib import Path

import pytest

from hf_multitask.help import help_text
from hf_multitask.pretraining.stages import STAGES, SimCSE
from hf_multitask.pretraining.texts import TEXTS
from hf_multitask.recipe import RecipeError, read_recipe, write_recipe
from hf_multitask.schema import defaults, walk
from hf_multitask.sections.pretrain import PretrainRecipe

CONFIGS = sorted((Path(__file__).parents[2] / "recipes" / "configs" / "pretrain").glob("*.yaml"))


def pretrain(*argv):
    return read_recipe(PretrainRecipe, argv)


def faults(*argv):
    with pytest.raises(RecipeError) as caught:
        pretrain(*argv)
    return list(caught.value.faults)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_that_ships_is_whole_and_reads_back_equal(path, tmp_path):
    recipe = pretrain("--config", str(path))
    assert pretrain("--config", str(write_recipe(recipe, tmp_path))) == recipe


def test_help_holds_every_setting_and_every_member():
    text = help_text(PretrainRecipe, defaults(PretrainRecipe), [])
    assert max(map(len, text.splitlines())) <= 100
    assert all(path in text for path, _, _ in walk(PretrainRecipe))
    assert all(f"{name}: " in text for name in [*STAGES, *TEXTS])


@pytest.mark.parametrize(
    ("argv", "fault"),
    [
        (["--objective.class", "SimCES"], "objective: Unknown objective 'SimCES'. Did you mean 'SimCSE'?"),
        (["--objective.temperature", "0"], "objective: temperature must be above zero. Got 0."),
        (["--objective", "{class: ClassRanking, task: stt}"], "objective.task: Unknown task 'stt'."),
        (["--objective", "{class: ClassRanking, task: qqp}"], "objective.task: ClassRanking reads single texts"),
        (["--objective", "{class: Ranking, task: sts}"], "objective.task: Ranking reads pairs that are duplicates"),
        (["--objective.class", "Ranking", "--text_file", "x"], "text is what SimCSE reads; Ranking reads the rows of"),
        (["--text", "{class: TaskTexts, names: [stt]}"], "text: Unknown task 'stt'. Did you mean"),
        (["--text.class", "TextFile"], "text: TextFile needs 'text_file'."),
        (["--similarity", "qqp"], "similarity: cosine is compared with the numbers of pairs, and 'qqp' has none."),
        (["--similarity", "stt"], "similarity: Unknown task 'stt'."),
        (["--probe", "qqp"], "probe: a probe tells the classes of single texts, and 'qqp' has none."),
        (["--similarity", "null", "--probe", "null"], "Nothing judges the result."),
        (["--model.pooling", "pooler"], "model.pooling: Unknown choice 'pooler'. Choices: cls, mean."),
        (["--model.freeze_trunk"], "model.freeze_trunk leaves nothing to train."),
        (["--model.size.hidden_size", "100"], "model: MinBertConfig cannot hold this model"),
        (["--training.batch_sampler", "x"], "training: Unknown field of PretrainingArguments 'batch_sampler'."),
        (
            ["--training.auto_find_batch_size"],
            "training: Unknown field of PretrainingArguments 'auto_find_batch_size'.",
        ),
        (["--training.seed", "1"], "training.seed: Set 'seed' at the top of the recipe instead."),
        (["--data.limit.stss", "5"], "data.limit: Unknown task 'stss'."),
        (["--training.metric_for_best_model", "sts_spearman"], "Did you mean 'sts_spearman_cosine'"),
        (["--training.metric_for_best_model", "sst_accuracy", "--probe", "null"], "Unknown metric 'sst_accuracy'."),
        (["--resume", "auto", "--overwrite"], "resume goes on with what overwrite would replace."),
        (["--tasks", "sts,sts", "--probe", "null"], "Task 'sts' is there 2 times."),
    ],
)
def test_a_fault_is_named_once_and_where_it_is(argv, fault):
    (found,) = faults(*argv)
    assert fault in found


def test_an_objective_is_chosen_by_what_it_is_best_judged_by():
    assert pretrain().arguments().metric_for_best_model == "sts_spearman_cosine"
    ranking = pretrain("--objective.class", "ClassRanking")
    assert ranking.arguments().metric_for_best_model == "sst_accuracy"
    assert ranking.watched() == ["sts", "sst"]
    assert pretrain("--objective.class", "ClassRanking", "--probe", "null").chooses == "sts_spearman_cosine"
    assert pretrain("--similarity", "null").watched() == ["sst"]
    assert pretrain("--training.metric_for_best_model", "null").chooses == "sts_spearman_cosine"
    own = pretrain("--training.metric_for_best_model", "sst_accuracy")
    assert (own.chooses, own.watched()) == ("sst_accuracy", ["sts", "sst"])


@pytest.mark.parametrize(
    ("metric", "greater"), [("sts_spearman_cosine", True), ("sts_uniformity", False), ("eval_sts_alignment", False)]
)
def test_of_what_spreads_and_of_losses_less_is_better(metric, greater):
    words = ["--training.metric_for_best_model", metric]
    assert pretrain(*words).arguments().greater_is_better is greater
    assert pretrain(*words, "--training.greater_is_better", "true").arguments().greater_is_better is True


def test_rows_are_read_of_those_tasks_alone_that_need_be():
    def read(*argv):
        return [section.name for section in pretrain(*argv).read_tasks()]

    assert read() == ["sst", "qqp", "sts"]
    assert read("--text_file", "x") == ["sst", "sts"]
    assert read("--text_file", "x", "--probe", "null") == ["sts"]
    assert read("--objective.class", "Ranking", "--probe", "null") == ["qqp", "sts"]


def test_the_stage_is_what_the_recipe_says():
    assert pretrain("--objective", "{class: SimCSE, temperature: 1e-1, length: 9}").stage() == SimCSE(0.1, length=9)


def test_what_the_trainer_refuses_is_a_fault_of_the_recipe():
    with pytest.raises(RecipeError, match=r"training: .*save"):
        pretrain("--training.save_strategy", "no").arguments()
