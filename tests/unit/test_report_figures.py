"""Figures: lines against the data, pixels against the images, bytes against a second run."""

import io
import math
from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from workflow_scripts.report import figures


def iterations(datasets=("digits",), methods=("sim-pe", "pe"), epsilons=(1.0, 10.0)):
    rows = [
        (d, m, "0" * 12, e, seed, t, "accuracy_logistic", 0.4 + 0.01 * t * e + 0.02 * seed)
        for d in datasets
        for m in methods
        for e in epsilons
        for seed in (0, 1)
        for t in range(5)
    ]
    names = ["dataset", "method", "key", "epsilon", "seed", "iteration", "metric", "value"]
    return pd.DataFrame(rows, columns=names)


def table(methods=("sim-pe", "pe"), epsilons=(1.0, 10.0), sd=0.02):
    cells = [("random", 0.0, 0.4), ("real", math.inf, 0.95)]
    cells += [(m, e, 0.6 + e / 100) for m in methods for e in epsilons]
    rows = [("digits", m, e, mean, sd) for m, e, mean in cells]
    names = ["dataset", "method", "epsilon", "accuracy_logistic_mean", "accuracy_logistic_sd"]
    return pd.DataFrame(rows, columns=names)


def images(n_classes=10, height=8, width=8, channels=1, seed=0):
    shape = (n_classes, height, width, channels)
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"))


def assert_nothing_is_cut_off(figure):
    figure.canvas.draw()
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    # In inches; a thousandth of a pixel is rounding.
    width, height = figure.get_size_inches() + 1e-5
    assert box.x0 > -1e-5 and box.y0 > -1e-5 and box.x1 < width and box.y1 < height, box


class TestByIteration:
    def test_draws_the_mean_and_the_band(self):
        (axes,) = figures.by_iteration(iterations(), "accuracy_logistic").axes
        means = [line.get_ydata() for line in axes.lines]
        assert len(means) == 4
        assert any(np.allclose(m, 0.41 + 0.1 * np.arange(5)) for m in means)
        assert any(np.allclose(m, 0.41 + 0.01 * np.arange(5)) for m in means)
        # Two seeds 0.02 apart: sample deviation 0.02 / √2 on each side.
        band = axes.collections[0].get_paths()[0].vertices
        at_start = band[band[:, 0] == 0][:, 1]
        assert np.ptp(at_start) == pytest.approx(2 * 0.02 / math.sqrt(2))

    def test_a_facet_for_each_data_set_and_a_style_for_each_line(self):
        data = iterations(("a", "b", "c", "d"), ("x", "y", "z"), (0.2, 1.0, 5.0, 10.0, 20.0))
        figure = figures.by_iteration(data, "accuracy_logistic")
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "b", "c", "d"]
        for axes in figure.axes:
            assert len({(x.get_color(), str(x._dash_pattern)) for x in axes.lines}) == 15
        entries = [text.get_text() for text in figure.legends[0].texts]
        assert entries == ["x", "y", "z", "ε = 20", "ε = 10", "ε = 5", "ε = 1", "ε = 0.2"]
        assert_nothing_is_cut_off(figure)

    def test_room_for_a_long_legend(self):
        data = iterations(methods=[f"method-{i}" for i in range(20)])
        assert_nothing_is_cut_off(figures.by_iteration(data, "accuracy_logistic"))

    def test_refuses_an_unknown_metric(self):
        with pytest.raises(ValueError, match="no metric fid; found accuracy_logistic"):
            figures.by_iteration(iterations(), "fid")


