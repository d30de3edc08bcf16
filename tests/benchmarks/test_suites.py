import pytest
import torch

from hf_multitask.benchmarks import gradients, pals, regularizers, training
from hf_multitask.benchmarks.texts import text_rows, tokenizer
from hf_multitask.benchmarks.workload import Workload
from hf_multitask.tuners.pal import PalConfig

TINY = Workload(layers=1, width=24, rows=2, batches=2, vocabulary=1100)


@pytest.mark.parametrize("suite", [gradients, pals, regularizers])
@pytest.mark.parametrize("bf16", [False, True])
def test_every_contender_of_a_suite_takes_a_step(suite, bf16):
    for contender in suite.contenders(Workload(layers=1, width=24, rows=2, batches=2, vocabulary=1100, bf16=bf16)):
        contender.step(0)
        contender.step(1)


def test_trainers_train_on_the_same_rows():
    done = {contender.name: contender for contender in training.contenders(TINY)}
    for contender in done.values():
        contender.step(0)
        contender.step(1)
    assert {contender.rows for contender in done.values()} == {12, 8}


def test_texts_are_as_long_as_they_are_drawn():
    workload = Workload(vocabulary=1100)
    for task, mean in (("sst", 25), ("qqp", 30)):
        rows = text_rows(workload, task, 500)
        kept = tokenizer(workload)(rows["first"][:], rows["second"][:] if task == "qqp" else None)["input_ids"]
        assert sum(map(len, kept)) / 500 == pytest.approx(mean, abs=2)
        assert not any(1 in ids for ids in kept)


def test_batches_hold_every_task_and_real_lengths():
    workload = Workload(rows=64, batches=16)
    lengths = torch.cat([batch["lengths"][batch["rows"]["sst"]] for batch in workload.steps]).double()
    assert lengths.mean() == pytest.approx(25, abs=6)
    assert all(batch["rows"].keys() == {"sst", "qqp", "sts"} for batch in workload.steps)
    # Near lengths share a batch: a random batch is 40 percent padding.
    padded = sum(int(b["lengths"][r].max()) * len(r) for b in workload.steps for r in b["rows"].values())
    assert sum(len(batch["input_ids"]) for batch in workload.steps) / padded > 0.75


def test_a_step_trains():
    model = TINY.model()
    before = model.heads["sst"].out.weight.clone()
    TINY.training(model)(0)
    assert not torch.equal(model.heads["sst"].out.weight, before)


def test_a_pal_has_as_many_parameters_as_in_the_authors_code():
    base = Workload(layers=12, width=768, vocabulary=1100)
    assert pals.bert_n_pals(base) == 1_819_836
    assert pals.added(TINY, PalConfig(width=204)) == pals.bert_n_pals(TINY)
