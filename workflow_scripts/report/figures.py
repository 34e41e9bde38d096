"""Figures of the report: accuracy by iteration, accuracy by ε, grids of released samples.

Every function returns a Matplotlib ``Figure`` drawn by Agg, under Matplotlib's own defaults and
fonts rather than the user's, so that equal data gives equal bytes. Colours are those of Okabe and
Ito (Color Universal Design, 2008), told apart by readers with any colour vision; markers and line
styles say the same again in grey.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from workflow_scripts.files import write_bytes
from workflow_scripts.report.table import Measure, measure_of

DPI = 150

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 3)), (0, (1, 3)))

_STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 3,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
}


def accuracy_by_iteration(iterations: pd.DataFrame, metric: str) -> Figure:
    """Draw a metric of the population over the iterations of Private Evolution.

    Parameters
    ----------
    iterations : DataFrame
        Long form: dataset, method, epsilon (float), seed, iteration (int, 0 is the initial
        population), metric, value (float). Further columns are ignored.
    metric : str
        The metric to draw, such as ``accuracy_logistic``.

    Returns
    -------
    Figure
        A facet for each data set, a line for each method and ε: the mean over seeds, with a band
        of one sample standard deviation.

    Raises
    ------
    ValueError
        If the metric does not occur.
    """
    chosen = _only(iterations, metric)
    methods = list(chosen["method"].unique())
    # The largest ε is drawn solid.
    epsilons = sorted(chosen["epsilon"].unique(), reverse=True)
    dashes = {epsilon: LINES[i % len(LINES)] for i, epsilon in enumerate(epsilons)}
    with _style():
        entries = len(methods) + len(epsilons)
        figure, facets = _facets(list(chosen["dataset"].unique()), metric, entries)
        for dataset, axes in facets.items():
            here = chosen[chosen["dataset"] == dataset]
            for method in methods:
                for epsilon in epsilons:
                    line = here[(here["method"] == method) & (here["epsilon"] == epsilon)]
                    if line.empty:
                        continue
                    over_seeds = line.groupby("iteration")["value"].agg(["mean", "std"])
                    mean, sd = over_seeds["mean"], over_seeds["std"].fillna(0)
                    look = _look(methods.index(method), dashes[epsilon])
                    axes.plot(mean.index, mean, **look)
                    axes.fill_between(
                        mean.index, mean - sd, mean + sd, color=look["color"], alpha=0.13, lw=0
                    )
            axes.set_xlabel("PE iteration")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        # Colour and marker tell the method, the line its ε: short, however many lines there are.
        handles = [Line2D([], [], label=m, **_look(i, "-")) for i, m in enumerate(methods)]
        handles += [
            Line2D([], [], label=f"ε = {e:g}", color="#444444", linestyle=dashes[e])
            for e in epsilons
        ]
        figure.legend(handles=handles, loc="outside right upper")
    return figure


def accuracy_by_epsilon(table: pd.DataFrame, metric: str) -> Figure:
    """Draw a metric against the privacy budget.

    Parameters
    ----------
    table : DataFrame
        From `workflow_scripts.report.table.summarise`.
    metric : str
        The metric to draw; the table has ``<metric>_mean`` and ``<metric>_sd``.

    Returns
    -------
    Figure
        A facet for each data set, a line for each method over ε (log scale) with error bars of
        one sample standard deviation. Methods with ε = 0 or ε = ∞ are horizontal lines.

    Raises
    ------
    ValueError
        If the metric does not occur.
    """
    mean, sd = f"{metric}_mean", f"{metric}_sd"
    if mean not in table:
        found = [c.removesuffix("_mean") for c in table if c.endswith("_mean")]
        raise ValueError(f"no metric {metric}; found {', '.join(found) or 'none'}")
    known = table[table[mean].notna()]
    finite = (known["epsilon"] > 0) & (known["epsilon"] < math.inf)
    budgeted, bounds = known[finite], known[~finite]
    methods = list(budgeted["method"].unique())
    epsilons = sorted(budgeted["epsilon"].unique())
    with _style():
        figure, facets = _facets(list(table["dataset"].unique()), metric, len(methods))
        for dataset, axes in facets.items():
            axes.set_xscale("log")
            for i, method in enumerate(methods):
                line = budgeted[(budgeted["dataset"] == dataset) & (budgeted["method"] == method)]
                line = line.sort_values("epsilon")
                if line.empty:
                    continue
                # A small step aside keeps the error bars of methods apart.
                aside = 1.035 ** (i - (len(methods) - 1) / 2)
                axes.errorbar(
                    line["epsilon"] * aside,
                    line[mean],
                    yerr=line[sd],
                    capsize=3,
                    elinewidth=1.1,
                    **_look(i, "-"),
                )
            for row in bounds[bounds["dataset"] == dataset].to_dict("records"):
                dashes = (0, (1, 1.5)) if row["epsilon"] == 0 else (0, (6, 2))
                axes.axhline(row[mean], color="#555555", lw=1.2, ls=dashes, zorder=1)
                axes.annotate(
                    row["method"],
                    (1.0, row[mean]),
                    xycoords=("axes fraction", "data"),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    color="#333333",
                    fontsize=8.5,
                )
            if epsilons:
                axes.set_xlim(epsilons[0] / 1.5, epsilons[-1] * 1.5)
            axes.xaxis.set_major_locator(FixedLocator(epsilons))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_xlabel("privacy budget ε (log scale)")
        handles = [Line2D([], [], label=m, **_look(i, "-")) for i, m in enumerate(methods)]
        if handles:
            figure.legend(handles=handles, loc="outside right upper")
    return figure


def sample_grid(rows: list[tuple[str, np.ndarray]], classes: list[str]) -> Figure:
    """Show released images: a row for each population, a column for each class.

    Parameters
    ----------
    rows : list of (str, ndarray)
        A label, such as ``sim-pe ε=1, t=3``, and one image of each class, uint8
        ``[n_classes, H, W, C]`` with C = 1 (grey) or 3 (RGB). Released images only.
    classes : list of str
        The class names, in the order of the images.

    Returns
    -------
    Figure
        Images enlarged by whole factors without smoothing, so that every pixel is a square.

    Raises
    ------
    ValueError
        If there are no rows, if images are not as described, or if a row is labelled ``real``:
        private images are never pictured.
    """
    if not rows or not classes:
        raise ValueError(f"nothing to show: {len(rows)} rows, {len(classes)} classes")
    for label, images in rows:
        if label.split()[:1] == ["real"]:
            raise ValueError(f"row {label!r}: private images are never pictured")
        right = images.ndim == 4 and len(images) == len(classes) and images.shape[3] in (1, 3)
        if images.dtype != np.uint8 or not right or 0 in images.shape:
            raise ValueError(
                f"row {label!r}: expected uint8 [{len(classes)}, H, W, 1 or 3], "
                f"found {images.dtype} {list(images.shape)}"
            )
    side = max(max(images.shape[1:3]) for _, images in rows)
    cell = side * math.ceil(64 / side)
    step = cell + max(cell // 12, 1)
    canvas = np.full((step * len(rows), step * len(classes), 3), 255, np.uint8)
    for i, (_, images) in enumerate(rows):
        factor = cell // max(images.shape[1:3])
        for j, image in enumerate(images):
            large = image.repeat(factor, axis=0).repeat(factor, axis=1)
            top, left = (i * step, j * step) + (step - np.array(large.shape[:2])) // 2
            canvas[top : top + large.shape[0], left : left + large.shape[1]] = large
    # One pixel of the canvas is one pixel of the file; only large images are drawn smaller.
    shown = min(1.0, 128 / cell)
    height, width = (round(shown * n) for n in canvas.shape[:2])

    with _style():
        figure = Figure(facecolor="white", dpi=DPI)
        renderer = FigureCanvasAgg(figure).get_renderer()
        look = {"fontsize": 9, "color": "#111111"}
        beside = [figure.text(0, 0, label, ha="right", va="center", **look) for label, _ in rows]
        above = [figure.text(0, 0, name, ha="center", va="bottom", **look) for name in classes]
        extents = [text.get_window_extent(renderer) for text in above]
        if max(extent.width for extent in extents) > 0.9 * shown * step:
            for text in above:
                text.set_rotation(90)
            extents = [text.get_window_extent(renderer) for text in above]
        margin, pad = 12, 10
        left = margin + pad + math.ceil(max(t.get_window_extent(renderer).width for t in beside))
        top = margin + pad + math.ceil(max(extent.height for extent in extents))
        size = np.array([left + width + margin, top + height + margin])
        figure.set_size_inches(size / DPI)
        for i, text in enumerate(beside):
            y = height + margin - (i + 0.5) * height / len(rows)
            text.set_position(np.array([left - pad, y]) / size)
        for j, text in enumerate(above):
            x = left + (j + 0.5) * width / len(classes)
            text.set_position(np.array([x, height + margin + pad]) / size)
        axes = figure.add_axes(np.array([left, margin, width, height]) / np.tile(size, 2))
        axes.imshow(canvas, interpolation="nearest" if shown == 1 else "auto", aspect="auto")
        axes.set_axis_off()
    return figure


def png(figure: Figure) -> bytes:
    """Render a figure as PNG at ``DPI``; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with _style():
        # Matplotlib would write its version into the file.
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to `path` as PNG, whole or not at all."""
    write_bytes(path, png(figure))


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _facets(
    datasets: list[str], metric: str, legend_entries: int
) -> tuple[Figure, dict[str, Axes]]:
    """A figure with axes for each data set, at most three in a line, and room for the legend."""
    across = min(len(datasets), 3)
    down = math.ceil(len(datasets) / across)
    height = max(3.0 * down + 0.3, 0.21 * legend_entries + 0.3)
    size = (3.4 * across + 1.9 if across > 1 else 6.6, height)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, squeeze=False)
    measure, where = measure_of(metric)
    facets = dict(zip(datasets, grid.flat, strict=False))
    for axes in grid.flat[len(datasets) :]:
        axes.remove()
    for i, (dataset, axes) in enumerate(facets.items()):
        axes.set_title(dataset, loc="left")
        if i % across == 0:
            axes.set_ylabel(_axis_label(measure, where))
        if measure.kind == "percent":
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    return figure, facets


def _axis_label(measure: Measure, where: str) -> str:
    unit = " (%)" if measure.kind == "percent" else ""
    return f"{measure.title}{f', {where}' if where else ''}{unit}"


def _look(method: int, line: str) -> dict:
    return {
        "color": COLOURS[method % len(COLOURS)],
        "marker": MARKERS[method % len(MARKERS)],
        "linestyle": line,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
    }


def _only(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    chosen = frame[frame["metric"] == metric]
    if chosen.empty:
        known = ", ".join(frame["metric"].unique()) or "none"
        raise ValueError(f"no metric {metric}; found {known}")
    return chosen
