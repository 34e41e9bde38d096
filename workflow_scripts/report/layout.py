"""What of a comparison table is printed where, before any markup: columns, panels, rows, cells.

A paper prints methods as rows and ε as columns under each metric, and sets what bounds the methods
(``random``, ε = 0, and ``real``, ε = ∞) apart by rules. A table that would be too wide is broken
into panels.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from workflow_scripts.report.measures import (
    DASH,
    Scale,
    encoders,
    measure_of,
    printed_delta,
    printed_epsilon,
    printed_epsilon_spent,
    scale_of,
)

# Data columns that a panel may have: what fits the page of a paper.
PANEL_COLUMNS = 10


@dataclass(frozen=True)
class Cell:
    """A printed value; ``span`` is how many columns it covers."""

    text: str
    sd: str = ""
    best: bool = False
    span: int = 1


@dataclass(frozen=True)
class Heading:
    """A heading of ``span`` columns; one that is ``over`` others is underlined."""

    text: str
    span: int = 1
    over: bool = False


@dataclass(frozen=True)
class Row:
    """A method; ``budget`` (``ε = 0``) is empty if its cells lie in columns by ε."""

    method: str
    budget: str
    cells: list[Cell]


@dataclass(frozen=True)
class Panel:
    """A head of two or three rows, and a body in three parts: below, the methods, above."""

    contents: str
    head: list[list[Heading]]
    body: list[list[Row]]


@dataclass(frozen=True)
class Column:
    """A printed quantity of one data set: ε spent, δ or a metric.

    Attributes
    ----------
    name : str
        The column of the table, for a metric without ``_mean``.
    group, title : str
        Its headings where a heading stands over several columns.
    alone : str
        Its heading where none does.
    by_epsilon : bool
        Whether each ε has a column of its own.
    scale : Scale or None
        How a metric is printed.
    best : frozenset of (str, float)
        The methods, with ε, that are printed in bold.
    """

    name: str
    group: str
    title: str
    alone: str
    by_epsilon: bool = True
    scale: Scale | None = None
    best: frozenset[tuple[str, float]] = frozenset()

    def cell(self, row: pd.Series, span: int = 1) -> Cell:
        if self.name == "epsilon_spent":
            return Cell(printed_epsilon_spent(row[self.name]), span=span)
        if self.name == "delta":
            return Cell(printed_delta(row[self.name]), span=span)
        mean, sd = row[f"{self.name}_mean"], row[f"{self.name}_sd"]
        best = (row["method"], row["epsilon"]) in self.best
        spread = "" if math.isnan(sd) else self.scale.printed(sd)
        return Cell(self.scale.printed(mean), spread, best, span)


def columns(rows: pd.DataFrame) -> list[Column]:
    """The columns of one data set's rows: privacy first, then metrics, in their order."""
    private = rows[_is_private(rows)]
    one_delta = (private.groupby("method")["delta"].nunique() <= 1).all()
    found = [
        Column("epsilon_spent", "Privacy", "ε spent", "ε spent"),
        Column("delta", "Privacy", "δ", "δ", by_epsilon=not one_delta),
    ]
    metrics = [c.removesuffix("_mean") for c in rows.columns if c.endswith("_mean")]
    several = len(encoders(metrics)) > 1
    for metric in metrics:
        measure, where = measure_of(metric)
        # The bounds may be far off: they have a say only if there is nothing else to print.
        mean = f"{metric}_mean"
        known = [v for v in private[mean] if 0 < abs(v) < math.inf]
        scale = scale_of(measure, known or rows[mean])
        unit = f" ({scale.unit})" if scale.unit else ""
        if measure.kind == "percent":
            group, title = measure.title + unit, (where or measure.title) + measure.arrow
            alone = f"{measure.title} {where}".rstrip() + unit + measure.arrow
        else:
            group = f"Features of {where}" if where else ""
            title = measure.title + unit + measure.arrow
            named = f" {where}" if several and where != measure.where else ""
            alone = measure.title + named + unit + measure.arrow
        best = _best(rows, mean, measure.direction, scale)
        found.append(Column(metric, group, title, alone, scale=scale, best=best))
    # Groups stay together: metrics of one group that are apart move up to the first of them.
    order = list(dict.fromkeys(c.group for c in found))
    return sorted(found, key=lambda c: order.index(c.group))


