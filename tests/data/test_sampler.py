import collections

import numpy as np
import pytest

from hf_multitask.data.sampler import MultitaskSampler, bucket
from hf_multitask.schedules import SCHEDULES, Proportional, RoundRobin, Sequential, build_schedule

DRAW = np.random.default_rng(5)
LENGTHS = {"a": DRAW.integers(3, 60, 37), "b": DRAW.integers(3, 60, 103), "c": DRAW.integers(3, 60, 8)}
OPTIONS = {"Temperature": {"t": 2.0}, "EndWith": {"schedule": {"class": "Uniform"}, "task": "c"}}
EVERY = [build_schedule({"class": name, **OPTIONS.get(name, {})}) for name in SCHEDULES]


def named(schedule):
    return type(schedule).__name__


def build(schedule, *, batch_size=4, epoch=0, **options):
    sampler = MultitaskSampler(LENGTHS, schedule, batch_size=batch_size, epochs=3, **options)
    sampler.set_epoch(epoch)
    return sampler


def steps_of(sampler):
    """The rows of each optimizer step, by task, whoever reads them; rows of weight zero are not read."""
    micro = list(sampler)
    for start in range(0, len(micro), sampler.shares):
        step = collections.defaultdict(list)
        for shares in micro[start : start + sampler.shares]:
            for share in shares:
                step[share.task] += [int(row) for row, w in zip(share.rows, share.weights, strict=True) if w]
        yield {task: sorted(rows) for task, rows in step.items()}


@pytest.mark.parametrize("schedule", EVERY, ids=named)
@pytest.mark.parametrize(("world", "accumulation", "batch_size"), [(2, 1, 6), (1, 3, 4), (2, 3, 2)])
def test_a_step_reads_the_same_rows_however_it_is_split(schedule, world, accumulation, batch_size):
    for epoch in range(2):
        whole = build(schedule, batch_size=12, epoch=epoch)
        split = build(schedule, batch_size=batch_size, epoch=epoch, world=world, accumulation=accumulation)
        assert list(steps_of(whole)) == list(steps_of(split))


@pytest.mark.parametrize("schedule", EVERY, ids=named)
@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_process_gets_the_same_tasks_and_something_to_do(schedule, world):
    sampler = build(schedule, world=world)
    micro = list(sampler)
    assert len(micro) == len(sampler)
    assert len(micro) % world == 0
    for start in range(0, len(micro), world):
        tasks = [[share.task for share in shares] for shares in micro[start : start + world]]
        assert all(names == tasks[0] for names in tasks)
        assert all(len(share.rows) for shares in micro[start : start + world] for share in shares)


@pytest.mark.parametrize(("world", "accumulation"), [(1, 1), (2, 1), (3, 2), (1, 5)])
def test_weights_make_the_mean_over_shares_the_mean_over_rows(world, accumulation):
    sampler = build(RoundRobin(), world=world, accumulation=accumulation)
    loss = {task: np.random.default_rng(1).normal(size=len(rows)) for task, rows in LENGTHS.items()}
    micro = list(sampler)
    for start, step in zip(range(0, len(micro), sampler.shares), steps_of(sampler), strict=True):
        for task, rows in step.items():
            parts = [s for shares in micro[start : start + sampler.shares] for s in shares if s.task == task]
            mean = sum((loss[task][s.rows] * s.weights).sum() for s in parts) / sampler.shares
            assert mean == pytest.approx(loss[task][rows].mean(), rel=1e-5)


@pytest.mark.parametrize("schedule", EVERY, ids=named)
@pytest.mark.parametrize("batch_size", [4, 5, 200])
def test_a_task_reshuffles_only_when_its_rows_have_run_out(schedule, batch_size):
    read = collections.defaultdict(list)
    for epoch in range(3):
        for step in steps_of(build(schedule, batch_size=batch_size, epoch=epoch)):
            for task, rows in step.items():
                read[task] += rows
    for task, rows in read.items():
        size = len(LENGTHS[task])
        passes = [rows[i : i + size] for i in range(0, len(rows), size)]
        assert all(len(set(one)) == len(one) for one in passes)
        if len(passes) > 2 and batch_size < size:
            assert passes[0] != passes[1]


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_bucketing_changes_the_batches_but_not_what_an_epoch_sees(epoch):
    schedule = Proportional(steps_per_epoch=9)
    near, plain = (build(schedule, epoch=epoch, window=window) for window in (16, 1))
    seen = [
        collections.Counter((task, row) for step in steps_of(s) for task, rows in step.items() for row in rows)
        for s in (near, plain)
    ]
    assert seen[0] == seen[1]


def test_batches_have_near_lengths():
    lengths = np.random.default_rng(0).integers(3, 60, 2000)
    rows = np.random.default_rng(1).permutation(2000)
    spread = [
        np.mean([np.ptp(lengths[b]) for b in bucket(rows, lengths, 32, window=w, shuffle=np.random.default_rng(2))])
        for w in (1, 16)
    ]
    assert spread[1] < 0.2 * spread[0]


def test_an_epoch_of_sequential_reads_every_row_once():
    rows = collections.Counter(
        (t, r) for step in steps_of(build(Sequential())) for t, rows in step.items() for r in rows
    )
    assert rows == collections.Counter((t, r) for t, lengths in LENGTHS.items() for r in range(len(lengths)))
    assert build(Sequential()).rows_in_epoch() == 37 + 103 + 8


@pytest.mark.parametrize("schedule", EVERY, ids=named)
def test_the_order_depends_on_seed_and_epoch_alone(schedule):
    def flat(sampler):
        return [(s.task, s.rows.tolist()) for shares in sampler for s in shares]

    np.random.seed(0)
    first = flat(build(schedule, seed=3, epoch=1))
    np.random.seed(1)
    assert flat(build(schedule, seed=3, epoch=1)) == first
    assert flat(build(schedule, seed=4, epoch=1)) != first
    assert flat(build(schedule, seed=3, epoch=2)) != first


def test_a_task_without_rows_is_named():
    with pytest.raises(ValueError, match="None for: b"):
        MultitaskSampler({"a": np.array([1]), "b": np.array([])}, RoundRobin(), batch_size=2)


def test_accelerate_finds_no_batch_size():
    assert not hasattr(build(RoundRobin()), "batch_size")
