"""The demo corpus: checked like any source, split apart, and the same in every process."""

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import combinations, islice

import pytest

from hf_multitask import CFIMDB, QQP, SST, STS
from hf_multitask.data.demo import GRAMMARS, Demo
from hf_multitask.data.rows import SPLITS, DataError, load, overlap

CORE = pytest.mark.parametrize("task", [SST, QQP, STS], ids=lambda task: task.name)
SMALL = Demo(size=240)


def texts(rows):
    return {text for side in ("first", "second") if side in rows.features for text in rows[side]}


@CORE
def test_rows_pass_the_checks_and_every_split_is_labelled(task):
    for split, count in zip(SPLITS, (240, 30, 30), strict=True):
        rows = load(task, split, SMALL)
        assert len(rows) == len(set(rows["id"])) == count
        assert "label" in rows.features
        assert ("second" in rows.features) == task.pair
    assert SMALL.splits(task) == SPLITS


@CORE
def test_no_text_stands_in_two_splits_whatever_the_seed(task):
    train, dev, test = (load(task, split, Demo(240, seed)) for split, seed in zip(SPLITS, (0, 1, 2), strict=True))
    for one, other in combinations((train, dev, test), 2):
        assert not texts(one) & texts(other)
        assert overlap(one, other).dev == 0


@CORE
def test_a_row_stands_once_and_says_two_different_things(task):
    rows = list(SMALL.rows(task, "train"))
    assert len({(row.first, row.second) for row in rows}) == len(rows)
    assert all(row.first != row.second for row in rows)


@CORE
def test_the_seed_decides_and_a_larger_corpus_begins_alike(task):
    assert list(Demo(80).rows(task, "dev")) == list(Demo(80).rows(task, "dev"))
    assert list(Demo(80).rows(task, "dev")) != list(Demo(80, seed=1).rows(task, "dev"))
    assert list(islice(Demo(160).rows(task, "train"), 80)) == list(Demo(80).rows(task, "train"))


def test_the_rows_are_the_same_in_every_process():
    rows = [tuple(row[2:]) for task in (SST, QQP, STS) for row in SMALL.rows(task, "train")]
    assert hashlib.sha256(repr(rows).encode()).hexdigest()[:16] == "24bf1cbab09ca441"


@pytest.mark.parametrize(("task", "labels"), [(SST, 5), (QQP, 2), (STS, 6)], ids=["sst", "qqp", "sts"])
def test_labels_are_about_equally_many(task, labels):
    counts = Counter(row.label for row in Demo(1200).rows(task, "train"))
    assert len(counts) == labels
    assert min(counts.values()) > 0.6 * 1200 / labels


def test_one_review_has_one_grade():
    grades = {}
    for row in Demo(2000).rows(SST, "train"):
        assert grades.setdefault(row.first, row.label) == row.label


def words(text):
    return Counter(text.lower().strip("?.").replace(",", "").split())


def test_some_pairs_of_the_same_words_differ():
    pairs = [row for row in Demo(2000).rows(QQP, "train") if words(row.first) == words(row.second)]
    assert {row.label for row in pairs} == {0}
    assert pairs


def test_a_task_that_the_grammar_lacks_is_named():
    other = replace(SST, name="mood")
    assert SMALL.splits(other) == ()
    with pytest.raises(DataError, match=r"no 'mood' here, only sst, qqp, sts"):
        load(other, "train", SMALL)


def test_a_verdict_is_never_neutral():
    rows = list(SMALL.rows(CFIMDB, "train"))
    assert {row.label for row in rows} == {0, 1}


def test_a_size_that_cannot_be():
    with pytest.raises(ValueError, match="size of 8 or more"):
        Demo(size=7)


def test_a_size_beyond_the_grammar(monkeypatch):
    monkeypatch.setitem(GRAMMARS, "sst", lambda random: ((f"Number {random.randrange(20)}.",), 0))
    with pytest.raises(DataError, match=r"about \d+ rows, not 240: lower the size"):
        load(SST, "train", SMALL)
