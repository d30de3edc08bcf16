import logging
import pickle
import random
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from datasets import Dataset

from hf_multitask.data import rows
from hf_multitask.data.rows import DataError, Fault, Place, Row, Unreadable, load, load_all, overlap
from hf_multitask.models.objectives import Binary, Classification
from hf_multitask.tasks import QQP, SST, STS, TASKS, Task


@dataclass(frozen=True)
class Given:
    """Rows written down in a test: (first, second, label), or whatever else stands there as it is."""

    values: tuple
    error: Exception | None = None

    def splits(self, task):
        return rows.SPLITS

    def rows(self, task, split):
        for line, value in enumerate(self.values, 2):
            place = Place(f"{task.name}.csv", line)
            yield value._replace(place=place) if isinstance(value, Row) else Row(place, f"r{line}", *value)
        if self.error:
            raise self.error


def good(task: Task, count: int = 4) -> tuple:
    return tuple((f"one {i}", f"two {i}", str(float(i % 2))) for i in range(count))


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
def test_every_task_gets_its_columns(task, chunk, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", chunk)
    loaded = load(task, "train", Given(good(task)))
    assert loaded.column_names == (["id", "first", "second", "label"] if task.pair else ["id", "first", "label"])
    assert loaded.features["label"].dtype == ("int64" if task.objective.labels else "float32")
    assert loaded["id"][:] == ["r2", "r3", "r4", "r5"]
    assert loaded["first"][:] == [f"one {i}" for i in range(4)]
    assert loaded["label"][:] == [0, 1, 0, 1]


def test_texts_and_ids_lose_the_space_around_them():
    loaded = load(SST, "dev", Given((Row(Place(""), 7, " It 's fine .\n", label="3"),)))
    assert loaded[0] == {"id": "7", "first": "It 's fine .", "label": 3}


@pytest.mark.parametrize(
    ("task", "bad", "kind", "sentence"),
    [
        (SST, ("a", None, "7.0"), "wrong label", "label 7 is not one of the ids 0 to 4 (very negative"),
        (SST, ("a", None, "1.5"), "wrong label", "label 1.5 is not one of the ids"),
        (SST, ("a", None, "inf"), "wrong label", "label inf is not one of the ids"),
        (SST, ("a", None, "neutrl"), "wrong label", "Unknown label 'neutrl'. Did you mean 'neutral'?"),
        (SST, ("a", None, [1]), "wrong label", "a label is a number or a name, not list"),
        (SST, ("a", None, 10**400), "wrong label", "Unknown label '1000"),
        (SST, ("a", None, " "), "no label", "the label is missing"),
        (SST, ("a", None, None), "no label", "the label is missing"),
        (SST, ("a", None, float("nan")), "no label", "the label is missing"),
        (SST, (" \t", None, "1"), "no text", "the text is missing"),
        (SST, (None, None, "1"), "no text", "the text is missing"),
        (SST, (5, None, "1"), "wrong text", "the text must be text, not int"),
        (SST, ("\ud83d", None, "1"), "wrong text", "the text holds half of a surrogate pair"),
        (SST, Row(Place(""), None, "a", None, 1), "no id", "the id is missing"),
        (SST, Row(Place(""), " ", "a", None, 1), "no id", "the id is missing"),
        (SST, Row(Place(""), broken="3 fields where the header has 4"), "broken line", "3 fields"),
        (QQP, ("a", "", "1"), "no text", "the second text is missing"),
        (QQP, ("", "a", "1"), "no text", "the first text is missing"),
        (STS, ("a", "b", "5.1"), "wrong label", "label 5.1 is outside 0 to 5"),
        (STS, ("a", "b", "high"), "wrong label", "label 'high' is no number"),
    ],
)
def test_a_bad_row_is_named_or_dropped(task, bad, kind, sentence, caplog):
    source = Given((*good(task, 2), bad, *good(task, 3)[2:]))
    with pytest.raises(DataError) as caught:
        load(task, "train", source)
    (fault,) = caught.value.faults
    assert fault[:4] == (task.name, "train", Place(f"{task.name}.csv", 4), kind)
    assert sentence in fault.text
    assert f"{task.name} train, {task.name}.csv:\n  line 4: {fault.text}" in str(caught.value)
    with caplog.at_level(logging.WARNING):
        assert load(task, "train", source, on_bad_row="drop")["id"][:] == ["r2", "r3", "r5"]
    (record,) = caplog.records
    expected = f"{task.name} train: dropped 1 of 4 rows ({kind}: 1), the first at {task.name}.csv, line 4."
    assert record.getMessage() == expected


def test_all_faults_come_at_once_in_the_order_of_their_lines(caplog):
    source = Given((("a", "b", ""), ("", "", "9"), Row(Place(""), broken="torn"), ("a", "b", "1")))
    with pytest.raises(DataError) as caught:
        load(QQP, "dev", source)
    assert [(fault.place.number, fault.kind) for fault in caught.value.faults] == [
        (2, "no label"),
        (3, "no text"),
        (3, "no text"),
        (3, "wrong label"),
        (4, "broken line"),
    ]
    assert len(load(QQP, "dev", source, on_bad_row="drop")) == 1
    assert "dropped 3 of 4 rows (no label: 1, no text: 1, broken line: 1)" in caplog.text


def test_labels_may_be_names():
    loaded = load(SST, "train", Given((("a", None, "very positive"), ("b", None, " neutral "), ("c", None, 1))))
    assert loaded["label"][:] == [4, 2, 1]


def test_names_that_are_numbers_are_not_mistaken_for_ids():
    stars = Task("stars", Classification(["1", "2", "3"]))
    assert load(stars, "dev", Given((("a", None, "1.0"), ("b", None, 3))))["label"][:] == [0, 2]
    with pytest.raises(DataError, match="Unknown label '0'"):
        load(stars, "dev", Given((("a", None, 0),)))


def test_true_and_false_are_names_and_no_ids():
    rows = Given((("a", None, True), ("b", None, False)))
    for names, ids in ((["true", "false"], [0, 1]), (["False", "True"], [1, 0])):
        assert load(Task("truth", Classification(names)), "dev", rows)["label"][:] == ids
    with pytest.raises(DataError, match="a label is a number or a name, not True"):
        load(Task("truth", Classification(["yes", "no"])), "dev", rows)


def test_only_a_test_split_may_be_unlabelled():
    bare = Given((("a", None, None), ("b", None, "")))
    assert load(SST, "test", bare).column_names == ["id", "first"]
    assert load(SST, "test", Given(good(SST))).column_names == ["id", "first", "label"]
    with pytest.raises(DataError, match=r"lines 2, 3: the label is missing"):
        load(SST, "dev", bare)
    half = Given((*bare.values, ("c", None, "2")))
    with pytest.raises(DataError, match=r"lines 2, 3: the label is missing"):
        load(SST, "test", half)
    assert load(SST, "test", half, on_bad_row="drop")["label"][:] == [2]


def test_an_unlabelled_test_split_is_still_checked():
    with pytest.raises(DataError) as caught:
        load(SST, "test", Given((("a", None, None), ("", None, None))))
    assert [fault.kind for fault in caught.value.faults] == ["no text"]


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_what_cannot_be_read_is_an_error_either_way(policy):
    source = Given((("", None, 1), ("a", None, 1)), Unreadable(Place("sst.csv", 9), "this is not UTF-8"))
    with pytest.raises(DataError, match="line 9: this is not UTF-8") as caught:
        load(SST, "train", source, on_bad_row=policy)
    assert len(caught.value.faults) == (2 if policy == "error" else 1)
    assert ("on_bad_row" in str(caught.value)) == (policy == "error")


@pytest.mark.parametrize("values", [(), (("", None, 1),)])
def test_a_split_needs_one_usable_row(values):
    with pytest.raises(DataError, match="no usable row"):
        load(SST, "train", Given(values), on_bad_row="drop")


def test_wrong_names_of_splits_and_policies_are_refused():
    with pytest.raises(ValueError, match=r"Unknown split 'tran'\. Did you mean 'train'\?"):
        load(SST, "tran", Given(()))
    with pytest.raises(ValueError, match="Unknown on_bad_row 'skip'"):
        load(SST, "train", Given(()), on_bad_row="skip")


def test_equal_faults_share_a_line_and_many_become_a_count():
    faults = [Fault("sst", "train", Place("a.csv", n), "no text", "the text is missing") for n in range(2, 30)]
    faults += [Fault("sst", "train", Place("a.csv", n), "wrong label", f"label {n} is wrong") for n in range(30, 90)]
    faults += [Fault("qqp", "dev", Place("b.csv"), "unreadable", "there is no such file", row=False)]
    lines = str(DataError(faults)).splitlines()
    assert lines[0] == "89 faults in the data."
    assert lines[1:3] == ["sst train, a.csv:", "  lines 2, 3, 4, 5, 6 and 23 more: the text is missing"]
    assert "  and 51 more" in lines
    assert "  there is no such file" in lines
    assert len(lines) < 20


def test_errors_survive_the_way_between_processes():
    for error in (DataError([Fault("sst", "dev", Place("a", 1), "k", "t")]), Unreadable(Place("a", 1), "t")):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_load_all_raises_the_faults_of_every_split_together():
    clean = Given(good(QQP))
    loaded = load_all([(QQP, "train", clean), (QQP, "dev", clean), (STS, "dev", clean)])
    assert set(loaded) == {("qqp", "train"), ("qqp", "dev"), ("sts", "dev")}
    requests = [
        (QQP, "train", Given((("a", "", 1),))),
        (QQP, "dev", clean),
        (STS, "dev", Given((("a", "b", 6),))),
        (SST, "dev", Given((), Unreadable(Place("sst.csv"), "the file is empty"))),
    ]
    with pytest.raises(DataError) as caught:
        load_all(requests)
    assert Counter((fault.task, fault.split) for fault in caught.value.faults) == {
        ("qqp", "train"): 1,
        ("sts", "dev"): 1,
        ("sst", "dev"): 1,
    }
    with pytest.raises(ValueError, match="'qqp' dev is asked for twice"):
        load_all([(QQP, "dev", clean), (QQP, "dev", clean)])


def test_labels_of_another_range_follow_their_objective():
    mood = Task("mood", Binary(["sad", "glad"]))
    assert load(replace(mood, pair=True), "dev", Given((("a", "b", "glad"),)))["label"][:] == [1]


@pytest.mark.parametrize("pair", [False, True])
def test_overlap_equals_a_slow_count(pair):
    draw = random.Random(0)

    def split(count: int) -> Dataset:
        columns = {"id": [str(i) for i in range(count)], "first": [f"t{draw.randrange(20)}" for _ in range(count)]}
        if pair:
            columns["second"] = [f"t{draw.randrange(4)}" for _ in range(count)]
        return Dataset.from_dict({**columns, "label": [0] * count})

    def texts(row: dict) -> frozenset:
        return frozenset(Counter([row["first"], *([row["second"]] if pair else [])]).items())

    train, dev = split(30), split(12)
    in_train, in_dev = {texts(row) for row in train}, {texts(row) for row in dev}
    both = overlap(train, dev, examples=2)
    assert both.train == sum(texts(row) in in_dev for row in train) > 0
    assert both.dev == sum(texts(row) in in_train for row in dev) > 0
    for name, other, shared in both.examples:
        for row in (train[int(name)], dev[int(other)]):
            assert sorted(shared) == sorted(row[field] for field in ("first", "second") if field in row)
    assert len(both.examples) == 2
    assert overlap(train, train).dev == 30


def test_exchanged_pairs_overlap_and_others_do_not():
    train = load(QQP, "train", Given((("a", "b", 1), ("c", "d", 1))))
    dev = load(QQP, "dev", Given((("b", "a", 0), ("a", "c", 0))))
    assert overlap(train, dev) == (1, 1, (("r2", "r2", ("a", "b")),))
