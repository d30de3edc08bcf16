"""What trainers are told."""

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


@pytest.mark.parametrize("options", [{"label_smoothing_factor": 0.1}, {"dataloader_drop_last": True}])
def test_what_would_be_ignored_is_refused(options, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(options))} would change nothing here"):
        MultitaskTrainingArguments(str(tmp_path), **options)
