"""The figure of the query: bars against the counts, and bytes against a second run."""

import io
import itertools
import json

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from workflow_scripts.report import figures
from workflow_scripts.report.query_figure import BARS, CHOSEN, OTHER, PANELS, TAKEN, query_figure
from workflow_scripts.semantic.selection import select_classes, selection_summary

NAMES = [f"class {i}" for i in range(200)]
SIGMA, K = 10.0, 4


def case(rows=10, columns=62, each=3, sensitive=None, public=None, scale=100.0, seed=0):
    rng = np.random.default_rng(seed)
    noisy = rng.exponential(scale, (rows, columns)) + rng.normal(0, 20, (rows, columns))
    names = sensitive or [f"thing {i}" for i in range(rows)]
    public = public or NAMES[:columns]
    chosen = select_classes(noisy, each)
    summary = selection_summary(noisy, chosen, names, public, K, SIGMA)
    # As it comes from its file.
    return noisy, chosen, json.loads(json.dumps(summary, sort_keys=True))


def bars(axes):
    """Name, length and colour of each bar, from the top."""
    names = [label.get_text() for label in axes.get_yticklabels()]
    drawn = [(bar.get_width(), to_hex(bar.get_facecolor()).upper()) for bar in axes.containers[0]]
    return [(name, *bar) for name, bar in zip(names, drawn, strict=True)]


def assert_nothing_is_cut_off(figure):
    figure.canvas.draw()
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    # In inches; a thousandth of a pixel is rounding.
    width, height = figure.get_size_inches() + 1e-5
    assert box.x0 > -1e-5 and box.y0 > -1e-5 and box.x1 < width and box.y1 < height, box
    assert width <= figures.PAGE / figures.DPI


def assert_nothing_overlaps(figure):
    figure.canvas.draw()
    texts = [text for axes in figure.axes for text in (*axes.get_yticklabels(), axes._left_title)]
    boxes = [text.get_window_extent().shrunk(0.95, 0.8) for text in texts if text.get_text()]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


def test_bars_are_the_largest_counts_and_colours_say_who_chose_them():
    noisy, chosen, summary = case()
    figure = query_figure(noisy, summary)
    assert len(figure.axes) == 10
    assert [axes.get_title(loc="left") for axes in figure.axes] == summary["sensitive_classes"]
    for row, axes in enumerate(figure.axes):
        drawn = bars(axes)
        assert len(drawn) == BARS
        columns = [NAMES.index(name) for name, *_ in drawn]
        lengths = [length for _, length, _ in drawn]
        assert lengths == noisy[row, columns].tolist() == sorted(lengths, reverse=True)
        # The chosen ones, and besides the largest.
        rest = [j for j in np.argsort(-noisy[row]).tolist() if j not in chosen[row]]
        assert set(columns) == {*chosen[row].tolist(), *rest[: BARS - chosen.shape[1]]}
        for column, (_, _, colour) in zip(columns, drawn, strict=True):
            mine, anyones = column in chosen[row], column in chosen
            assert colour == (CHOSEN if mine else TAKEN if anyones else OTHER).upper()


def test_every_chosen_count_is_printed_in_noise_deviations():
    noisy, chosen, summary = case()
    for row, axes in enumerate(query_figure(noisy, summary).axes):
        printed = [text.get_text() for text in axes.texts]
        ratios = sorted(noisy[row, chosen[row]] / (SIGMA * 2), reverse=True)
        assert printed == [f"{ratio:.1f}σ" for ratio in ratios]


def test_the_band_is_one_deviation_of_the_noise():
    noisy, _, summary = case()
    figure = query_figure(noisy, summary)
    for axes in figure.axes:
        (band,) = (patch for patch in axes.patches if patch not in axes.containers[0].patches)
        assert (band.get_x(), band.get_width()) == (-20, 40)
        assert axes.lines[0].get_xdata()[0] == summary["noise_maximum"]
    assert "noise, ±20" in [text.get_text() for text in figure.legends[0].texts]


LONG = [f"{'Rhodesian ridgeback' if i % 2 else 'n'}{i:08d}, another name" for i in range(1000)]
SHAPES = {
    "glyphs": {},
    "one class, all chosen": {"rows": 1, "columns": 5, "each": 5},
    "more chosen than bars": {"rows": 2, "columns": 62, "each": 30},
    "long names": {"rows": 10, "columns": 1000, "each": 5, "public": LONG, "sensitive": LONG[:10]},
    "many classes": {"rows": 100, "columns": 1000, "each": 3, "public": LONG},
    "no signal": {"scale": 0.01},
    "dollars": {"sensitive": [f"$\\frac${i}" for i in range(10)], "public": ["$_$"] * 62},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_cut_off_or_overlaps(shape):
    noisy, _, summary = case(**SHAPES[shape])
    figure = query_figure(noisy, summary)
    assert_nothing_is_cut_off(figure)
    assert_nothing_overlaps(figure)


def test_of_many_classes_the_first_are_drawn_and_that_is_said():
    noisy, _, summary = case(**SHAPES["many classes"])
    figure = query_figure(noisy, summary)
    assert len(figure.axes) == PANELS == 20
    assert figure.get_supxlabel() == "noisy count, the first 20 of 100 classes"
    assert query_figure(*case()[::2]).get_supxlabel() == "noisy count"


def test_of_many_chosen_the_largest_are_drawn_and_that_is_said():
    noisy, _, summary = case(**SHAPES["more chosen than bars"])
    for axes in query_figure(noisy, summary).axes:
        assert {colour for *_, colour in bars(axes)} == {CHOSEN.upper()}
        assert axes.get_xlabel() == "and 18 more that were chosen"


def test_equal_data_gives_equal_bytes_whatever_the_users_settings(tmp_path):
    noisy, _, summary = case()
    figures.save(query_figure(noisy, summary), tmp_path / "one.png")
    mine = {"font.size": 20, "savefig.bbox": "tight", "axes.facecolor": "red"}
    with matplotlib.rc_context(mine):
        figures.save(query_figure(noisy, summary), tmp_path / "two.png")
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two and set(Image.open(io.BytesIO(one)).info) == {"dpi"}
