"""Points of rows: where they lie, what they say, and how many a page holds."""

import json
import re

import numpy as np
import pytest
from browsing import Seen as Parsed
from datasets import Dataset

from hf_multitask import Binary, Classification, Regression, Task
from hf_multitask.evaluation.answers import Answers
from hf_multitask.pages.page import Part, page
from hf_multitask.pages.points import ANSWERS, LONG, MOST, Seen, chosen, points, points_map
from hf_multitask.plots.maps import placed

MOOD = Task("mood", Classification(["sad", "so", "glad"])).describe()
SAME = Task("same", Binary(["no", "yes"]), pair=True).describe()
NEAR = Task("near", Regression(0, 5), pair=True, metric="pearson").describe()


def answered(task, count):
    """Answers to so many rows, drawn at random."""
    draw = np.random.default_rng(0)
    if task is NEAR:
        values = draw.uniform(0, 5, count)
        return Answers(values[:, None], values, draw.uniform(0, 5, count))
    classes = len(task["objective"]["labels"])
    scores = draw.normal(size=(count, classes if task is MOOD else 1))
    values = scores.argmax(1) if task is MOOD else (scores[:, 0] > 0).astype(int)
    return Answers(scores, values, draw.integers(0, classes, count))


def texts(count):
    return Dataset.from_dict({part: [f"{part} {row}" for row in range(count)] for part in ("first", "second")})


@pytest.mark.parametrize("task", [MOOD, SAME, NEAR], ids=["mood", "same", "near"])
@pytest.mark.parametrize("count", [1, 9, MOST + 50])
def test_every_point_tells_its_row_and_lies_at_its_answer(task, count):
    said, rows = answered(task, count), texts(count)
    found = points(task, said, rows)
    chosen = [int(one["texts"][0].removeprefix("first ")) for one in found["rows"]]
    assert chosen == sorted(set(chosen))
    assert (len(chosen), found["of"]) == (min(count, MOST), count)
    assert [one["texts"][1:] for one in found["rows"]] == [[f"second {row}"] if task["pair"] else [] for row in chosen]
    for key, values in (("true", said.labels), ("said", said.values)):
        assert [one[key] for one in found["rows"]] == pytest.approx(values[chosen], rel=1e-3)
    places = np.array(found["maps"][ANSWERS]["places"])
    if task is NEAR:
        np.testing.assert_allclose(places, np.stack([said.labels, said.values], 1)[chosen], rtol=1e-3)
        sure = np.abs(said.values - said.labels)
    else:
        assert np.round(places[:, 0]).tolist() == said.labels[chosen].tolist()
        chances = np.exp(said.scores) / np.exp(said.scores).sum(1, keepdims=True)
        yes = 1 / (1 + np.exp(-said.scores[:, 0]))
        sure = chances.max(1) if task is MOOD else np.maximum(yes, 1 - yes)
        assert places[:, 1] == pytest.approx(sure[chosen], rel=1e-3)
    assert [one["sure"] for one in found["rows"]] == pytest.approx(sure[chosen], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("rows", [np.arange(24), np.arange(3, 23), np.array([5, 9, 11, 23])], ids=len)
def test_embedded_rows_lie_where_the_pictures_have_them(rows):
    vectors = np.random.default_rng(1).normal(size=(len(rows), 6))
    found = points(MOOD, answered(MOOD, 24), texts(24), Seen(rows, vectors), seed=3)
    assert list(found["maps"]) == ["PCA", "t-SNE", ANSWERS]
    # Of rows that are not embedded no map knows a place.
    assert [one["texts"][0] for one in found["rows"]] == [f"first {row}" for row in rows]
    assert [one["true"] for one in found["rows"]] == answered(MOOD, 24).labels[rows].tolist()
    assert np.round(np.array(found["maps"][ANSWERS]["places"])[:, 0]).tolist() == [one["true"] for one in found["rows"]]
    assert found["of"] == 24
    for by in ("PCA", "t-SNE"):
        places, axes = placed(vectors, by=by, seed=3)
        np.testing.assert_allclose(found["maps"][by]["places"], places, rtol=1e-3, atol=1e-3)
        assert found["maps"][by]["axes"] == axes


def test_one_embedded_row_has_no_map():
    found = points(MOOD, answered(MOOD, 24), texts(24), Seen(np.array([7]), np.ones((1, 6))))
    assert list(found["maps"]) == [ANSWERS]
    assert len(found["rows"]) == 24


def test_points_are_drawn_from_all_that_is_embedded():
    count, vectors = 2 * MOST + 101, np.random.default_rng(1).normal(size=(MOST + 50, 6))
    rows = chosen(count, MOST + 50)
    found = points(MOOD, answered(MOOD, count), texts(count), Seen(rows, vectors))
    numbers = [int(one["texts"][0].removeprefix("first ")) for one in found["rows"]]
    assert (len(numbers), found["of"]) == (MOST, count)
    assert set(numbers) < set(rows.tolist())
    places, _ = placed(vectors, by="PCA")
    np.testing.assert_allclose(found["maps"]["PCA"]["places"], places[np.isin(rows, numbers)], rtol=1e-3, atol=1e-3)


def test_the_seed_draws_the_points_where_there_are_more():
    one, again, other = (
        points(MOOD, answered(MOOD, MOST + 50), texts(MOST + 50), seed=seed)["rows"] for seed in (0, 0, 1)
    )
    assert one == again != other


def test_no_text_ends_the_page_and_a_page_of_long_ones_stays_small():
    count = 3 * MOST
    long = Dataset.from_dict({part: ["</script><img src=x onerror=1>" + "x" * 9000] * count for part in texts(1)[0]})
    found = {name: points(task, answered(task, count), long) for name, task in (("same", SAME), ("near", NEAR))}
    written = page("Map", [Part("Row by row", points_map(found))])
    seen = Parsed(written)
    assert json.loads(seen.data["points"]) == found
    assert "img" not in seen.tags
    assert found["same"]["rows"][0]["texts"][0] == f"{long[0]['first'][:LONG]} .."
    assert len(written) < 1_500_000


def test_what_draws_the_points_asks_for_nothing_outside():
    assert not re.search(r"https?:|//\w|@import|import\(|fetch|XMLHttp", points_map({}))
