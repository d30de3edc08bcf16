"""What predictors answer to the same texts, and whether that is the same."""

import torch
from batches import FIRST, SECOND


def scores(predictor):
    return {
        name: predictor.predict(name, FIRST, SECOND if task["pair"] else None).scores
        for name, task in predictor.tasks.items()
    }


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def assert_near(one, other):
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=lambda m, n=name: f"{n}: {m}")