def panels(rows: pd.DataFrame) -> list[Panel]:
    """Break one data set's table into panels of at most `PANEL_COLUMNS` columns.

    A group of metrics is split only if it is too wide for a panel of its own.
    """
    budgeted = rows[_is_private(rows)]
    epsilons = sorted(budgeted["epsilon"].unique())

    def width(group: Iterable[Column]) -> int:
        return sum(_span(column, epsilons) for column in group)

    parts: list[list[Column]] = [[]]
    for _, group in groupby(columns(rows), key=lambda c: c.group):
        group = list(group)
        if width(parts[-1]) + width(group) <= PANEL_COLUMNS:
            parts[-1] += group
            continue
        # Parts of equal length rather than one that is full and a rest.
        count = min(math.ceil(width(group) / PANEL_COLUMNS), len(group))
        length = math.ceil(len(group) / count)
        parts += [group[i : i + length] for i in range(0, len(group), length)]
    return [_panel(part, epsilons, rows) for part in parts if part]


def _panel(part: list[Column], epsilons: list[float], rows: pd.DataFrame) -> Panel:
    groups = [(name, list(its)) for name, its in groupby(part, key=lambda c: c.group)]
    contents = [
        (f"{name}: " if name else "") + ", ".join(c.title.rstrip(" ↑↓") for c in its)
        for name, its in groups
    ]
    head = [
        [Heading(n, sum(_span(c, epsilons) for c in its), n != "") for n, its in groups],
        [Heading(c.title, _span(c, epsilons), c.by_epsilon and bool(epsilons)) for c in part],
    ]
    if epsilons:
        by_epsilon = [Heading(f"ε = {printed_epsilon(e)}") for e in epsilons]
        head.append([h for c in part for h in (by_epsilon if c.by_epsilon else [Heading("")])])
    for i, line in enumerate(head):
        line.insert(0, Heading("Method" if i == len(head) - 1 else ""))

    private = _is_private(rows)
    below, above = (rows[~private & side] for side in (rows["epsilon"] == 0, rows["epsilon"] > 0))
    methods = rows[private].groupby("method", sort=False)
    body = [
        [_bound_row(part, epsilons, row) for _, row in below.iterrows()],
        [_method_row(part, epsilons, method, its) for method, its in methods],
        [_bound_row(part, epsilons, row) for _, row in above.iterrows()],
    ]
    return Panel(". ".join(contents), head, [lines for lines in body if lines])


def _bound_row(part: list[Column], epsilons: list[float], row: pd.Series) -> Row:
    """A row without a budget: one value that spans the columns of every ε."""
    cells = [column.cell(row, _span(column, epsilons)) for column in part]
    return Row(row["method"], f"ε = {printed_epsilon(row['epsilon'])}", cells)


def _method_row(part: list[Column], epsilons: list[float], method: str, its: pd.DataFrame) -> Row:
    rows = {row["epsilon"]: row for _, row in its.iterrows()}
    cells = []
    for column in part:
        if column.by_epsilon:
            cells += [column.cell(rows[e]) if e in rows else Cell(DASH) for e in epsilons]
        else:
            known = [row for row in rows.values() if pd.notna(row[column.name])]
            cells.append(column.cell(known[0]) if known else Cell(DASH))
    return Row(method, "", cells)


def _span(column: Column, epsilons: list[float]) -> int:
    return max(len(epsilons), 1) if column.by_epsilon else 1


def _is_private(rows: pd.DataFrame) -> pd.Series:
    """Whether a row's method has a budget, ε neither 0 nor ∞, anywhere on this data set."""
    budgeted = (rows["epsilon"] > 0) & (rows["epsilon"] < math.inf)
    return rows["method"].isin(rows.loc[budgeted, "method"])


def _best(
    rows: pd.DataFrame, mean: str, direction: int, scale: Scale
) -> frozenset[tuple[str, float]]:
    """The (method, ε) with the best printed mean at each ε; ties are all best, bounds never."""
    best: set[tuple[str, float]] = set()
    rivals = rows[rows[mean].notna() & (rows["epsilon"] > 0) & (rows["epsilon"] < math.inf)]
    for epsilon, its in rivals.groupby("epsilon") if direction else ():
        printed = direction * its[mean].map(scale.rounded)
        best |= {(method, epsilon) for method in its.loc[printed == printed.max(), "method"]}
    return frozenset(best)
