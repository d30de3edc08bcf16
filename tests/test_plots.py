import io
import itertools

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from PIL import Image

from hf_multitask.plots import (
    RowMarks,
    agreement,
    confusion,
    embedded,
    embedding_map,
    height_map,
    learning_curves,
    map_figure,
    png,
    reliability,
    rows_beside,
    scatter,
    signed,
    sweep_curve,
    task_shares,
    within,
)
from hf_multitask.plots.canvas import INCHES, ink
from hf_multitask.plots.maps import placed

draw = np.random.default_rng(0)
ROWS = draw.normal(size=(12, 4))
HISTORY = [{"step": 1, "loss": 2.0, "loss_sst": 1.0}, {"step": 2, "eval_sst_accuracy": 0.5}]
THREE = [i % 3 for i in range(12)]
GRADES = [f"a grade of number {i}" for i in range(12)]
MEMBERS = [f"simcse_pal_strong-{i}-0" for i in range(30)]
TASKS = {"sst": "accuracy", "qqp": "accuracy", "sts": "pearson"}
TABLE = [
    RowMarks("Base", ours=0.7, interval=(0.68, 0.72), theirs=0.76),
    RowMarks("MNRL, Bregman, mu 1", 0.72, (0.7, 0.74), theirs=0.75, gain=(0.02, 0.01, 0.03), over="Mean of 9 models"),
    RowMarks("Theirs alone", theirs=0.77),
    RowMarks("mean", ours=0.71, crossfitted=0.71 + 1e-9),
    RowMarks("ensemble", ours=0.0, crossfitted=0.69, gain=(0.001, -0.01, 0.02), over="Base"),
]
PICTURES = {
    "confusion": lambda: confusion([[3, 1], [0, 2]], ["no", "yes"], title="qqp"),
    "scatter": lambda: scatter(draw.random(9) * 5, draw.random(9) * 5, title="sts", low=0, high=5),
    "reliability": lambda: reliability(draw.dirichlet([1, 1], 20), draw.integers(0, 2, 20), title="qqp"),
    "labels": lambda: agreement(draw.integers(0, 3, (3, 9)), ["a", "b", "c"], title="sst", numbers=False),
    "numbers": lambda: agreement(draw.random((2, 9)), ["a", "b"], title="sts", numbers=True),
    "curves": lambda: learning_curves(HISTORY, {"sst": "accuracy"}),
    "shares": lambda: task_shares({"sst": [0.2, 0.4], "qqp": [0.8, 0.6]}),
    "sweep": lambda: sweep_curve({1e-5: (0.7, 0.01), 5e-4: (0.8, None)}, {1e-5: 0.6}, setting="rate", title="Rate"),
    "pca": lambda: map_figure({"dev": ROWS}, THREE, ["a", "b", "c"], by="PCA"),
    "height": lambda: height_map(ROWS, range(12), title="sst", height="grade"),
    "classes": lambda: height_map(ROWS, THREE, title="sst", height="label", names=["very bad", "so so", "very good"]),
    "grades": lambda: height_map(ROWS, range(12), title="sst", height="label", names=GRADES),
    "epoch": lambda: task_shares({"sst": [0.2], "qqp": [1.0]}),
    "baseline": lambda: sweep_curve({1: (0.7, None)}, setting="rate", title="Rate", baseline=("without", 0.6)),
    "rows": lambda: rows_beside(TABLE, title="rows: jack_of_all_trades, small", measure="sts, Pearson's r"),
    "many": lambda: agreement(draw.random((30, 9)), MEMBERS, title="a_task_of_ours on dev: it", numbers=True),
}


