"""A bag of words, to put beside a model: what can be had without reading."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from ..models.construct import unknown
from ..models.objectives import CosineEmbedding, Prediction, Regression
from ..tasks import Task

__all__ = ["BagOfWords"]


class BagOfWords:
    """A linear model of word counts for each task, blind to order.

    A single text is its counts; a pair is |a - b| and min(a, b) of the two counts, and the share of words in
    common. Classes are fitted by logistic regression, numbers by ridge regression. With `ngrams` of 2 word pairs
    count too. It predicts as a model does, so the same evaluator judges it.

    >>> from hf_multitask.tasks import SST
    >>> rows = Dataset.from_dict({"first": ["good fun", "no fun", "good"], "label": [4, 0, 4]})
    >>> BagOfWords([SST]).fit("sst", rows).predict("sst", ["good"]).labels
    ['very positive']
    """

    def __init__(self, tasks: Iterable[Task], *, ngrams: int = 1):
        self.objectives = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        for task in tasks:
            self.objectives[task.name] = task.objective
            self.tasks[task.name] = task.describe()
        self.ngrams = ngrams
        self.fitted: dict[str, tuple[CountVectorizer, Any]] = {}

    def fit(self, task: str, dataset: Dataset) -> "BagOfWords":
        """Learn one task from the columns first, second (pairs) and label."""
        if task not in self.tasks:
            raise ValueError(unknown("task", task, self.tasks))
        texts = [dataset[side][:] for side in ("first", "second")[: 1 + self.tasks[task]["pair"]]]
        words = CountVectorizer(ngram_range=(1, self.ngrams), token_pattern=r"\w+", dtype=np.float64)
        words.fit(text for side in texts for text in side)
        rows, labels = features(words, *texts), np.asarray(dataset["label"][:])
        names = self.objectives[task].labels
        if names is None:
            self.fitted[task] = words, Ridge().fit(rows, labels)
        else:
            # An empty row for each class, so that one that nobody chose still has a score.
            rows = sparse.vstack([rows, sparse.csr_matrix((len(names), rows.shape[1]))])
            labels = np.concatenate([labels, np.arange(len(names))])
            self.fitted[task] = words, LogisticRegression(max_iter=5000).fit(rows, labels)
        return self

    def predict(self, task: str, first: Sequence[str], second: Sequence[str] | None = None) -> Prediction:
        """Answers to raw texts, in their order."""
        if task not in self.fitted:
            raise ValueError(f"BagOfWords has not been fitted on '{task}'. Call fit(\"{task}\", rows) first.")
        if self.tasks[task]["pair"] != (second is not None):
            raise ValueError(f"Task '{task}' reads {'two texts' if second is None else 'one text'} a row.")
        words, model = self.fitted[task]
        rows = features(words, first) if second is None else features(words, first, second)
        objective = self.objectives[task]
        if isinstance(objective, Regression | CosineEmbedding):
            values = torch.from_numpy(model.predict(rows)).float()
            return Prediction(objective.scores_of(values[:, None]), values.clamp(objective.low, objective.high))
        chances = torch.from_numpy(model.predict_log_proba(rows)).float()
        return objective.decode(chances if objective.outputs > 1 else chances[:, 1:] - chances[:, :1])


def features(words: CountVectorizer, first: Sequence[str], second: Sequence[str] | None = None) -> sparse.csr_matrix:
    """One sparse row a text or pair: [n, words] or [n, 2 words + 1]."""
    a = words.transform(first)
    if second is None:
        return a
    b = words.transform(second)
    common, union = a.minimum(b), a.maximum(b).sum(1)
    overlap = np.asarray(common.sum(1)) / np.maximum(np.asarray(union), 1)
    return sparse.hstack([abs(a - b), common, sparse.csr_matrix(overlap)]).tocsr()
