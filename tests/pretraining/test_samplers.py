from collections import Counter

import pytest

from hf_multitask.pretraining.samplers import Shuffled, TwoOfEachClass

LABELS = [0] * 7 + [1] * 20 + [2] * 3
SAMPLERS = {
    "shuffled": lambda seed=0: Shuffled(29, 4, seed=seed),
    "two of each": lambda seed=0: TwoOfEachClass(LABELS, 14, seed=seed),
}


def read(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_epoch_is_a_function_of_seed_and_number(name):
    build = SAMPLERS[name]
    assert read(build(), 3) == read(build(), 3)
    assert read(build(), 0) != read(build(), 1)
    assert read(build(0)) != read(build(1))


@pytest.mark.parametrize("name", SAMPLERS)
def test_batches_are_as_many_and_as_large_as_they_say(name):
    sampler = SAMPLERS[name]()
    batches = read(sampler)
    assert len(batches) == len(sampler)
    assert {len(batch) for batch in batches} == {sampler.batch_size}
    assert sampler.drop_last


def test_a_shuffled_epoch_holds_no_row_twice_and_leaves_none_out_for_ever():
    sampler = Shuffled(29, 4, seed=0)
    seen = set()
    for epoch in range(6):
        rows = [row for batch in read(sampler, epoch) for row in batch]
        assert len(set(rows)) == len(rows) == 28
        seen.update(rows)
    assert seen == set(range(29))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("batch_size", [6, 14, 25])
def test_each_group_has_two_different_rows_of_each_class_and_no_false_negative(batch_size, seed):
    sampler = TwoOfEachClass(LABELS, batch_size, seed=seed)
    assert sampler.groups == batch_size // 6
    for epoch in range(3):
        for batch in read(sampler, epoch):
            for start in range(0, len(batch), 6):
                group = batch[start : start + 6]
                assert len(set(group)) == 6
                pairs = [(LABELS[one], LABELS[other]) for one, other in zip(group[::2], group[1::2], strict=True)]
                # The diagonal is of one class; everything beside it is of two.
                assert pairs == [(0, 0), (1, 1), (2, 2)]


def test_classes_are_drawn_evenly_and_each_row_of_a_class_in_turn():
    sampler = TwoOfEachClass(LABELS, 6, seed=0)
    drawn = Counter(row for epoch in range(20) for batch in read(sampler, epoch) for row in batch)
    by_class = Counter()
    for row, count in drawn.items():
        by_class[LABELS[row]] += count
    assert len(set(by_class.values())) == 1
    assert set(drawn) == set(range(len(LABELS)))


@pytest.mark.parametrize(
    ("labels", "batch_size", "parts"),
    [
        ([1, 1, 1], 8, ["two classes or more", "Got 1 in 3 rows"]),
        ([], 8, ["Got 0 in 0 rows"]),
        ([0, 0, 1, 2, 2], 8, ["two different sentences of each class", "one alone of 1."]),
        ([0, 0, 1, 1, 2, 2], 5, ["each of the 3 classes, 6 in all", "batch_size is 5. Raise it to 6 or more"]),
        ([0, 1, 1, 2], 4, ["one alone of 0, 2.", "Raise it to 6"]),
    ],
)
def test_what_makes_no_group_is_said(labels, batch_size, parts):
    with pytest.raises(ValueError, match="class") as caught:
        TwoOfEachClass(labels, batch_size, seed=0)
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    ("rows", "batch_size", "part"), [(9, 1, "2 or more. Got 1."), (3, 4, "needs 4 different rows")]
)
def test_what_makes_no_batch_is_said(rows, batch_size, part):
    with pytest.raises(ValueError, match=part):
        Shuffled(rows, batch_size, seed=0)
