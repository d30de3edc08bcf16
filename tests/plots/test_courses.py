"""Pictures of sweeps whose values lie far apart."""

import itertools

import pytest

from hf_multitask.plots import sweep_curve


def swept(values):
    """The panel of a sweep over these values of a setting, drawn."""
    figure = sweep_curve(dict.fromkeys(values, (0.7, None)), setting="weight", title="Weight")
    figure.draw_without_rendering()
    return figure.axes[0]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0, 0.001, 0.01, 0.1], "symlog"),
        ([0, 3e-5, 1e-4, 5e-3], "symlog"),
        ([0, 1, 5, 100], "symlog"),
        ([0, 0.1, 0.5, 1], "linear"),
        ([0, 1], "linear"),
        ([0], "linear"),
        ([-1, 0, 1, 100], "linear"),
        ([1e-5, 1e-3], "log"),
    ],
)
def test_zero_and_values_far_apart_are_all_seen(values, scale):
    panel = swept(values)
    assert panel.get_xscale() == scale
    low, high = panel.get_xlim()
    assert low < min(values)
    assert high > max(values)
    if scale == "symlog":
        assert 0 in panel.get_xticks()
        assert all(tick >= 0 for tick in panel.get_xticks())
        boxes = [label.get_window_extent() for label in panel.get_xticklabels()]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
        places = panel.transData.transform([(value, 0.7) for value in values])[:, 0]
        width = panel.get_window_extent().width
        assert all(right - left > width / 10 for left, right in itertools.pairwise(places))
