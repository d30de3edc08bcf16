"""How good predictions are: the metrics, and how sure one can be of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

import evaluate
import numpy as np
from datasets import Features, Value
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

__all__ = [
    "F1",
    "METRICS",
    "Accuracy",
    "Measure",
    "Pearson",
    "Spearman",
    "bootstrap",
    "counted",
    "mean_score",
    "unit_score",
]

# Rows that one batch of resamples holds: what stays in the processor's cache, whatever the size of the data.
BATCH = 2**16

OfRows = Callable[[np.ndarray], np.ndarray]


class Measure(evaluate.Metric, ABC):
    """A metric of `evaluate` that needs no network.

    `measure` is the number; `resampled` gives the same number for many draws of rows at once.
    """

    of_classes: bool
    dtype: str

    @staticmethod
    @abstractmethod
    def measure(predictions: np.ndarray, references: np.ndarray, *, classes: int | None = None) -> float:
        """One number for predictions [n] and references [n]; `classes` is how many label ids there are."""

    @staticmethod
    @abstractmethod
    def resampled(predictions: np.ndarray, references: np.ndarray, *, classes: int | None = None) -> OfRows:
        """A function from row indices [draws, n] to the metric of each draw [draws]."""

    @staticmethod
    @abstractmethod
    def unit(value: float) -> float:
        """The metric's value on the scale of 0 to 1 on which tasks are averaged."""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value(self.dtype), "references": Value(self.dtype)})
        return evaluate.MetricInfo(
            description=str(self.__doc__), citation="", inputs_description=str(self.__doc__), features=features
        )

    def _compute(self, predictions: Any, references: Any, **options: Any) -> dict[str, float]:
        return {self.name: self.measure(np.asarray(predictions), np.asarray(references), **options)}


class ClassMeasure(Measure):
    """A metric of label ids, between 0 and 1."""

    of_classes = True
    dtype = "int64"

    @staticmethod
    def unit(value: float) -> float:
        return value


class Correlation(Measure):
    """A metric of numbers, between -1 and 1, and 0 where it is undefined."""

    of_classes = False
    dtype = "float64"

    @staticmethod
    def unit(value: float) -> float:
        return (value + 1) / 2


class Accuracy(ClassMeasure):
    """The share of rows that got the right label.

    >>> Accuracy().compute(predictions=[0, 1, 1, 1], references=[0, 1, 1, 0])
    {'accuracy': 0.75}
    """

    @staticmethod
    def measure(predictions: np.ndarray, references: np.ndarray, *, classes: int | None = None) -> float:
        return float(accuracy_score(references, predictions))

    @staticmethod
    def resampled(predictions: np.ndarray, references: np.ndarray, *, classes: int | None = None) -> OfRows:
        right = predictions == references
        return lambda rows: right[rows].mean(-1)


class F1(ClassMeasure):
    """The harmonic mean of precision and recall: of label 1 when there are two classes, else the macro mean.

    Without `classes` there are as many as the largest label id says, two at least. The macro mean is over
    the classes that occur; a positive class that does not occur gives 0.

    >>> F1().compute(predictions=[0, 1, 1, 0], references=[0, 1, 1, 1])
    {'f1': 0.8}
    """

    @staticmethod
    def measure(predictions: np.ndarray, references: np.ndarray, *, classes: int | None = None) -> float:
        labels = [1] if class_count(predictions, references, classes) == 2 else None
        return float(f1_score(references, predictions, labels=labels, average="macro", zero_division=0))

    @staticmethod
    def resampled(predictions: np.ndarray, references: np.ndarray, *, classes: int | None = None) -> OfRows:
        count = class_count(predictions, references, classes)
        labels = [1] if count == 2 else range(count)

        def of_rows(rows: np.ndarray) -> np.ndarray:
            given, true = predictions[rows], references[rows]
            total, occurring = np.zeros(len(rows)), np.zeros(len(rows))
            for label in labels:
                hits = np.count_nonzero((given == label) & (true == label), axis=-1)
                seen = np.count_nonzero(given == label, axis=-1) + np.count_nonzero(true == label, axis=-1)
                total += 2 * hits / np.maximum(seen, 1)
                occurring += seen > 0
            return total / np.maximum(occurring, 1)

        return of_rows


