import collections

import numpy as np
import pytest

from hf_multitask.schedules import (
    SCHEDULES,
    Annealed,
    Cycle,
    EndWith,
    Proportional,
    RoundRobin,
    Sequential,
    SquareRoot,
    Temperature,
    Uniform,
    build_schedule,
)

SIZES = {"small": 100, "large": 1000, "middle": 300}
PASSES = {"small": 4, "large": 32, "middle": 10}
OPTIONS = {"Temperature": {"t": 2.0}, "EndWith": {"schedule": {"class": "Uniform"}, "task": "middle"}}
DRAWN = [Proportional(), SquareRoot(), Temperature(2.0), Uniform(), Annealed()]


def plan(schedule, *, epoch=0, epochs=3, seed=0):
    draw = np.random.default_rng([seed, epoch])
    return schedule.plan(epoch, epochs, sizes=SIZES, passes=PASSES, draw=draw)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_plan_depends_on_its_arguments_alone_and_keeps_its_length(name):
    schedule = build_schedule({"class": name, **OPTIONS.get(name, {})})
    first = plan(schedule, epoch=1)
    assert first == plan(schedule, epoch=1)
    assert len(first) == len(plan(schedule, epoch=2)) > 0
    assert {task for step in first for task in step} <= set(SIZES)


@pytest.mark.parametrize("schedule", DRAWN, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("epochs", [1, 2, 10])
def test_probabilities_sum_to_one(schedule, epochs):
    for epoch in range(epochs):
        p = schedule.probabilities(epoch, epochs, SIZES)
        assert len(p) == 3
        assert min(p) > 0
        assert sum(p) == pytest.approx(1)


@pytest.mark.parametrize("schedule", DRAWN, ids=lambda s: type(s).__name__)
def test_the_draw_follows_the_probabilities(schedule):
    schedule.steps_per_epoch = 20_000
    counts = collections.Counter(task for (task,) in plan(schedule))
    for task, p in zip(SIZES, schedule.probabilities(0, 3, SIZES), strict=True):
        assert counts[task] / 20_000 == pytest.approx(p, abs=4 * (p * (1 - p) / 20_000) ** 0.5)


def test_round_robin_holds_every_task_until_the_largest_is_through():
    assert plan(RoundRobin()) == [("small", "large", "middle")] * 32
    assert len(plan(RoundRobin(steps_per_epoch=7))) == 7


def test_cycle_takes_turns_over_epochs_too():
    cut = Cycle(steps_per_epoch=4)
    turns = [step for epoch in range(3) for step in plan(cut, epoch=epoch)]
    assert turns == [("small",), ("large",), ("middle",)] * 4
    assert len(plan(Cycle())) == 96


def test_a_cycle_without_repeats_is_one_pass_over_each_task_in_turns():
    turns = plan(Cycle(repeat=False))
    assert collections.Counter(turns) == {(name,): steps for name, steps in PASSES.items()}
    assert turns[:12] == [("small",), ("large",), ("middle",)] * 4
    assert turns[12:24] == [("large",), ("middle",)] * 6
    assert set(turns[24:]) == {("large",)}


def test_sequential_gives_each_task_one_pass():
    assert plan(Sequential()) == [("small",)] * 4 + [("large",)] * 32 + [("middle",)] * 10


def test_annealed_follows_the_published_power():
    schedule = Annealed()
    for epoch in range(10):
        alpha = 1 - 0.8 * epoch / 9
        weights = np.array(list(SIZES.values()), dtype=float) ** alpha
        np.testing.assert_allclose(schedule.probabilities(epoch, 10, SIZES), weights / weights.sum())
    assert schedule.probabilities(0, 1, SIZES) == Proportional().probabilities(0, 1, SIZES)


def test_annealed_goes_down_within_a_run_of_one_epoch():
    schedule = Annealed(steps_per_epoch=40_000)
    steps = [task for (task,) in plan(schedule, epochs=1)]
    for part, done in ((steps[:4000], 0.05), (steps[-4000:], 0.95)):
        weights = np.array(list(SIZES.values()), dtype=float) ** (1 - 0.8 * done)
        for task, p in zip(SIZES, weights / weights.sum(), strict=True):
            assert part.count(task) / 4000 == pytest.approx(p, abs=4 * (p * (1 - p) / 4000) ** 0.5 + 0.003)
    assert len(plan(Annealed(), epochs=1)) == sum(PASSES.values())


def test_annealed_goes_down_within_a_part_of_an_epoch():
    schedule = Annealed(steps_per_epoch=40_000)
    whole, part = plan(Annealed(steps_per_epoch=10_000), epochs=1), plan(schedule, epochs=0.25)
    assert part[:10_000] == whole
    rest = [task for (task,) in part[10_000:]]
    weights = np.array(list(SIZES.values()), dtype=float) ** 0.2
    for task, p in zip(SIZES, weights / weights.sum(), strict=True):
        assert rest.count(task) / 30_000 == pytest.approx(p, abs=0.02)


def test_temperature_one_is_proportional_and_two_is_the_square_root():
    assert Temperature(1.0).probabilities(0, 1, SIZES) == Proportional().probabilities(0, 1, SIZES)
    assert Temperature(2.0).probabilities(0, 1, SIZES) == SquareRoot().probabilities(0, 1, SIZES)


def test_end_with_adds_a_whole_pass():
    inner = Uniform(steps_per_epoch=5)
    steps = plan(EndWith(inner, task="middle"))
    assert steps == plan(inner) + [("middle",)] * 10


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"class": "Aneal"}, "Did you mean 'Annealed'"),
        ({"class": "RoundRobin", "steps_an_epoch": 3}, "Did you mean 'steps_per_epoch'"),
        ({"class": "RoundRobin", "steps_per_epoch": 0}, "one or more. Got 0"),
        ({"class": "Temperature"}, "needs 't'"),
        ({"class": "Temperature", "t": 0}, "above zero"),
    ],
)
def test_mistakes_are_named(spec, complaint):
    with pytest.raises(ValueError, match=complaint):
        build_schedule(spec)


def test_end_with_names_the_nearest_task():
    with pytest.raises(ValueError, match="Did you mean 'middle'"):
        plan(EndWith(Uniform(), task="midle"))
