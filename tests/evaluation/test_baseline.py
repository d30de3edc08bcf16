"""The bag of words: judged like a model, and unable to read."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_multitask import QQP, SST, STS, Classification, Regression, Task, evaluate
from hf_multitask.data.demo import Demo
from hf_multitask.data.rows import load
from hf_multitask.evaluation.baseline import BagOfWords

CORE = [SST, QQP, STS]


@pytest.fixture(scope="module")
def demo():
    return {split: {task.name: load(task, split, Demo(1600)) for task in CORE} for split in ("train", "dev")}


@pytest.fixture(scope="module")
def fitted(demo):
    words = BagOfWords(CORE)
    for name, rows in demo["train"].items():
        words.fit(name, rows)
    return words


def test_it_is_above_chance_and_cannot_read(fitted, demo):
    values = evaluate(fitted, demo["dev"], resamples=0).values
    assert 0.3 < values["sst"] < 0.65
    assert 0.5 < values["qqp"] < 0.7
    assert 0.3 < values["sts"] < 0.65


def test_it_predicts_as_a_model_does(fitted):
    assert fitted.tasks == {task.name: task.describe() for task in CORE}
    sst = fitted.predict("sst", ["The plot was dull.", "The wine was superb."])
    assert sst.scores.shape == sst.probabilities.shape == (2, 5)
    qqp = fitted.predict("qqp", ["Should I ask?"], ["Should I pay?"])
    assert qqp.scores.shape == (1, 1)
    assert qqp.probabilities.sum() == pytest.approx(1)
    sts = fitted.predict("sts", ["A man."] * 3, ["A lady."] * 3)
    assert sts.scores.shape == (3, 1)
    assert sts.probabilities is None
    assert ((sts.values >= 0) & (sts.values <= 5)).all()


@pytest.mark.parametrize("ngrams", [1, 2])
def test_order_of_words_counts_for_bigrams_alone(ngrams):
    rows = Dataset.from_dict({"first": ["good not bad", "bad not good"] * 20, "label": [4, 0] * 20})
    words = BagOfWords([SST], ngrams=ngrams).fit("sst", rows)
    scores = words.predict("sst", ["good not bad", "bad not good"]).scores
    assert torch.allclose(scores[0], scores[1]) == (ngrams == 1)


def test_a_pair_means_the_same_either_way_round(fitted, demo):
    dev = demo["dev"]["sts"]
    first, second = dev["first"][:], dev["second"][:]
    there, back = fitted.predict("sts", first, second), fitted.predict("sts", second, first)
    torch.testing.assert_close(there.scores, back.scores)


def test_classes_without_rows_and_two_classes_get_scores():
    rows = Dataset.from_dict({"first": ["glad day", "glad night"], "label": [1, 1]})
    two = Task("mood", Classification(["sad", "glad"]))
    words = BagOfWords([two, SST]).fit("mood", rows).fit("sst", rows)
    assert words.predict("mood", ["glad"]).labels == ["glad"]
    assert words.predict("mood", ["glad"]).scores.shape == (1, 2)
    assert torch.isfinite(words.predict("sst", ["glad"]).scores).all()


def test_numbers_stay_in_their_range():
    size = Task("size", Regression(0, 1, bounded=True))
    rows = Dataset.from_dict({"first": [" ".join(["big"] * n) for n in range(1, 9)], "label": np.linspace(0, 1, 8)})
    said = BagOfWords([size]).fit("size", rows).predict("size", ["big " * 40, "big", "small"])
    assert said.values[0] == 1
    assert said.values.min() >= 0
    # An evaluator takes a loss of the scores, which are those of a model that says the same.
    torch.testing.assert_close(size.objective.predicted(said.scores), said.values)


def test_what_is_wrong_is_said(fitted, demo):
    with pytest.raises(ValueError, match="Did you mean 'qqp'"):
        fitted.fit("qpq", demo["train"]["qqp"])
    with pytest.raises(ValueError, match="not been fitted on 'sst'"):
        BagOfWords([SST]).predict("sst", ["good"])
    with pytest.raises(ValueError, match="'qqp' reads two texts"):
        fitted.predict("qqp", ["a"])
    with pytest.raises(ValueError, match="'sst' reads one text"):
        fitted.predict("sst", ["a"], ["b"])