class Pearson(Correlation):
    """The linear correlation of predictions and references.

    It is undefined where either is constant and counts as 0 there: who always says the same predicts nothing.

    >>> Pearson().compute(predictions=[2.0, 2.0, 2.0], references=[0.0, 1.0, 5.0])
    {'pearson': 0.0}
    """

    @staticmethod
    def measure(predictions: np.ndarray, references: np.ndarray, *, classes: int | None = None) -> float:
        if constant(predictions) or constant(references):
            return 0.0
        return float(stats.pearsonr(predictions, references).statistic)

    @staticmethod
    def resampled(predictions: np.ndarray, references: np.ndarray, *, classes: int | None = None) -> OfRows:
        x, y = predictions - predictions.mean(), references - references.mean()
        return lambda rows: correlations(x[rows], y[rows])


class Spearman(Correlation):
    """The correlation of the ranks of predictions and references; 0 where either is constant.

    >>> Spearman().compute(predictions=[1.0, 2.0, 30.0], references=[0.0, 4.0, 5.0])
    {'spearman': 1.0}
    """

    @staticmethod
    def measure(predictions: np.ndarray, references: np.ndarray, *, classes: int | None = None) -> float:
        if constant(predictions) or constant(references):
            return 0.0
        return float(stats.spearmanr(predictions, references).statistic)

    @staticmethod
    def resampled(predictions: np.ndarray, references: np.ndarray, *, classes: int | None = None) -> OfRows:
        x, y = (np.unique(values, return_inverse=True)[1] for values in (predictions, references))
        return lambda rows: correlations(ranks(x[rows], x.max() + 1), ranks(y[rows], y.max() + 1))


METRICS: dict[str, type[Measure]] = {"accuracy": Accuracy, "f1": F1, "pearson": Pearson, "spearman": Spearman}


def unit_score(metric_name: str, value: float) -> float:
    """A metric's value on the scale of 0 to 1 on which tasks are averaged.

    >>> unit_score("accuracy", 0.5), unit_score("pearson", 0.5)
    (0.5, 0.75)
    """
    return named(metric_name).unit(value)


def counted(tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of the tasks that enter the score: the scored ones, or all where none is scored."""
    return [name for name, task in tasks.items() if task["scored"]] or list(tasks)


def mean_score(tasks: Mapping[str, Mapping[str, Any]], values: Mapping[str, float]) -> float:
    """The mean over the counted tasks of their own metrics' `values`, a correlation r as (r + 1) / 2."""
    return mean(unit_score(tasks[name]["metric"], values[name]) for name in counted(tasks))


def bootstrap(
    metric_name: str,
    predictions: Sequence[float] | np.ndarray,
    references: Sequence[float] | np.ndarray,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    classes: int | None = None,
) -> tuple[float, float]:
    """The percentile interval of a metric over resampled rows (Efron, 1979).

    A prediction stays with its reference. One row alone gives an interval without width.

    >>> bootstrap("accuracy", [1, 1, 1], [1, 1, 1])
    (1.0, 1.0)
    """
    metric = named(metric_name)
    given, true = np.asarray(predictions), np.asarray(references)
    if given.shape != true.shape or given.ndim != 1 or not len(given):
        raise ValueError(
            "The bootstrap needs predictions [n] and references [n] with one row or more. "
            f"Got shapes {list(given.shape)} and {list(true.shape)}."
        )
    n = len(given)
    if n == 1:
        value = metric.measure(given, true, classes=classes)
        return value, value
    of_rows = metric.resampled(given, true, classes=classes)
    found = stats.bootstrap(
        (np.arange(n),),
        lambda rows, axis: of_rows(rows),
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, BATCH // n),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def named(metric_name: str) -> type[Measure]:
    if metric_name not in METRICS:
        raise ValueError(f"Unknown metric '{metric_name}'. Choices: {', '.join(METRICS)}.")
    return METRICS[metric_name]


def class_count(predictions: np.ndarray, references: np.ndarray, classes: int | None) -> int:
    return classes if classes is not None else max(2, int(predictions.max()) + 1, int(references.max()) + 1)


def constant(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())


def correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's r of each row of x and y [draws, n], 0 where either is constant."""
    varied = (x.max(-1) > x.min(-1)) & (y.max(-1) > y.min(-1))
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    product, x_square, y_square = (np.einsum("dn,dn->d", a, b) for a, b in ((x, y), (x, x), (y, y)))
    r = product / np.where(varied, np.sqrt(x_square) * np.sqrt(y_square), 1)
    return np.where(varied, r, 0).clip(-1, 1)


def ranks(ids: np.ndarray, distinct: int) -> np.ndarray:
    """The mean rank of each of ids [draws, n] in its draw; counted, since sorting each draw is slow."""
    draws = len(ids)
    shifted = ids + distinct * np.arange(draws)[:, None]
    counts = np.bincount(shifted.ravel(), minlength=draws * distinct).reshape(draws, distinct)
    rank = counts.cumsum(-1) - (counts - 1) / 2
    return rank.ravel()[shifted]