def test_a_map_has_a_panel_for_each_embedding_and_is_the_same_again(tmp_path):
    rows = {name: draw.normal(size=(12, 4)) for name in ("before", "after")}
    files = [embedding_map(tmp_path / f"{i}.png", rows, THREE, ["a", "b", "c", "nobody"]) for i in range(2)]
    one, other = (file.read_bytes() for file in files)
    assert one.startswith(b"\x89PNG")
    assert one == other


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_has_a_title_and_names_its_axes(name):
    figure = PICTURES[name]()
    panels = [panel for panel in figure.axes if panel.get_label() != "<colorbar>"]
    assert panels
    assert all(panel.get_title() and panel.get_xlabel() for panel in panels)
    # Panels side by side may have one axis, which is named once.
    assert all(any(one.get_ylabel() for one in panel.get_shared_y_axes().get_siblings(panel)) for panel in panels)
    assert embedded(figure).startswith("data:image/png;base64,iVBOR")


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_of_a_signed_picture_is_cut_off_in_a_column(name):
    figure = signed(PICTURES[name](), "pal_one_sequence-0, seed 0")
    assert "pal_one_sequence-0, seed 0" in [text.get_text() for text in figure.axes[0].texts]
    figure.draw_without_rendering()
    inside, (wide, high) = figure.get_tightbbox(), figure.get_size_inches()
    assert wide == pytest.approx(2 * INCHES if name == "rows" else INCHES) or name == "many"
    assert min(inside.x0, inside.y0, wide - inside.x1, high - inside.y1) > -0.02


