import re

import torch

from hf_multitask.benchmarks.memory import held_bytes
from hf_multitask.benchmarks.profiles import where_time_goes
from hf_multitask.benchmarks.regularizers import regularized
from hf_multitask.benchmarks.workload import Workload
from hf_multitask.regularizers import Bregman

TINY = Workload(layers=1, width=24, rows=2, batches=2, vocabulary=1100)


def test_parts_of_a_step_make_the_whole_of_it():
    table = where_time_goes(TINY.training(TINY.model()))
    *parts, whole = [float(share) for share in re.findall(r"([\d.-]+)% ", table)]
    assert whole == 100
    assert abs(sum(parts) - 100) < 1
    assert "products backward" in table
    assert len(table.splitlines()) < 25


def test_what_a_step_holds_is_weights_their_moments_and_a_teacher():
    model = TINY.model()
    weights = sum(parameter.numel() for parameter in model.parameters()) * 4
    batches = sum(t.nbytes for batch in TINY.steps for t in tensors(batch))
    step = TINY.training(model)
    step(0)
    small = 5_000
    assert abs(held_bytes(step) - (3 * weights + batches)) < small
    taught = regularized(TINY, Bregman(weight=1))
    taught(0)
    assert abs(held_bytes(taught) - held_bytes(step) - weights) < small


def tensors(batch):
    if isinstance(batch, torch.Tensor):
        return [batch]
    return [t for value in batch.values() for t in tensors(value)] if isinstance(batch, dict) else []
