import pytest
import torch

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
from hf_multitask.benchmarks.products import bare
from hf_multitask.benchmarks.texts import text_rows, tokenizer
from hf_multitask.benchmarks.turns import Contender, in_turns, multiplications
from hf_multitask.benchmarks.workload import Workload
from hf_multitask.tuners.pal import PalConfig

TINY = Workload(layers=1, width=24, rows=2, batches=2, vocabulary=1100)


@pytest.mark.parametrize("suite", [gradients, pals, regularizers])
@pytest.mark.parametrize("bf16", [False, True])
def test_every_contender_of_a_suite_takes_a_step(suite, bf16):
    for contender in suite.contenders(Workload(layers=1, width=24, rows=2, batches=2, vocabulary=1100, bf16=bf16)):
        contender.step(0)
        contender.step(1)


@pytest.mark.parametrize("suite", [compiled, everything, floor, prediction, training])
def test_every_contender_of_a_whole_suite_runs(suite, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    for contender in suite.contenders(TINY):
        contender.step(0)
        contender.step(1)


def test_data_is_prepared_by_every_contender(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "ROWS", 50)
    monkeypatch.setattr(data, "grown", lambda workload, count, prepare: count)
    for contender in data.contenders(TINY):
        contender.step(0)
    data.write(TINY, tmp_path, 20)
    assert data.load(tmp_path).num_rows == 20
    assert data.growth(TINY, data.ours, tmp_path) >= 0


def test_what_grows_is_drawn(monkeypatch, tmp_path):
    monkeypatch.setattr(growth, "LENGTHS", (8, 16))
    monkeypatch.setattr(growth, "BATCHES", (2, 4))
    monkeypatch.setattr(growth, "NUMBERS", (1, 2))
    monkeypatch.setattr(growth, "PROCESSES", (2,))
    lines = in_turns(growth.contenders(TINY), rounds=2)
    work = {line.name: line.arithmetic for line in lines}
    assert work["batch 4"] == pytest.approx(2, rel=0.01)
    assert work["length 16"] > 2
    assert work["tasks 2"] == pytest.approx(1, rel=0.01)
    assert work["members 2"] == pytest.approx(2, rel=0.01)
    assert work["processes 2"] is None
    pictures = growth.draw(lines, tmp_path)
    assert [file.name for file in pictures] == [
        f"growth_{k}.png" for k in ("length", "batch", "tasks", "members", "processes")
    ]
    assert all(file.stat().st_size > 1000 for file in pictures)


def test_bare_products_are_those_of_the_step():
    step = TINY.training(TINY.model())
    alone = bare(step, 2)
    for i in (0, 1):
        ours, theirs = (multiplications(Contender("", lambda _, f=f, i=i: f(i))) for f in (step, alone))
        assert ours == theirs > 0


def test_bare_products_look_into_fused_attention():
    rows = [torch.ones(2, 3, 5, 4, requires_grad=True) for _ in range(3)]

    def attend(i):
        torch.nn.functional.scaled_dot_product_attention(*rows).sum().backward()

    assert multiplications(Contender("", bare(attend, 1))) == 7 * 2 * (2 * 3 * 5 * 5 * 4)


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
