import numpy as np
import pytest
from datasets import Dataset
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from hf_multitask import CFIMDB, QQP, SST, STS, evaluate
from hf_multitask.evaluation.probe import Probe


def encode(texts):
    """The counts of three letters."""
    return np.array([[text.count(letter) + 0.1 for letter in "abc"] for text in texts])


def texts(count, seed):
    draw = np.random.default_rng(seed)
    return ["".join(draw.choice(list("abc"), size=draw.integers(1, 9))) for _ in range(count)]


def test_pairs_are_answered_by_plain_cosine():
    rows = Dataset.from_dict({"first": texts(30, 0), "second": texts(30, 1), "label": [i % 6 for i in range(30)]})
    u, v = encode(rows["first"][:]), encode(rows["second"][:])
    cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    found = evaluate(Probe([STS], encode=encode), {"sts": rows}, resamples=10).tasks["sts"]
    assert found["pearson"] == pytest.approx(stats.pearsonr(cosine, rows["label"][:]).statistic, abs=1e-6)
    assert found["spearman"] == pytest.approx(stats.spearmanr(cosine, rows["label"][:]).statistic, abs=1e-6)


@pytest.mark.parametrize("task", [SST, CFIMDB], ids=lambda task: task.name)
def test_classes_are_answered_by_a_linear_model(task):
    words = texts(60, 2)
    # The last class of SST stays empty.
    labels = [min(text.count("a"), len(task.objective.labels) - (2 if task is SST else 1)) for text in words]
    rows = Dataset.from_dict({"first": words, "label": labels})
    prediction = Probe([task], encode=encode).fit(task.name, rows).predict(task.name, words)
    scaled = StandardScaler().fit(encode(words))
    linear = LogisticRegression(max_iter=5000).fit(scaled.transform(encode(words)), labels)
    expected = linear.predict_proba(scaled.transform(encode(words)))
    np.testing.assert_allclose(prediction.probabilities[:, : expected.shape[1]], expected, atol=1e-5)
    assert prediction.values.tolist() == linear.predict(scaled.transform(encode(words))).tolist()


def test_what_a_probe_cannot_answer_is_refused():
    with pytest.raises(ValueError, match="Task 'qqp' is neither"):
        Probe([QQP], encode=encode)
    probe = Probe([SST], encode=encode)
    with pytest.raises(ValueError, match="has not been fitted"):
        probe.predict("sst", ["a"])
    with pytest.raises(ValueError, match="Unknown task 'stt'"):
        probe.predict("stt", ["a"])
