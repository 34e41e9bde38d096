"""A figure of the semantic query: noisy counts of public classes, and which were chosen by them.

Drawn like the figures of `report.figures`, and saved as they are.
"""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from workflow_scripts.report.figures import COLOURS, style

# Sensitive classes that are drawn, bars for each, and panels beside each other.
PANELS, BARS, ACROSS = 20, 12, 4
# Characters of a public class's name; of several names for one thing (ImageNet's), the first.
LONGEST = 16
CHOSEN, TAKEN, OTHER, NOISE, LINE = COLOURS[0], COLOURS[5], "#b5b5b5", COLOURS[3], "#222222"


def query_figure(noisy: np.ndarray, summary: dict) -> Figure:
    """Draw the largest noisy counts of every sensitive class.

    Parameters
    ----------
    noisy : float64 [C, P]
        The released counts.
    summary : dict
        From `workflow_scripts.semantic.selection.selection_summary`.

    Returns
    -------
    Figure
        A panel for each of the first 20 sensitive classes: 12 bars, those of the chosen public
        classes in colour, each with its count in standard deviations of the noise. A band reaches
        from −1 to +1 of these, a line stands where the largest of pure noise is expected.
    """
    names = summary["sensitive_classes"]
    shown = names[:PANELS]
    used = {choice["class"] for chosen in summary["chosen"].values() for choice in chosen}
    across = min(len(shown), ACROSS)
    down = math.ceil(len(shown) / across)
    bars = min(BARS, noisy.shape[1])
    with style():
        size = (max(2.8 * across, 6.7), (0.145 * bars + 0.7) * down + 0.75)
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(shown) :]:
            axes.remove()
        for name, counts, axes in zip(shown, noisy, grid.flat, strict=False):
            _draw_counts(axes, name, counts, bars, used, summary)
        fewer = f", the first {PANELS} of {len(names)} classes" if len(names) > PANELS else ""
        figure.supxlabel(f"noisy count{fewer}", fontsize=9.5)
        handles = [
            Patch(color=CHOSEN, label="chosen; its count in noise deviations σ"),
            Patch(color=TAKEN, label="chosen by another class"),
            Patch(color=OTHER, label="not chosen"),
            Patch(color=NOISE, alpha=0.35, lw=0, label=f"noise, ±{summary['noise_std']:.3g}"),
            Line2D([], [], color=LINE, ls=":", lw=1.1, label="largest of noise alone"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, handlelength=1.6)
    return figure


def _draw_counts(
    axes: Axes, name: str, counts: np.ndarray, bars: int, used: set[str], summary: dict
) -> None:
    """One sensitive class: its chosen public classes, and the largest counts besides."""
    public = summary["public_classes"]
    chosen = {choice["class"]: choice for choice in summary["chosen"][name]}
    ranked = np.argsort(-counts, kind="stable").tolist()
    # The chosen ones first, as far as there is room: one may be chosen that is far behind.
    ranked.sort(key=lambda column: public[column] not in chosen)
    columns = sorted(ranked[:bars], key=lambda column: -counts[column])
    colours = [
        CHOSEN if public[column] in chosen else TAKEN if public[column] in used else OTHER
        for column in columns
    ]
    places = np.arange(len(columns))
    axes.axvspan(-summary["noise_std"], summary["noise_std"], color=NOISE, alpha=0.35, lw=0)
    axes.axvline(summary["noise_maximum"], color=LINE, ls=":", lw=1.1)
    axes.barh(places, counts[columns], height=0.78, color=colours, lw=0)
    axes.set_yticks(places, [_short(public[column]) for column in columns], fontsize=7)
    for label, colour, column in zip(axes.get_yticklabels(), colours, columns, strict=True):
        label.set(parse_math=False, color="#777777" if colour == OTHER else "#111111")
        if public[column] in chosen:
            label.set_fontweight("bold")
            axes.annotate(
                f"{chosen[public[column]]['snr']:.1f}σ",
                (max(counts[column], 0), columns.index(column)),
                xytext=(2, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color=CHOSEN,
                zorder=3,
                bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 0.8},
            )
    axes.set_ylim(len(columns) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.tick_params(axis="x", labelsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    # Room for what stands at the end of the longest bar.
    low, high = min(counts[columns].min(), -summary["noise_std"]), counts[columns].max()
    high = max(high, summary["noise_maximum"])
    axes.set_xlim(1.05 * low, low + 1.25 * (high - low))
    hidden = len(chosen) - colours.count(CHOSEN)
    if hidden:
        axes.set_xlabel(f"and {hidden} more that were chosen", fontsize=7)
    axes.set_title(_short(name), loc="left", fontsize=9, parse_math=False)


def _short(name: str) -> str:
    first = name.partition(",")[0]
    return first if len(first) <= LONGEST else first[: LONGEST - 1] + "…"
