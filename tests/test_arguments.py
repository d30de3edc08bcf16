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
