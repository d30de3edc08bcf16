import numpy as np
import pytest
import torch

from hf_multitask.ensembles.calibration import calibration_error, fit_temperature
from hf_multitask.models.objectives import Binary, Classification


def slow_error(probabilities, labels, bins=15):
    total = 0.0
    for i in range(bins):
        rows = [j for j, p in enumerate(probabilities) if i / bins < max(p) <= (i + 1) / bins]
        if rows:
            accuracy = np.mean([np.argmax(probabilities[j]) == labels[j] for j in rows])
            confidence = np.mean([max(probabilities[j]) for j in rows])
            total += len(rows) / len(labels) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_calibration_error_equals_a_slow_one(bins):
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet([0.5] * 4, 300)
    labels = draw.integers(0, 4, 300)
    assert calibration_error(probabilities, labels, bins=bins) == pytest.approx(
        slow_error(probabilities, labels, bins), abs=1e-12
    )


def test_who_is_right_as_often_as_said_has_no_error():
    assert calibration_error(np.array([[0.2, 0.8]] * 5), np.array([1, 1, 1, 1, 0])) == pytest.approx(0)
    assert calibration_error(np.eye(2), np.array([1, 0])) == 1


@pytest.mark.parametrize("heat", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("objective", [Binary(), Classification("abc")], ids=lambda o: type(o).__name__)
def test_the_temperature_that_made_the_labels_is_found(heat, objective):
    scores = 2 * torch.randn(20000, objective.outputs)
    labels = torch.multinomial(objective.answers(scores), 1)[:, 0].numpy()
    assert fit_temperature(heat * scores, labels, objective) == pytest.approx(heat, rel=0.06)


def test_a_fitted_temperature_never_has_the_greater_loss():
    for seed in range(5):
        torch.manual_seed(seed)
        scores, labels = torch.randn(30, 3), torch.randint(3, (30,))
        heat = fit_temperature(scores, labels.numpy(), objective := Classification("abc"))
        assert objective.loss(scores / heat, labels).mean() <= objective.loss(scores, labels).mean() + 1e-7