class TestByEpsilon:
    def test_draws_methods_over_epsilon_and_bounds_as_lines(self):
        figure = figures.accuracy_by_epsilon(table(), "accuracy_logistic")
        (axes,) = figure.axes
        assert axes.get_xscale() == "log"
        drawn = {c.lines[0].get_color(): c.lines[0] for c in axes.containers}
        for line in drawn.values():
            # Within the step aside that keeps error bars apart.
            assert np.allclose(line.get_xdata(), [1, 10], rtol=0.05)
            assert np.allclose(line.get_ydata(), [0.61, 0.7])
        level = [x.get_ydata()[0] for x in axes.lines if len(set(x.get_ydata())) == 1]
        assert {0.4, 0.95} <= set(level)
        assert {t.get_text() for t in axes.texts} == {"random", "real"}
        assert [t.get_text() for t in figure.legends[0].texts] == ["sim-pe", "pe"]
        assert_nothing_is_cut_off(figure)

    def test_error_bars_are_one_deviation(self):
        (axes,) = figures.accuracy_by_epsilon(table(), "accuracy_logistic").axes
        segment = axes.containers[0].lines[2][0].get_segments()[0]
        assert segment[:, 1] == pytest.approx([0.59, 0.63])

    @pytest.mark.parametrize("methods", [(), ("pe",)])
    def test_one_seed_or_no_method_still_draws(self, methods):
        data = table(methods, epsilons=(1.0,), sd=math.nan)
        assert pixels(figures.accuracy_by_epsilon(data, "accuracy_logistic")).std() > 0

    def test_refuses_an_unknown_metric(self):
        with pytest.raises(ValueError, match="no metric fid; found accuracy_logistic"):
            figures.accuracy_by_epsilon(table(), "fid")

    def test_names_of_bounds_do_not_overlap(self):
        data = table()
        twice = data[data["method"] == "random"].assign(method="random-2")
        twice["accuracy_logistic_mean"] += 0.001
        figure = figures.accuracy_by_epsilon(pd.concat([twice, data]), "accuracy_logistic")
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
        assert [text.get_text() for text in figure.axes[0].texts] == ["random", "random-2", "real"]
        assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))


