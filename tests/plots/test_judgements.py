"""Pictures of many classes: no number lies on another, and no name."""

import itertools

import numpy as np
import pytest

from hf_multitask.plots import confusion
from hf_multitask.plots.canvas import INCHES


def counted(classes):
    """A confusion matrix of so many classes, drawn, and how it lies on its picture."""
    counts = np.random.default_rng(0).integers(0, 60, (classes, classes)) + 1000 * np.eye(classes, dtype=int)
    figure = confusion(counts, [f"a class of number {row}" for row in range(classes)], title="intents on dev")
    figure.draw_without_rendering()
    return figure, figure.axes[0]


@pytest.mark.parametrize("classes", [2, 3, 5, 6, 7, 8, 12, 13, 20, 40])
def test_of_many_classes_no_number_and_no_name_lies_on_another(classes):
    figure, panel = counted(classes)
    assert len(panel.texts) == (classes**2 if classes <= 12 else 0)
    cell = panel.get_window_extent().width / classes
    assert all(text.get_window_extent().width < cell for text in panel.texts)
    rows, columns = ([*ticks] for ticks in (panel.get_yticklabels(), panel.get_xticklabels()))
    assert [tick.get_text() for tick in rows] == [tick.get_text() for tick in columns]
    boxes = [tick.get_window_extent() for tick in rows]
    assert all(upper.y0 >= lower.y1 for upper, lower in itertools.pairwise(boxes))
    if classes > 6:
        # Parallel lines of letters: how far they are apart is less than how far they begin from one another.
        apart = cell * (panel.get_xticks()[1] - panel.get_xticks()[0]) * np.sin(np.pi / 6)
        assert apart >= columns[0].get_fontsize() * figure.dpi / 72


@pytest.mark.parametrize(("classes", "wide", "named"), [(2, 1, 2), (6, 1, 6), (9, 1.5, 9), (20, 2, 20), (50, 2, 17)])
def test_a_picture_grows_with_its_classes_up_to_twice_a_column(classes, wide, named):
    figure, panel = counted(classes)
    assert figure.get_size_inches() == pytest.approx((wide * INCHES, 2 * wide * (INCHES - 0.4)))
    assert len(panel.get_yticklabels()) == named
    # What has no numbers says what its colours mean.
    assert len(figure.axes) == (2 if classes <= 12 else 4)
