"""Names from outside are drawn as they are, whatever signs they hold."""

import numpy as np
import pytest

from hf_multitask.plots import (
    RowMarks,
    agreement,
    confusion,
    height_map,
    learning_curves,
    map_figure,
    png,
    rows_beside,
    scatter,
    signed,
    sweep_curve,
    task_shares,
)

NAMES = ["$5_or_less", "$5_to_$10", "_more"]
TITLE = "$a_b$ and $c_"
DRAW = np.random.default_rng(0)
ROWS, THREE = DRAW.normal(size=(12, 4)), [row % 3 for row in range(12)]
SWEPT = {1.0: (0.7, None), 2.0: (0.6, None)}
TABLE = [RowMarks(name, 0.7, gain=(0.1, 0.0, 0.2), over="_of $x_ and $y_") for name in NAMES]
HISTORY = [{"step": 1, **{f"loss_{name}": 1.0 for name in NAMES}, **{f"eval_{name}_f1": 1.0 for name in NAMES}}]

KEYED = {
    "map": lambda: map_figure({TITLE: ROWS}, THREE, NAMES, by="PCA"),
    "heights": lambda: height_map(ROWS, THREE, title=TITLE, height=TITLE, names=NAMES),
    "shares": lambda: task_shares({name: [0.2, 0.4] for name in NAMES}),
    "curves": lambda: learning_curves(HISTORY, dict.fromkeys(NAMES, "f1")),
    "baseline": lambda: sweep_curve(SWEPT, setting="_$a$", title=TITLE, measure=TITLE, baseline=("_$x_$", 0.5)),
}
TICKED = {
    "confusion": lambda: confusion(np.eye(3, dtype=int), NAMES, title=TITLE),
    "agreement": lambda: agreement(DRAW.integers(0, 2, (3, 9)), NAMES, title=TITLE, numbers=False),
    "rows": lambda: rows_beside(TABLE, title=TITLE, measure=TITLE),
    "heights": KEYED["heights"],
    "epoch": lambda: task_shares({name: [0.2] for name in NAMES}),
}
OTHERS = {
    "numbers": lambda: height_map(ROWS, THREE, title=TITLE, height=TITLE),
    "scatter": lambda: scatter(ROWS[:, 0], ROWS[:, 1], title=TITLE, low=0, high=1),
}


def drawn(text):
    """What a text looks like; mathematics looks otherwise than it is written."""
    said, mathematics = text._preprocess_math(text.get_text())
    assert not mathematics
    return said.strip()


@pytest.mark.parametrize("figure", [*KEYED.values(), *TICKED.values(), *OTHERS.values()])
def test_a_picture_of_any_names_is_drawn(figure):
    found = signed(figure(), "_$a$-0, seed $0")
    assert png(found).startswith(b"\x89PNG")
    assert "_$a$-0, seed $0" in map(drawn, found.axes[0].texts)
    assert drawn(found.axes[0].title) in (TITLE, f"{TITLE}: rows", "Task probabilities", "Learning curves")


@pytest.mark.parametrize("name", KEYED)
def test_a_key_has_all_names(name):
    figure = KEYED[name]()
    keys = [*figure.legends, *(panel.get_legend() for panel in figure.axes if panel.get_legend())]
    assert keys
    for key in keys:
        said = [drawn(text).removesuffix(", f1") for text in key.texts]
        assert said == (["ours", "_$x_$"] if name == "baseline" else NAMES)


@pytest.mark.parametrize("name", TICKED)
def test_ticks_have_all_names(name):
    panel = TICKED[name]().axes[0]
    axes = {"heights": "z", "epoch": "x", "rows": "y"}.get(name, "xy")
    for axis in axes:
        ticks = getattr(panel, f"get_{axis}ticklabels")()
        assert [drawn(tick) for tick in ticks] == NAMES
