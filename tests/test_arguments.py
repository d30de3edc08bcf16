"""What trainers are told."""

import re

import pytest

from hf_multitask.arguments import MultitaskTrainingArguments
from hf_multitask.pretraining.trainer import PretrainingArguments


@pytest.mark.parametrize("kind", [MultitaskTrainingArguments, PretrainingArguments])
@pytest.mark.parametrize(("seen", "used"), [(0, 0), (1, 1), (4, 1)])
def test_a_process_trains_on_one_gpu_of_those_that_it_sees(kind, seen, used, tmp_path):
    arguments = kind(str(tmp_path), per_device_train_batch_size=8)
    arguments._n_gpu = seen
    assert (arguments.n_gpu, arguments.train_batch_size) == (used, 8)


def test_a_steps_rows_are_those_of_all_micro_steps(tmp_path):
    arguments = MultitaskTrainingArguments(str(tmp_path), per_device_train_batch_size=8, gradient_accumulation_steps=3)
    assert arguments.step_rows == 24


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing_factor": 0.1},
        {"dataloader_drop_last": True},
        {"train_sampling_strategy": "group_by_length"},
        {"bf16_full_eval": True},
        {"dataloader_persistent_workers": True},
        {"neftune_noise_alpha": 5.0},
    ],
)
def test_what_would_be_ignored_is_refused(options, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(options))} would not do here what it says"):
        MultitaskTrainingArguments(str(tmp_path), **options)


@pytest.mark.parametrize(("metric", "greater"), [("score", True), ("sst_accuracy", True), ("eval_sst_loss", False)])
def test_of_a_loss_less_is_better(metric, greater, tmp_path):
    assert MultitaskTrainingArguments(str(tmp_path), metric_for_best_model=metric).greater_is_better is greater


def test_early_stopping_without_evaluations_is_refused(tmp_path):
    options = {"eval_strategy": "no", "load_best_model_at_end": False}
    with pytest.raises(ValueError, match="early_stopping counts evaluations, and eval_strategy is no"):
        MultitaskTrainingArguments(str(tmp_path), early_stopping=2, **options)


@pytest.mark.parametrize("kind", [MultitaskTrainingArguments, PretrainingArguments])
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size must be 1 or more. Got 0."),
        ({"num_train_epochs": -1}, "num_train_epochs must be 0 or more. Got -1."),
        ({"max_steps": 0}, "max_steps must be 1 or more, or -1 for all epochs. Got 0."),
        ({"seed": -1, "learning_rate": -1e-5}, "learning_rate must be 0 or more. Got -1e-05. seed must be 0 or more"),
    ],
)
def test_numbers_that_are_too_low_are_named(kind, options, complaint, tmp_path):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        kind(str(tmp_path), **options)
