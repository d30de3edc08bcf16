import json

import evaluate
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from hf_multitask import metrics
from hf_multitask.metrics import F1, METRICS, Accuracy, Pearson, Spearman, bootstrap, unit_score

ORACLES = {
    "accuracy": lambda given, true: accuracy_score(true, given),
    "f1": lambda given, true: f1_score(true, given, average="macro"),
    "pearson": lambda given, true: np.corrcoef(given, true)[0, 1],
    "spearman": lambda given, true: np.corrcoef(stats.rankdata(given), stats.rankdata(true))[0, 1],
}


def rows(name: str, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and references that agree in part: five classes, or numbers with ties."""
    draw = np.random.default_rng(seed)
    if METRICS[name].of_classes:
        true = draw.integers(0, 5, n)
        return np.where(draw.random(n) < 0.5, true, draw.integers(0, 5, n)), true
    true = draw.integers(0, 11, n) / 2
    return true + draw.integers(-4, 5, n) / 2, true


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path / "metrics"))


@pytest.mark.parametrize("name", METRICS)
class TestLaws:
    def test_equals_its_oracle(self, name):
        given, true = rows(name, 200)
        assert METRICS[name].measure(given, true) == pytest.approx(ORACLES[name](given, true), abs=1e-12)

    def test_is_a_metric_of_evaluate(self, name):
        given, true = rows(name, 40)
        metric, expected = METRICS[name](), METRICS[name].measure(given, true)
        assert metric.name == name
        assert metric.compute(predictions=given, references=true) == {name: pytest.approx(expected)}
        metric.add_batch(predictions=given[:15], references=true[:15])
        metric.add_batch(predictions=given[15:].tolist(), references=true[15:].tolist())
        assert metric.compute() == {name: pytest.approx(expected)}

    def test_perfect_predictions_score_one(self, name):
        _, true = rows(name, 50)
        assert METRICS[name].measure(true, true) == pytest.approx(1)
        assert unit_score(name, 1.0) == 1
        assert bootstrap(name, true, true) == pytest.approx((1, 1))

    def test_order_of_rows_does_not_matter(self, name):
        given, true = rows(name, 50)
        order = np.random.default_rng(1).permutation(50)
        assert METRICS[name].measure(given[order], true[order]) == pytest.approx(METRICS[name].measure(given, true))

    @pytest.mark.parametrize("n", [2, 3, 30])
    def test_each_draw_is_measured_like_the_metric(self, name, n):
        given, true = rows(name, n)
        draws = np.random.default_rng(2).integers(0, n, (40, n))
        expected = [METRICS[name].measure(given[draw], true[draw], classes=5) for draw in draws]
        np.testing.assert_allclose(METRICS[name].resampled(given, true, classes=5)(draws), expected, atol=1e-12)

    def test_interval_equals_a_slow_loop(self, name, monkeypatch):
        given, true = rows(name, 60)
        draws = np.random.default_rng(7).integers(0, 60, (200, 60))
        slow = [METRICS[name].measure(given[draw], true[draw]) for draw in draws]
        expected = np.quantile(slow, [0.05, 0.95])
        assert bootstrap(name, given, true, resamples=200, level=0.9, seed=7) == pytest.approx(expected)
        monkeypatch.setattr(metrics, "BATCH", 100)
        assert bootstrap(name, given, true, resamples=200, level=0.9, seed=7) == pytest.approx(expected)

    def test_interval_holds_the_value_and_follows_the_seed(self, name):
        given, true = rows(name, 300)
        low, high = bootstrap(name, given, true, seed=3)
        assert low < METRICS[name].measure(given, true) < high
        assert (low, high) == bootstrap(name, given, true, seed=3)
        assert (low, high) != bootstrap(name, given, true, seed=4)

    @pytest.mark.parametrize("given", [[1], [1, 1, 1], [0, 0, 0, 0]])
    def test_degenerate_rows_give_a_number_and_an_interval(self, name, given):
        true = np.arange(len(given)) % 2
        value = METRICS[name]().compute(predictions=given, references=true)[name]
        low, high = bootstrap(name, given, true)
        assert 0 <= low <= value <= high <= 1

    def test_rows_must_match(self, name):
        with pytest.raises(ValueError, match=r"shapes \[2\] and \[3\]"):
            bootstrap(name, [0, 1], [0, 1, 1])
        with pytest.raises(ValueError, match="one row or more"):
            bootstrap(name, [], [])


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_constant_predictions_correlate_with_nothing(name):
    assert METRICS[name]().compute(predictions=[0.1] * 7, references=range(7)) == {name: 0}
    assert bootstrap(name, [0.1] * 7, range(7)) == (0, 0)
    assert unit_score(name, 0.0) == 0.5


def test_f1_of_two_classes_is_that_of_the_positive_one():
    given, true = np.random.default_rng(0).integers(0, 2, (2, 100))
    assert F1.measure(given, true) == pytest.approx(f1_score(true, given))
    assert F1.measure(given, true, classes=5) == pytest.approx(f1_score(true, given, average="macro"))
    assert F1.measure(np.zeros(4), np.zeros(4)) == 0


def test_metrics_combine_and_save(tmp_path):
    given, true = rows("accuracy", 30)
    both = evaluate.combine([Accuracy(), F1()])
    both.add_batch(predictions=given, references=true)
    results = both.compute()
    assert results == {"accuracy": Accuracy.measure(given, true), "f1": F1.measure(given, true)}
    path = evaluate.save(tmp_path / "results.json", **results)
    assert json.loads(path.read_text())["accuracy"] == results["accuracy"]

    both = evaluate.combine({"r": Pearson(), "rho": Spearman()}, force_prefix=True)
    results = both.compute(predictions=[1.0, 2.0, 30.0], references=[1.0, 2.0, 3.0])
    assert results["rho_spearman"] == pytest.approx(1)
    assert results["r_pearson"] < 1


def test_correlations_become_shares_of_one():
    assert [unit_score("pearson", r) for r in (-1, 0, 1)] == [0, 0.5, 1]
    assert unit_score("f1", 0.3) == 0.3


def test_an_unknown_metric_names_the_choices():
    with pytest.raises(ValueError, match=r"Unknown metric 'acuracy'\. Choices: accuracy, f1, pearson, spearman"):
        unit_score("acuracy", 0.5)
