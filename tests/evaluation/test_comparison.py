import numpy as np
import pytest
from scipy.stats import t as student

from hf_multitask.evaluation.comparison import Pair, gains
from hf_multitask.metrics import METRICS


def pair(metric, *, rows=200, seed=0, better=0.3):
    """Predictions of which ours are right more often, or nearer."""
    draw = np.random.default_rng(seed)
    if METRICS[metric].of_classes:
        labels = draw.integers(0, 3, rows)

        def wrong(share):
            return np.where(draw.random(rows) < share, (labels + 1) % 3, labels)

        return Pair(metric, wrong(0.5 - better), wrong(0.5), labels, 3)
    labels = draw.normal(size=rows)
    return Pair(metric, labels + draw.normal(size=rows), labels + 3 * draw.normal(size=rows), labels)


@pytest.mark.parametrize("metric", METRICS)
def test_the_gain_is_the_difference_and_its_interval_that_of_a_slow_loop(metric):
    given = pair(metric)
    found = gains({"task": given}, resamples=300, seed=5)["task"]

    def difference(rows):
        measure = METRICS[metric].measure
        return measure(given.ours[rows], given.labels[rows], classes=given.classes) - measure(
            given.theirs[rows], given.labels[rows], classes=given.classes
        )

    assert found.gain == pytest.approx(difference(np.arange(200)))
    draws = np.random.default_rng([5, 0]).integers(0, 200, (300, 200))
    slow = [difference(rows) for rows in draws]
    assert found.ci95 == pytest.approx(np.quantile(slow, [0.025, 0.975]))
    assert found.doubt == np.mean(np.array(slow) <= 0)
    assert found.ci95[0] > 0


def test_nothing_is_gained_over_oneself():
    given = pair("accuracy")
    found = gains({"task": given._replace(theirs=given.ours)})["task"]
    assert (found.gain, found.ci95, found.doubt) == (0, (0, 0), 1)
    assert str(found._replace(gain=-1e-9)) == "+0.0000 (+0.0000 to +0.0000)"


def test_the_score_counts_the_counted_tasks_on_one_scale():
    pairs = {"a": pair("accuracy"), "r": pair("pearson"), "more": pair("accuracy", better=-0.4)}
    found = gains(pairs, ["a", "r"])
    assert found["score"].gain == pytest.approx((found["a"].gain + found["r"].gain / 2) / 2)
    assert gains(pairs)["score"].gain < found["score"].gain


def test_a_score_needs_all_the_tasks_that_count_and_a_gain_needs_a_task():
    labels = np.array([0, 1] * 10)
    pair = Pair("accuracy", labels, 1 - labels, labels, 2)
    assert gains({}) == {}
    assert set(gains({"sst": pair}, ["sst", "qqp"], resamples=5)) == {"sst"}
    assert set(gains({"sst": pair, "sick": pair}, ["sst"], resamples=5)) == {"sst", "sick", "score"}


def test_of_several_seeds_the_gain_is_the_mean_and_the_same_seed_twice_is_one():
    first, second = pair("accuracy", seed=1), pair("accuracy", seed=1, better=0.1)
    both = first._replace(ours=np.stack([first.ours, second.ours]), theirs=np.stack([first.theirs] * 2))
    found = gains({"task": both})["task"]
    each = [gains({"task": one._replace(theirs=first.theirs)})["task"] for one in (first, second)]
    assert found.gain == pytest.approx(np.mean([one.gain for one in each]))
    assert found.ci95[0] < min(one.ci95[0] for one in each)
    twice = first._replace(ours=np.stack([first.ours] * 2), theirs=np.stack([first.theirs] * 2))
    assert str(gains({"task": twice})["task"]) == str(each[0])


@pytest.mark.parametrize("right", [[True, False], [True, False, True]])
def test_what_seeds_leave_unknown_is_students_t(right):
    # A seed is right in all rows or in none, so that no noise is theirs.
    labels = np.ones(40, int)
    ours = np.outer(right, labels)
    found = gains({"task": Pair("accuracy", ours, np.zeros_like(ours), labels, 2)}, resamples=4000)["task"]
    each = ours.mean(1)
    error = each.std(ddof=1) / np.sqrt(len(each))
    low, high = student.interval(0.95, len(each) - 1, each.mean(), error)
    assert found.ci95 == pytest.approx((low, high), rel=0.03)