def corner_of(image, shown):
    """Where the image, enlarged eightfold, stands in the picture: left and top; it must, once."""
    block = np.broadcast_to(image, (*image.shape[:2], 3)).repeat(8, axis=0).repeat(8, axis=1)
    h, w = block.shape[:2]
    corners = np.argwhere((shown[: 1 - h, : 1 - w] == block[0, 0]).all(axis=-1))
    for y, x in ((h - 1, w - 1), (0, w - 1), (h - 1, 0), (h // 2, w // 2)):
        same = shown[corners[:, 0] + y, corners[:, 1] + x] == block[y, x]
        corners = corners[same.all(axis=-1)]
    ((y, x),) = [(y, x) for y, x in corners if (shown[y : y + h, x : x + w] == block).all()]
    return x, y


class TestSampleGrid:
    def test_budgets_of_a_method_stand_side_by_side_at_the_same_t(self):
        runs = [(method, epsilon) for method in ("sim-pe", "pe") for epsilon in (1, 10)]
        labels = [f"{m} ε={e}, t={t}" for m, e in runs for t in range(6)]
        rows = [(label, images(seed=i)) for i, label in enumerate(["random ε=0", *labels])]
        figure = figures.sample_grid(rows, list("0123456789"))
        assert_nothing_is_cut_off(figure)
        shown = pixels(figure)
        at = {label: corner_of(image[0], shown) for label, image in rows}
        for method in ("sim-pe", "pe"):
            one, ten = ([at[f"{method} ε={e}, t={t}"] for t in range(6)] for e in (1, 10))
            assert [y for _, y in one] == [y for _, y in ten] == sorted({y for _, y in one})
            assert len({x for x, _ in one}) == len({x for x, _ in ten}) == 1
            assert ten[0][0] - one[0][0] > 10 * 64
        assert at["random ε=0"][1] + 64 < at["sim-pe ε=1, t=0"][1]
        assert at["sim-pe ε=1, t=5"][1] + 64 < at["pe ε=1, t=0"][1]
        # The t of every row is beside its middle, and its run is named above the block.
        texts = [(*t.get_position(), t.get_text()) for t in figure.axes[0].texts]
        for label, (x, y) in at.items():
            title, _, t = label.partition(", ")
            (name,) = [place for place in texts if place[2] == title]
            assert 0 <= x - name[0] < 8 and name[1] < at.get(f"{title}, t=0", (x, y))[1]
            near = [place for place in texts if 0 < x - place[0] < 20 and y < place[1] < y + 64]
            assert not t or [place[2] for place in near] == [t]

    def test_a_method_with_many_budgets_takes_several_lines_of_the_page(self):
        rows = [(f"pe ε={e}, t=1", images(seed=e)) for e in range(1, 6)]
        shown = pixels(figures.sample_grid(rows, list("0123456789")))
        assert shown.shape[1] <= figures.PAGE
        places = [corner_of(image[0], shown) for _, image in rows]
        assert len({x for x, _ in places}) == 2 and len({y for _, y in places}) == 3
        assert places == sorted(places, key=lambda place: (place[1], place[0]))

    def test_a_narrow_image_stands_in_the_middle_under_its_name(self):
        narrow = images(2, height=8, width=4)
        figure = figures.sample_grid([("pe", narrow)], ["a", "b"])
        shown = pixels(figure)
        middles = [corner_of(image, shown)[0] + 16 for image in narrow]
        names = [t.get_position()[0] for t in figure.axes[0].texts if t.get_text() in ("a", "b")]
        assert middles == pytest.approx(names, abs=1)

    def test_a_dollar_in_a_name_is_a_dollar(self):
        figure = figures.sample_grid([("$\\frac$ ε=1, t=$", images(2))], ["$_$", "$^$"])
        assert_nothing_is_cut_off(figure)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_every_pixel_is_a_square_of_its_own_colour(self, channels):
        first, second = images(channels=channels), images(channels=channels, seed=1)
        shown = pixels(figures.sample_grid([("a", first), ("b", second)], list("0123456789")))
        # Find each image, enlarged eightfold, somewhere in the picture.
        for image in (*first, *second):
            block = np.broadcast_to(image, (8, 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
            corners = np.argwhere((shown[:-63, :-63] == block[0, 0]).all(axis=-1))
            assert any((shown[y : y + 64, x : x + 64] == block).all() for y, x in corners)

    def test_labels_and_classes_are_inside(self):
        rows = [(f"a long method name ε={e:g}, t=10", images()) for e in (0.1, 1, 10)]
        assert_nothing_is_cut_off(figures.sample_grid(rows, [f"Ankle boot {i}" for i in range(10)]))
        assert_nothing_is_cut_off(figures.sample_grid(rows, list("0123456789")))

    def test_large_images_are_drawn_smaller_and_sizes_may_differ(self):
        rows = [("large", images(2, 256, 200, 3)), ("small", images(2, 32, 32))]
        assert pixels(figures.sample_grid(rows, ["cat", "dog"])).shape[1] < 2 * 256

    @pytest.mark.parametrize("label", ["real", "real ε=∞"])
    def test_private_images_are_never_pictured(self, label):
        with pytest.raises(ValueError, match="private images are never pictured"):
            figures.sample_grid([(label, images())], list("0123456789"))

    @pytest.mark.parametrize(
        "wrong", [images().astype(float), images(9), images()[..., 0], images(channels=2)]
    )
    def test_refuses_images_of_another_form(self, wrong):
        with pytest.raises(ValueError, match=r"expected uint8 \[10, H, W, 1 or 3\], found"):
            figures.sample_grid([("pe", wrong)], list("0123456789"))

    def test_refuses_nothing(self):
        with pytest.raises(ValueError, match="nothing to show"):
            figures.sample_grid([], ["0"])


DRAWINGS = [
    lambda: figures.by_iteration(iterations(), "accuracy_logistic"),
    lambda: figures.accuracy_by_epsilon(table(), "accuracy_logistic"),
    lambda: figures.sample_grid([("pe", images())], list("0123456789")),
]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_equal_data_gives_equal_bytes_whatever_the_users_settings(draw, tmp_path):
    figures.save(draw(), tmp_path / "one.png")
    mine = {"font.size": 20, "lines.linewidth": 5, "savefig.bbox": "tight", "axes.facecolor": "red"}
    with matplotlib.rc_context(mine):
        figures.save(draw(), tmp_path / "two.png")
        assert matplotlib.rcParams["font.size"] == 20
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two
    # Only the size of a pixel is recorded: no date, no program.
    assert set(Image.open(io.BytesIO(one)).info) == {"dpi"}
    assert Image.open(io.BytesIO(one)).info["dpi"] == pytest.approx((150, 150), abs=0.1)