def light(colour):
    """The relative luminance of a colour, by the sRGB standard."""
    parts = np.array(to_rgb(colour))
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("share", np.linspace(0, 1, 11))
def test_a_number_contrasts_with_its_cell(share):
    cell = colormaps["cividis"](share)
    dark, bright = sorted([light(cell), light(ink(cell))])
    # What the guidelines ask of text.
    assert (bright + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("most", [60_000, 10_000])
def test_a_picture_that_is_too_large_gets_fewer_dots(most, tmp_path):
    large = png(scatter(draw.random(5000) * 5, draw.random(5000) * 5, title="sts", low=0, high=5))
    small = within(large, most)
    assert len(small) <= most < len(large)
    with Image.open(io.BytesIO(small)) as image, Image.open(io.BytesIO(large)) as before:
        assert 0 < image.size[0] <= before.size[0]
    assert within(small, most) == small
    (tmp_path / "small.png").write_bytes(small)
    assert png(tmp_path / "small.png") == small


def test_a_point_of_a_reliability_diagram_is_at_what_its_answers_say():
    sure = np.repeat([0.995, 0.6, 0.62, 0.7], [200, 10, 10, 9])
    right = np.concatenate([np.arange(200) > 0, np.arange(20) < 12, np.arange(9) < 3])
    (panel,) = reliability(np.stack([sure, 1 - sure], 1), 1 - right, title="qqp").axes
    lines = {line.get_label(): line for line in panel.lines}
    # Bins are a fifteenth wide and closed above.
    points = lines["share that is right"]
    np.testing.assert_allclose(points.get_xydata(), [[0.6, 1.0], [0.62, 0.2], [0.995, 0.995]])
    few = lines["share that is right, of under 10 answers or 1% of all"]
    np.testing.assert_allclose(few.get_xydata(), [[0.7, 1 / 3]])
    assert few.get_linestyle() == "None"
    assert few.get_markerfacecolor() == "white" != points.get_markerfacecolor()
    assert not points.get_clip_on()


def test_agreement_is_the_share_of_equal_answers():
    said = draw.integers(0, 3, (4, 50))
    (image,) = agreement(said, "abcd", title="sst", numbers=False).axes[0].images
    expected = [[np.mean(one == other) for other in said] for one in said]
    np.testing.assert_allclose(image.get_array(), expected)
    numbers = draw.normal(size=(3, 20))
    (image,) = agreement(numbers, "abc", title="sts", numbers=True).axes[0].images
    np.testing.assert_allclose(image.get_array(), np.corrcoef(numbers))


@pytest.mark.parametrize(("wrong", "low"), [(0, 0.95), (3, 0.85), (11, 0.45)])
def test_the_scale_of_an_agreement_starts_below_the_lowest_and_each_cell_says_its_own(wrong, low):
    said = np.tile(np.arange(20) % 5, (3, 1))
    said[0, :wrong] += 1
    panel = agreement(said, "abc", title="sst", numbers=False).axes[0]
    assert panel.images[0].get_clim() == pytest.approx((low, 1))
    numbers = {tuple(text.get_position()): float(text.get_text()) for text in panel.texts}
    assert len(numbers) == 9
    assert numbers[1, 0] == numbers[0, 2] == pytest.approx(1 - wrong / 20)
    assert numbers[1, 2] == numbers[0, 0] == 1


def test_of_many_members_no_name_lies_on_another():
    for members in (12, 30):
        figure = agreement(draw.random((members, 9)), MEMBERS[:members], title="sts", numbers=True)
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
        assert len(boxes) == members
        assert all(upper.y0 >= lower.y1 for upper, lower in itertools.pairwise(boxes))
        assert bool(figure.axes[0].texts) == (members <= 12)


@pytest.mark.parametrize("shares", [[1.0, 1.0], [0.2, 0.3, 0.3]])
def test_tasks_of_equal_shares_are_all_seen(shares):
    (panel,) = task_shares(dict.fromkeys(TASKS, shares)).axes
    lines = panel.lines
    assert [list(line.get_ydata()) for line in lines] == [shares] * 3
    # Each is narrower than the one below it.
    for measure in ("get_linewidth", "get_markersize"):
        sizes = [getattr(line, measure)() for line in lines]
        assert sizes == sorted(set(sizes), reverse=True)
    for look in ("get_linestyle", "get_marker", "get_color"):
        assert len({getattr(line, look)() for line in lines}) == 3
    assert {line.get_markerfacecolor() for line in lines} == {"none"}
    assert all(tick == int(tick) for tick in panel.get_xticks())


def test_shares_of_one_epoch_are_bars():
    (panel,) = task_shares({"sst": [0.2], "qqp": [0.8]}).axes
    assert not panel.lines
    assert [bar.get_height() for bar in panel.patches] == [0.2, 0.8]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["sst", "qqp"]


def logged(task, steps):
    return [{"step": step, f"loss_{task}": 1.0 + step / 1000} for step in steps]


def test_a_curve_is_what_was_logged_and_is_broken_where_its_task_was_not_trained():
    history = [*logged("sst", [50, 100, 150]), *logged("qqp", range(200, 400, 50)), *logged("sst", [400, 450])]
    panel = learning_curves(history, TASKS).axes[0]
    first, second = (line.get_xydata() for line in panel.lines)
    holes = np.isnan(first).all(1)
    assert holes.tolist() == [False, False, False, True, False, False]
    expected = [[entry["step"], entry["loss_sst"]] for entry in history if "loss_sst" in entry]
    np.testing.assert_array_equal(first[~holes], expected)
    assert second[:, 0].tolist() == [200, 250, 300, 350]
    # Not further than three times as usual.
    (line,) = learning_curves(logged("sst", [50, 100, 250]), TASKS).axes[0].lines
    assert not np.isnan(line.get_xydata()).any()


def test_both_panels_of_curves_show_all_steps_and_the_metric_of_each_task():
    history = [*logged("sst", [30]), {"step": 90, "eval_sst_accuracy": 0.5, "eval_sts_pearson": 0.7}]
    panels = learning_curves(history, TASKS).axes
    assert panels[0].get_xlim() == panels[1].get_xlim()
    low, high = panels[0].get_xlim()
    assert low <= 0 < 90 < high
    assert all(tick == int(tick) for panel in panels for tick in panel.get_xticks())
    assert [text.get_text() for text in panels[1].get_legend().texts] == ["sst, accuracy", "sts, pearson"]
    assert panels[1].get_ylabel() == "metric on dev"


@pytest.mark.parametrize(("small", "scale"), [(0.1, "log"), (0.11, "linear"), (0.0, "linear")])
def test_losses_of_different_size_are_on_a_logarithmic_axis(small, scale):
    history = [{"step": 1, "loss_sst": 1.0, "loss_sts": small}]
    assert learning_curves(history, TASKS).axes[0].get_yscale() == scale


def test_a_height_is_named_as_its_class():
    figure = height_map(ROWS, THREE, title="sst", height="label", names=["a", "b", "c"])
    (panel,), (key,) = figure.axes, figure.legends
    assert panel.get_zticks().tolist() == [0, 1, 2]
    assert [label.get_text() for label in panel.get_zticklabels()] == ["a", "b", "c"]
    assert [text.get_text() for text in key.texts] == ["a", "b", "c"]
    assert all(set(points.get_offsets().shape) == {4, 2} for points in panel.collections)


def test_an_axis_of_pca_says_its_share_of_the_variance():
    (panel,) = map_figure({"dev": ROWS}, THREE, ["a", "b", "c"], by="PCA").axes
    sizes = np.linalg.svd(ROWS - ROWS.mean(0), compute_uv=False) ** 2
    shares = [f"{size / sizes.sum():.0%}" for size in sizes[:2]]
    assert panel.get_xlabel() == f"PCA 1 ({shares[0]} of the variance)"
    assert panel.get_ylabel() == f"PCA 2 ({shares[1]} of the variance)"
    # Seen on white, however light.
    assert all(light(points.get_edgecolor()[0]) < 0.1 < points.get_linewidth()[0] for points in panel.collections)


ALIKE = {
    "same": np.full((12, 4), 0.1, np.float32),
    "ones": np.ones((12, 4), np.float32),
    "vanishing": (1e-30 * ROWS).astype(np.float32),
}


@pytest.mark.parametrize("rows", ALIKE.values(), ids=ALIKE)
def test_rows_that_are_all_the_same_lie_at_one_place(rows):
    for by, said in (("PCA", "(0% of the variance)"), ("t-SNE", "axis")):
        places, axes = placed(rows, by=by)
        assert places.tolist() == [[0, 0]] * 12
        assert all(axis.endswith(said) for axis in axes)
        assert embedded(map_figure({"dev": rows}, THREE, ["a", "b", "c"], by=by))
    assert embedded(height_map(rows, THREE, title="sst", height="label", names=["a", "b", "c"]))


@pytest.mark.parametrize("by", ["PCA", "t-SNE"])
def test_rows_that_are_nearly_the_same_have_places(by):
    spread = np.random.default_rng(1).normal(size=(40, 16))
    column = np.where(np.arange(16) == 3, spread, 1.0)
    for rows in (1 + 2e-8 * spread, column, 1 + 1e-7 * column):
        places, axes = placed(rows.astype(np.float32), by=by)
        assert np.isfinite(places).all()
        assert np.ptp(places) > 0
        assert "nan" not in "".join(axes)


@pytest.mark.parametrize(("second", "span"), [(0.7005, 0.02), (0.9, 0.2)])
def test_a_sweep_does_not_enlarge_noise(second, span):
    (panel,) = sweep_curve({1.0: (0.7, None), 2.0: (second, None)}, setting="rate", title="Rate").axes
    low, high = panel.get_ylim()
    assert high - low == pytest.approx(span, rel=0.15)
    assert low < 0.7 < second < high


def drawn(*args, **options):
    """The bars of a sweep [n, 2] by their place, and what its key says."""
    figure = sweep_curve(*args, setting="rate", title="Rate", **options)
    (panel,) = figure.axes
    segments = [ends for bars in panel.collections for ends in bars.get_segments() if len(ends)]
    bars = {float(ends[0, 0]): ends[:, 1].tolist() for ends in segments}
    return panel, bars, [text.get_text() for text in figure.legends[0].texts]


def test_only_what_was_measured_has_bars_in_a_sweep():
    panel, bars, labels = drawn({1.0: (0.7, None), 2.0: (0.6, None)})
    assert (bars, labels, panel.containers) == ({}, ["ours"], [])
    assert panel.lines[0].get_xydata().tolist() == [[1, 0.7], [2, 0.6]]
    _, bars, labels = drawn({1.0: (0.7, 0.1), 2.0: (0.6, None), 3.0: (0.5, 0.0)})
    assert (bars, labels) == ({1.0: pytest.approx([0.6, 0.8])}, ["ours, deviation over the seeds"])


def test_a_sweep_has_a_tick_for_what_was_tried_and_says_what_ours_had_there():
    figure = sweep_curve({1: (0.7, None), 3: (0.6, None)}, setting="rate", title="Rate", here={3: 12})
    (panel,) = figure.axes
    assert panel.get_xticks().tolist() == [1, 3]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["1", "3\n(12)"]
    assert panel.get_xlabel() == "rate (ours)"


def test_the_bars_of_a_sweep_are_its_intervals():
    ours = {1.0: (0.7, 0.1), 2.0: (0.6, None), 3.0: (0.5, None)}
    # The second does not hold its value, and the third is unknown.
    _, bars, labels = drawn(ours, intervals={1.0: (0.65, 0.8), 2.0: (0.62, 0.66)})
    assert bars == {1.0: pytest.approx([0.65, 0.8]), 2.0: pytest.approx([0.6, 0.66])}
    assert labels == ["ours, 95% interval"]


def test_a_sweep_shows_what_was_published_and_what_is_without_it_each_with_a_look_of_its_own():
    panel, _, labels = drawn({1.0: (0.7, None)}, {1.0: 0.8, 2.0: 0.9}, baseline=("without", 0.3))
    ours, theirs, without = panel.lines
    assert labels == ["ours", "published", "without"]
    assert theirs.get_xydata().tolist() == [[1, 0.8], [2, 0.9]]
    assert set(without.get_ydata()) == {0.3}
    assert panel.get_ylim()[0] < 0.3
    for look in ("get_color", "get_marker"):
        assert len({getattr(line, look)() for line in (ours, theirs, without)}) == 3
    assert [line.get_linestyle() for line in (ours, theirs, without)] == ["-", "--", "--"]


def test_rows_stand_beside_each_other_in_the_order_of_the_table():
    figure = rows_beside(TABLE, title="rows", measure="score (0 to 1)")
    first, second = figure.axes
    names = ["Base [a]", *(row.name for row in TABLE[1:])]
    assert [label.get_text() for label in first.get_yticklabels()] == names
    low, high = first.get_ylim()
    assert low > high
    marks = {line.get_label(): line.get_xydata().tolist() for line in first.lines}
    assert marks["published"] == [[0.76, 0], [0.75, 1], [0.77, 2]]
    assert marks["cross-fitted"] == [[0.69, 4]]
    (ours,) = first.containers
    assert ours.get_label() == "ours, 95% interval"
    assert ours.lines[0].get_xydata().tolist() == [[0.7, 0], [0.72, 1], [0.71, 3], [0.0, 4]]
    ends = [bar[:, 0].tolist() for bar in ours.lines[2][0].get_segments() if len(bar)]
    assert ends[:2] == [pytest.approx([0.68, 0.72]), pytest.approx([0.7, 0.74])]
    assert second.get_xlabel() == "difference in score, 95% interval"
    gains = {one.lines[0].get_ydata()[0]: one.lines[0] for one in second.containers}
    assert {place: line.get_xdata()[0] for place, line in gains.items()} == {1: 0.02, 4: 0.001}
    said = [text.get_text() for text in figure.legends[0].texts]
    assert said == ["ours, 95% interval", "published", "cross-fitted"]
    # Whom a gain is over has a letter, and its name where it is not in the picture.
    assert {text.xy[1]: text.get_text() for text in second.texts} == {1: "over b", 4: "over a"}
    words = " ".join(second.get_title().split())
    assert words == "what it gains (hollow: inside the noise; b: Mean of 9 models)"
    # What is inside the noise is hollow.
    assert [gains[place].get_markerfacecolor() == "white" for place in (1, 4)] == [False, True]
    (alone,) = rows_beside(TABLE[::3], title="rows", measure="score").axes
    assert alone.get_xlabel() == "score"
