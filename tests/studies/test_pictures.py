"""What a study's pictures are drawn from."""

from dataclasses import replace

import pytest

from hf_multitask.evaluation.comparison import Gain
from hf_multitask.studies import pictures
from hf_multitask.studies.run_sections import RunSection
from hf_multitask.studies.sections import ReproduceRecipe
from hf_multitask.studies.standing import Published, Standing


def test_rows_are_drawn_beside_those_that_are_judged_by_the_same(monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        pictures, "rows_beside", lambda found, **said: drawn.update({said["measure"]: (list(found), said)})
    )
    gain = Gain(0.02, (0.01, 0.03), 0.0)
    fair = {"interval": (0.6, 0.8), "gain": gain, "crossfitted": (0.69, 0.01)}
    rows = [
        Standing(Published("More", "Table 1", "more"), {"score": 0.8}, {"score": (0.7, 0.01)}, **fair),
        Standing(Published("Most", "Table 1", "most", against="more"), {"score": 0.8}, {}, gain=gain),
        Standing(Published("Theirs", "Table 2", None, split="test"), {"score": 0.75}, {}),
        Standing(Published("Nobody's", "Table 2", None), {"sst": 0.5}, {}),
        Standing(Published("One", "Table 3", "one", by="cfimdb"), {"cfimdb": 0.9}, {}),
        Standing(Published("Other", "Table 3", "other", by="cfimdb"), {}, {"cfimdb": (0.8, None)}),
        Standing(Published("Alone", "Table 4", "alone", by="sts"), {"sts": 0.5}, {"sts": (0.4, None)}),
    ]
    recipe = ReproduceRecipe(runs={"alone": RunSection()}, reference="alone", output_dir="outputs/rates", scale="small")
    pictures.study_pictures(recipe, rows, [])
    assert list(drawn) == ["score (0 to 1)", "cfimdb, accuracy"]
    (more, most, theirs), said = drawn["score (0 to 1)"]
    assert more == ("More", 0.7, (0.6, 0.8), 0.8, 0.69, (0.02, 0.01, 0.03), "Alone")
    assert most.over == "More"
    assert theirs == ("Theirs (test)", None, None, 0.75, None, None, None)
    assert said["title"] == "rows: rates, small"
    (one, other), _ = drawn["cfimdb, accuracy"]
    assert (one.ours, one.theirs, other.ours, other.theirs) == (None, 0.9, 0.8, None)


def test_a_sweep_is_drawn_by_what_its_rows_are_judged_by(monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        pictures, "sweep_curve", lambda ours, theirs, **said: drawn.update(ours=ours, theirs=theirs, **said)
    )
    weights = {1.0: "w-1", 3.0: "w-3"}
    recipe = ReproduceRecipe(runs={"w": RunSection(sweep={"regularizers.0.weight": [1, 3]})})
    rows = [
        Standing(
            Published(name, "Table 1", name, by="sts"), {"sts": 0.4}, {"sts": (x / 10, None), "score": (0.5, None)}
        )
        for x, name in weights.items()
    ]
    assert list(pictures.curves(recipe, rows)) == ["w"]
    assert drawn["ours"] == {1.0: (0.1, None), 3.0: (0.3, None)}
    assert drawn["theirs"] == {1.0: 0.4, 3.0: 0.4}
    assert drawn["measure"] == "sts, Pearson's r"
    assert (drawn["setting"], drawn["baseline"], drawn["here"]) == ("regularizers.0.weight", None, {})


def test_a_sweep_says_what_the_scale_makes_of_its_values_and_what_is_without_it(monkeypatch):
    drawn = {}
    monkeypatch.setattr(pictures, "sweep_curve", lambda ours, theirs, **said: drawn.update(said))
    runs = {"plain": RunSection(), "lr": RunSection(sweep={"training.learning_rate": [1e-5, 2e-5]})}
    recipe = ReproduceRecipe(runs=runs, rates=4.0, reference="plain", output_dir="outputs/rates", scale="small")
    rows = [
        Standing(Published(name, "Table 1", name), {}, {"score": (0.5, None)}, (0.4, 0.6))
        for name in ("plain", "lr-1e-05", "lr-2e-05")
    ]
    assert list(pictures.curves(recipe, rows)) == ["lr"]
    assert drawn["here"] == pytest.approx({1e-5: 4e-5, 2e-5: 8e-5})
    assert drawn["intervals"] == {1e-5: (0.4, 0.6), 2e-5: (0.4, 0.6)}
    assert drawn["baseline"] == ("plain", 0.5)
    assert drawn["title"] == "lr: rates, small"
    # What they are compared with may be unfinished.
    assert list(pictures.curves(recipe, [replace(rows[0], ours={}), *rows[1:]])) == ["lr"]
    assert drawn["baseline"] is None
