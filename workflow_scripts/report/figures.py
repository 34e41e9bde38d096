"""Figures of the report: metrics by iteration, accuracy by ε, grids of released samples.

Every function returns a Matplotlib ``Figure`` drawn by Agg, under Matplotlib's own defaults and
fonts rather than the user's, so that equal data gives equal bytes. Colours are those of Okabe and
Ito (Color Universal Design, 2008), told apart by readers with any colour vision; markers and line
styles say the same again in grey.
"""

import io
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from PIL import Image

from workflow_scripts.files import write_bytes
from workflow_scripts.report.measures import Measure, measure_of

DPI = 150
# The width of the report's page in pixels of a figure: 1080 CSS pixels, 96 to the inch.
PAGE = 1080 * DPI // 96

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


def by_iteration(iterations: pd.DataFrame, metric: str) -> Figure:
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
    with style():
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


def diagnostics_by_iteration(diagnostics: pd.DataFrame) -> Figure:
    """Draw how much of the noisy votes is signal, and how many parents carry it.

    Parameters
    ----------
    diagnostics : DataFrame
        dataset, method, epsilon (float), seed, iteration, and the columns that
        `evolution.diagnostics.diagnose` returns.

    Returns
    -------
    Figure
        For each data set, the share of the surviving mass that noise alone does not explain, and
        the effective number of parents as a share of the candidates.
    """
    shares = {
        "signal": 1 - diagnostics["spurious_mass"] / diagnostics["surviving_mass"],
        "effective parents": diagnostics["effective_parents"] / diagnostics["candidates"],
    }
    rows = [
        diagnostics.assign(
            dataset=diagnostics["dataset"] + f": {name}", metric="share", value=share.clip(0, 1)
        )
        for name, share in shares.items()
    ]
    return by_iteration(pd.concat(rows), "share")


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
    with style():
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
            levels = bounds[bounds["dataset"] == dataset].sort_values(mean)
            for row in levels.to_dict("records"):
                dashes = (0, (1, 1.5)) if row["epsilon"] == 0 else (0, (6, 2))
                axes.axhline(row[mean], color="#555555", lw=1.2, ls=dashes, zorder=1)
            # Names at the right end of the lines, moved up where they would overlap.
            low, high = axes.get_ylim()
            place = -math.inf
            for row in levels.to_dict("records"):
                place = max(row[mean], place + 0.055 * (high - low))
                look = {"va": "center", "color": "#333333", "fontsize": 8.5}
                axes.text(1.01, place, row["method"], transform=axes.get_yaxis_transform(), **look)
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
        A block for each label up to its last comma, with the rest of the label beside its rows.
        Blocks of one method stand side by side as far as the page is wide, so that budgets can
        be compared at the same t. Small images are enlarged by whole factors without smoothing:
        every pixel is a square.

    Raises
    ------
    ValueError
        If there are no rows, if images are not as described, or if a row is labelled ``real``:
        private images are never pictured.
    """
    _expect_released(rows, classes)
    side = max(max(images.shape[1:3]) for _, images in rows)
    cell = min(side * math.ceil(64 / side), 128)
    step = cell + max(cell // 12, 1)
    blocks: dict[str, list[tuple[str, np.ndarray]]] = {}
    for label, images in rows:
        title, _, rest = label.rpartition(", ") if ", " in label else (label, "", "")
        blocks.setdefault(title, []).append((rest, images))

    with style():
        figure = Figure(facecolor="white", dpi=DPI)
        renderer = FigureCanvasAgg(figure).get_renderer()
        font, bold = FontProperties(size=9), FontProperties(size=9, weight="bold")

        def widest(texts: Iterable[str], font: FontProperties = font) -> int:
            sizes = (renderer.get_text_width_height_descent(text, font, False) for text in texts)
            return math.ceil(max(width for width, _, _ in sizes))

        margin, pad, line = 14, 9, 24
        beside = widest(rest for block in blocks.values() for rest, _ in block) + pad
        upright = widest(classes) > 0.9 * step
        above = line + (widest(classes) + pad if upright else line)
        block_width = beside + max(step * len(classes), widest(blocks, bold)) + 2 * margin
        lines = _lines(list(blocks), max(PAGE // block_width, 1))
        heights = [above + step * max(len(blocks[title]) for title in its) for its in lines]
        width = block_width * max(map(len, lines))
        height = sum(heights) + 2 * margin * len(lines)

        canvas = np.full((height, width, 3), 255, np.uint8)
        figure.set_size_inches(width / DPI, height / DPI)
        # One unit of the axes is one pixel of the file.
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        look = {"color": "#111111", "parse_math": False}
        for n, its in enumerate(lines):
            start = sum(heights[:n]) + (2 * n + 1) * margin
            for m, title in enumerate(its):
                left, top = m * block_width + margin + beside, start + above
                axes.text(left, start, title, va="top", font=bold, **look)
                for j, name in enumerate(classes):
                    place = left + (j + 0.5) * step, top - pad / 2
                    turn = {"ha": "center", "va": "bottom", "rotation": 90 * upright}
                    axes.text(*place, name, font=font, **turn, **look)
                for i, (rest, images) in enumerate(blocks[title]):
                    y = top + i * step
                    place = left - pad, y + step / 2
                    axes.text(*place, rest, ha="right", va="center", font=font, **look)
                    strip = np.hstack([_tile(image, cell, step) for image in images])
                    canvas[y : y + step, left : left + strip.shape[1]] = strip
        axes.imshow(canvas, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")
    return figure


def _lines(titles: list[str], across: int) -> list[list[str]]:
    """Titles such as ``pe ε=1`` in lines of at most `across`; a method begins a new line."""
    lines = []
    for _, its in groupby(titles, key=lambda title: title.partition(" ε=")[0]):
        its = list(its)
        lines += [its[i : i + across] for i in range(0, len(its), across)]
    return lines


def _tile(image: np.ndarray, cell: int, step: int) -> np.ndarray:
    """The image in the middle of a white square of side `step`, fitted to one of side `cell`."""
    longest = max(image.shape[:2])
    image = image.repeat(3 // image.shape[2], axis=2)
    if longest <= cell:
        image = image.repeat(cell // longest, axis=0).repeat(cell // longest, axis=1)
    else:
        height, width = (max(round(n * cell / longest), 1) for n in image.shape[:2])
        image = np.asarray(Image.fromarray(image).resize((width, height)))
    tile = np.full((step, step, 3), 255, np.uint8)
    height, width = image.shape[:2]
    top, left = (step - height) // 2, (step - width) // 2
    tile[top : top + height, left : left + width] = image
    return tile


def _expect_released(rows: list[tuple[str, np.ndarray]], classes: list[str]) -> None:
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


def png(figure: Figure) -> bytes:
    """Render a figure as PNG at ``DPI``; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with style():
        # Matplotlib would write its version into the file.
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to `path` as PNG, whole or not at all."""
    write_bytes(path, png(figure))


@contextmanager
def style() -> Iterator[None]:
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
    # Two figures of one data set fit side by side on the report's page.
    size = (3.4 * across + 1.9 if across > 1 else 5.45, height)
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
