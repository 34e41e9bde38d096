"""The comparison table of an experiment: as data, and as a paper prints it.

``summarise`` makes the one table that everything else is drawn from, one row for each data set,
method and ε. ``table_html`` and ``table_latex`` print it as a paper would: methods as rows, ε as
columns under each metric, what bounds the methods (``random``, ε = 0, and ``real``, ε = ∞) set
apart by rules. A table that would be too wide is broken into panels. Markdown has no cell that
spans columns, so ``table_markdown`` gives each (method, ε) a row of its own, sorted by ε.

A metric is named ``measure`` or ``measure_where``: ``fid``, ``accuracy_cnn``,
``frechet_glyph-cnn``. ``MEASURES`` says how each measure is printed.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context, Decimal
from html import escape
from itertools import groupby

import pandas as pd

RUN = ["dataset", "method", "epsilon", "seed"]
CELL = RUN[:3]

# What to hand to ``pandas.read_csv`` as ``dtype``: a key of digits alone is still text.
TEXT = {"dataset": str, "method": str, "key": str, "metric": str, "noise_source": str}

# Data columns that a panel may have: what fits the page of a paper.
PANEL_COLUMNS = 10

DASH = "–"

FID_ENCODER = "Inception"


@dataclass(frozen=True)
class Measure:
    """How values of one measure are printed.

    Attributes
    ----------
    title : str
        What a heading says.
    direction : int
        1 if higher is better, -1 if lower is better, 0 if neither (no arrow, nothing in bold).
    kind : str
        ``percent`` (a fraction printed in percent, one decimal), ``fraction`` (two decimals) or
        ``distance`` (three significant digits).
    where : str
        The encoder, if the measure implies it.
    """

    title: str
    direction: int = 0
    kind: str = "distance"
    where: str = ""

    @property
    def arrow(self) -> str:
        return {1: " ↑", -1: " ↓", 0: ""}[self.direction]


MEASURES = {
    "accuracy": Measure("Accuracy", 1, "percent"),
    "frechet": Measure("Fréchet", -1),
    "kernel": Measure("Kernel", -1),
    "fid": Measure("FID", -1, where=FID_ENCODER),
    "precision": Measure("Precision", 1, "fraction"),
    "recall": Measure("Recall", 1, "fraction"),
}
CLASSIFIERS = {"logistic": "logistic", "cnn": "CNN"}


def measure_of(metric: str) -> tuple[Measure, str]:
    """Split a metric's name into its measure and where it is measured.

    Parameters
    ----------
    metric : str
        For example ``accuracy_cnn``.

    Returns
    -------
    tuple of Measure and str
        The measure, and the classifier or the encoder (empty if the name has none). A measure
        that is not in ``MEASURES`` has no direction and keeps its whole name as title.
    """
    name, _, where = metric.partition("_")
    if name not in MEASURES:
        return Measure(metric), ""
    measure = MEASURES[name]
    if measure.kind == "percent":
        where = CLASSIFIERS.get(where, where)
    return measure, where or measure.where


def summarise(metrics: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Average every metric over seeds.

    Parameters
    ----------
    metrics : DataFrame
        Long form: experiment, dataset, method, key, epsilon (float: 0 for ``random``, inf for
        ``real``), seed, metric, value (float).
    runs : DataFrame
        One row a run: dataset, method, key, epsilon, seed, status (``done`` or ``missing``),
        epsilon_spent (float), delta (float). Further columns are ignored.

    Returns
    -------
    DataFrame
        One row for each data set, method and ε of ``runs``: dataset, method, epsilon,
        epsilon_spent and delta (the largest over seeds), seeds (the runs that are done), and for
        each metric ``<metric>_mean`` and ``<metric>_sd``, the sample standard deviation over
        seeds (NaN with one seed). Data sets and methods come in the order of ``runs``, but
        methods with ε = 0 alone come first and those with ε = ∞ alone last; then by ε.

    Raises
    ------
    ValueError
        If one method name stands for two settings (two keys) on one data set, if a run or one
        of its metrics is listed twice, or if a metric belongs to no run that is done.
    """
    # A table without rows has no types of its own when it is read from CSV.
    metrics = metrics.astype({**runs[RUN].dtypes, "value": float})
    for frame in (runs, metrics):
        for (dataset, method), keys in frame.groupby(["dataset", "method"], sort=False)["key"]:
            found = keys.astype(str).unique()
            if len(found) > 1:
                raise ValueError(
                    f"dataset {dataset}: method {method} has several settings in one experiment, "
                    f"keys {', '.join(found)}; expected one key for each method name"
                )
    _expect_once(runs, RUN)
    _expect_once(metrics, [*RUN, "metric"])
    done = runs[runs["status"] == "done"]
    strays = metrics[RUN].drop_duplicates().merge(done[RUN], on=RUN, how="left", indicator=True)
    strays = strays[strays["_merge"] == "left_only"]
    if len(strays):
        raise ValueError(f"metrics of runs that are not done: {_names(strays)}")

    table = runs[CELL].drop_duplicates()
    spent = done.groupby(CELL, sort=False).agg(
        epsilon_spent=("epsilon_spent", "max"), delta=("delta", "max"), seeds=("seed", "size")
    )
    table = table.merge(spent.reset_index(), on=CELL, how="left")
    table["seeds"] = table["seeds"].fillna(0).astype(int)
    for metric, values in metrics.groupby("metric", sort=False):
        over_seeds = values.groupby(CELL)["value"].agg(["mean", "std"]).reset_index()
        over_seeds.columns = [*CELL, f"{metric}_mean", f"{metric}_sd"]
        table = table.merge(over_seeds, on=CELL, how="left")

    datasets = list(table["dataset"].unique())
    methods = list(table["method"].unique())
    bound = table.groupby(["dataset", "method"])["epsilon"].agg(["min", "max"])

    def place(row: pd.Series) -> tuple:
        lowest, highest = bound.loc[(row["dataset"], row["method"])]
        side = 0 if highest == 0 else 2 if math.isinf(lowest) else 1
        dataset, method = datasets.index(row["dataset"]), methods.index(row["method"])
        return dataset, side, method, row["epsilon"]

    order = sorted(range(len(table)), key=lambda i: place(table.iloc[i]))
    return table.iloc[order].reset_index(drop=True)


def footnotes(runs: pd.DataFrame, metrics: pd.DataFrame) -> list[str]:
    """Say what a reader must know to read the numbers, one sentence or two a note.

    Parameters
    ----------
    runs, metrics : DataFrame
        As for `summarise`; ``runs`` has ``noise_source`` (``os``, ``seeded`` or empty) too.

    Returns
    -------
    list of str
        Plain text. The warnings (disclosed noise, missing runs) come first.
    """
    notes = []
    seeded = runs[runs["noise_source"] == "seeded"]
    if len(seeded):
        private = runs[runs["noise_source"].isin(["os", "seeded"])]
        whose = "all" if len(seeded) == len(private) else f"{len(seeded)} of {len(private)}"
        named = ", ".join(seeded["method"].unique())
        notes.append(
            f"Not for release: {whose} runs with privacy noise ({named}) drew it from a public "
            "seed. The noise is disclosed, so their synthetic images carry no privacy guarantee; "
            "ε is what the same runs would spend with secret noise."
        )
    missing = runs[runs["status"] == "missing"]
    if len(missing):
        notes.append(
            f"Missing runs, not in the means ({len(missing)} of {len(runs)}): {_names(missing)}."
        )

    seeds = runs.groupby(CELL)["seed"].nunique().max() if len(runs) else 0
    notes.append(
        f"Mean ± sample standard deviation over {seeds} seeds."
        if seeds > 1
        else "One seed: no spread is shown."
    )
    notes.append(
        "↑ higher is better, ↓ lower is better. Bold: the best DP method of each metric and ε, by "
        "the printed mean. random (a public generator, no private data) and real (the private "
        "training set itself, no privacy) bracket the methods and are never in bold."
    )
    notes.append(
        "Privacy is (ε, δ)-DP under one neighbouring relation for every method: zero-out of one "
        "record, N public (numerically add-or-remove-one), composed by PLD. ε spent is the "
        "largest over seeds and counts one run: publishing several runs on the same data spends "
        "more."
    )
    notes.append(
        "The metrics are computed against the private data. They are for the benchmark, not DP "
        "outputs, and choosing settings by them is not charged to ε."
    )
    encoders = [e for e in _encoders(metrics["metric"].unique()) if e != FID_ENCODER]
    if encoders:
        notes.append(
            f"Metrics in the features of {' and '.join(encoders)} compare within one encoder "
            "only; a Fréchet distance there is not FID."
        )
    return notes


def table_markdown(table: pd.DataFrame, notes: list[str]) -> str:
    """Print the table as Markdown that is readable as plain text too.

    Parameters
    ----------
    table : DataFrame
        From `summarise`.
    notes : list of str
        From `footnotes`.

    Returns
    -------
    str
        A table for each data set, a row for each method and ε, sorted by ε; then the notes.
    """
    parts = []
    for dataset, rows in table.groupby("dataset", sort=False):
        columns = _columns(rows)
        encoders = [e for e in _encoders(c.name for c in columns) if e != FID_ENCODER]
        head = ["method", "ε"]
        for column in columns:
            where = f" {column.where}" if column.where in encoders and len(encoders) > 1 else ""
            title = f"{column.group} {column.title}" if column.group == "Accuracy" else column.title
            head.append(f"{title}{where}{column.unit_in_brackets}{column.arrow}")
        body = []
        for _, row in rows.sort_values("epsilon", kind="stable").iterrows():
            cells = (column.cell(row) for column in columns)
            body.append([_markdown(row["method"]), printed_epsilon(row["epsilon"])])
            body[-1] += [
                (f"**{c.mean}**" if c.best else c.mean) + (f" ± {c.sd}" if c.sd else "")
                for c in cells
            ]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        lines = [head, ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])], *body]
        parts.append(f"**{_markdown(dataset)}**\n")
        for line in lines:
            cells = [line[0].ljust(widths[0])]
            cells += [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
            parts.append(f"| {' | '.join(cells)} |")
        parts.append("")
    parts += [f"- {_markdown(note)}" for note in notes]
    return "\n".join(parts).rstrip("\n") + "\n"


def table_latex(table: pd.DataFrame, notes: list[str]) -> str:
    r"""Print the table as LaTeX floats that need ``\usepackage{booktabs}`` and nothing else.

    Parameters
    ----------
    table : DataFrame
        From `summarise`.
    notes : list of str
        From `footnotes`; printed under every table, as floats travel alone.

    Returns
    -------
    str
        A ``table`` environment for each data set.
    """
    lines = [r"% Needs \usepackage{booktabs} in the preamble."]
    for dataset, rows in table.groupby("dataset", sort=False):
        label = re.sub(r"[^A-Za-z0-9-]+", "-", dataset)
        lines += [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{Synthetic images of {_latex(dataset)}.}}",
            rf"\label{{tab:{label}}}",
            r"\footnotesize",
            r"\setlength{\tabcolsep}{2pt}",
        ]
        for number, panel in enumerate(_panels(rows)):
            lines += [r"\par\medskip"] if number else []
            lines += _latex_panel(panel)
        if notes:
            lines += [r"\par\medskip", r"\begin{minipage}{\linewidth}"]
            lines += [_latex(note) + r"\par" for note in notes]
            lines.append(r"\end{minipage}")
        lines += [r"\end{table}", ""]
    return "\n".join(lines)


def table_html(table: pd.DataFrame, notes: list[str]) -> str:
    """Print the table as an HTML fragment.

    Parameters
    ----------
    table : DataFrame
        From `summarise`.
    notes : list of str
        From `footnotes`.

    Returns
    -------
    str
        A ``section`` for each data set with a ``table`` for each panel, then the notes. ASCII
        only, so that it reads the same under every character set.
    """
    lines = []
    for number, (dataset, rows) in enumerate(table.groupby("dataset", sort=False), 1):
        lines.append('<section class="comparison">')
        for part, panel in enumerate(_panels(rows), 1):
            caption = f"caption-{number}-{part}"
            lines += [
                f'<div class="scroll" role="region" aria-labelledby="{caption}" tabindex="0">',
                '<table class="results">',
                f'<caption id="{caption}"><b>{escape(dataset)}:</b> '
                f"{escape(_contents(panel))}</caption>",
                *_html_panel(panel),
                "</table>",
                "</div>",
            ]
        lines.append("</section>")
    if notes:
        lines += ['<ul class="notes">', *(f"<li>{escape(n)}</li>" for n in notes), "</ul>"]
    return "\n".join(lines).encode("ascii", "xmlcharrefreplace").decode("ascii") + "\n"


# What is printed, before any markup: columns, cells, panels.


@dataclass(frozen=True)
class _Cell:
    """A printed value; ``span`` is how many columns it covers."""

    mean: str
    sd: str = ""
    best: bool = False
    span: int = 1


@dataclass(frozen=True)
class _Column:
    """A metric, or ε spent or δ, of one data set, with how its values are printed."""

    name: str
    group: str
    title: str
    where: str = ""
    unit: str = ""
    direction: int = 0
    decimals: int = 0
    factor: float = 1.0
    by_epsilon: bool = True
    best: frozenset[tuple[str, float]] = frozenset()

    @property
    def arrow(self) -> str:
        return Measure(self.title, self.direction).arrow

    @property
    def unit_in_brackets(self) -> str:
        return f" ({self.unit})" if self.unit else ""

    def printed(self, value: float) -> str:
        if math.isnan(value):
            return DASH
        text = f"{value * self.factor:.{self.decimals}f}"
        if float(text) == 0:
            text = text.lstrip("-")
        return text.replace("-", "−")

    def cell(self, row: pd.Series) -> _Cell:
        if self.name == "epsilon_spent":
            return _Cell(printed_epsilon_spent(row["epsilon_spent"]))
        if self.name == "delta":
            return _Cell(printed_delta(row["delta"]))
        mean, sd = row[f"{self.name}_mean"], row[f"{self.name}_sd"]
        best = (row["method"], row["epsilon"]) in self.best
        return _Cell(self.printed(mean), "" if math.isnan(sd) else self.printed(sd), best)


@dataclass(frozen=True)
class _Panel:
    """Columns that are printed side by side, and the rows in their three groups.

    ``epsilons`` are those of the private methods. Each row group is a list of (method, ε or None
    for a method with columns by ε, cells).
    """

    columns: list[_Column]
    epsilons: list[float]
    row_groups: list[list[tuple[str, float | None, list[_Cell]]]]

    def width(self, column: _Column) -> int:
        return max(len(self.epsilons), 1) if column.by_epsilon else 1

    @property
    def groups(self) -> list[tuple[str, list[_Column]]]:
        return [(name, list(c)) for name, c in groupby(self.columns, key=lambda c: c.group)]


def _columns(rows: pd.DataFrame) -> list[_Column]:
    """The printed columns of one data set: privacy first, then metrics in their order."""
    private = rows[_is_private(rows)]
    one_delta = (private.groupby("method")["delta"].nunique() <= 1).all()
    columns = [
        _Column("epsilon_spent", "Privacy", "ε spent"),
        _Column("delta", "Privacy", "δ", by_epsilon=not one_delta),
    ]
    metrics = [c.removesuffix("_mean") for c in rows.columns if c.endswith("_mean")]
    for metric in metrics:
        measure, where = measure_of(metric)
        scale = _scale(measure, rows, private, metric)
        if measure.kind == "percent":
            group, title, where = measure.title, where or measure.title, ""
        else:
            group, title = f"Features of {where}" if where else "", measure.title
        column = _Column(metric, group, title, where, direction=measure.direction, **scale)
        columns.append(replace(column, best=_best(column, rows)))
    # Groups stay together: metrics of one group that are apart move up to the first of them.
    order = list(dict.fromkeys(c.group for c in columns))
    return sorted(columns, key=lambda c: order.index(c.group))


def _scale(measure: Measure, rows: pd.DataFrame, private: pd.DataFrame, metric: str) -> dict:
    """Decimals, factor and unit, the same for a whole column, so that its digits line up."""
    if measure.kind == "percent":
        return {"decimals": 1, "factor": 100.0, "unit": "%"}
    if measure.kind == "fraction":
        return {"decimals": 2}
    # Three significant digits of the smallest value of a private method (or, if that is far from
    # the others, of a third of the middle one), at most five of the largest. A column of very
    # small values gets a unit of 10⁻³ or 10⁻⁶.
    for frame in (private, rows):
        sizes = frame[f"{metric}_mean"].abs()
        sizes = sizes[(sizes > 0) & (sizes < math.inf)]
        if len(sizes):
            break
    else:
        return {"decimals": 2}
    small, middle, large = (math.log10(v) for v in (sizes.min(), sizes.median(), sizes.max()))
    power = max(3 * math.ceil((-large - 1) / 3), 0)
    decimals = 2 - math.floor(max(small, middle - 0.5) + power)
    decimals = max(min(decimals, 4 - math.floor(large + power)), 0)
    unit = f"10{str(-power).translate(_SUPERSCRIPTS)}" if power else ""
    return {"decimals": decimals, "factor": 10.0**power, "unit": unit}


def _best(column: _Column, rows: pd.DataFrame) -> frozenset[tuple[str, float]]:
    """The (method, ε) with the best printed mean at each ε; ties are all best, bounds never."""
    best = set()
    mean = f"{column.name}_mean"
    for epsilon, rivals in rows[rows[mean].notna()].groupby("epsilon"):
        if column.direction == 0 or not 0 < epsilon < math.inf:
            continue
        printed = (rivals[mean] * column.factor).map(lambda v: round(v, column.decimals))
        target = printed.max() if column.direction > 0 else printed.min()
        best |= {(method, epsilon) for method in rivals.loc[printed == target, "method"]}
    return frozenset(best)


def _is_private(rows: pd.DataFrame) -> pd.Series:
    """Whether a row's method has a budget, ε neither 0 nor ∞, anywhere on this data set."""
    budgeted = (rows["epsilon"] > 0) & (rows["epsilon"] < math.inf)
    return rows["method"].isin(rows.loc[budgeted, "method"])


def _panels(rows: pd.DataFrame) -> Iterator[_Panel]:
    """Break one data set's table into panels of at most ``PANEL_COLUMNS`` columns.

    A group of metrics is split only if it is too wide for a panel of its own.
    """
    private = _is_private(rows)
    empty = _Panel([], sorted(rows.loc[private, "epsilon"].unique()), [])

    def width(columns: Iterable[_Column]) -> int:
        return sum(map(empty.width, columns))

    panels: list[list[_Column]] = [[]]
    for _, group in replace(empty, columns=_columns(rows)).groups:
        if width(panels[-1]) + width(group) <= PANEL_COLUMNS:
            panels[-1] += group
            continue
        # Parts of equal length rather than one that is full and a rest.
        parts = min(math.ceil(width(group) / PANEL_COLUMNS), len(group))
        length = math.ceil(len(group) / parts)
        panels += [group[i : i + length] for i in range(0, len(group), length)]
    for columns in filter(None, panels):
        panel = replace(empty, columns=columns)
        row_groups = [
            [
                _bound_row(panel, row)
                for _, row in rows[~private & (rows["epsilon"] == 0)].iterrows()
            ],
            [_method_row(panel, *its) for its in rows[private].groupby("method", sort=False)],
            [
                _bound_row(panel, row)
                for _, row in rows[~private & (rows["epsilon"] > 0)].iterrows()
            ],
        ]
        yield replace(panel, row_groups=[group for group in row_groups if group])


def _bound_row(panel: _Panel, row: pd.Series) -> tuple[str, float, list[_Cell]]:
    """A row without a budget: one value that spans the columns of every ε."""
    cells = [replace(c.cell(row), span=panel.width(c)) for c in panel.columns]
    return row["method"], row["epsilon"], cells


def _method_row(panel: _Panel, method: str, rows: pd.DataFrame) -> tuple[str, None, list[_Cell]]:
    by_epsilon = {row["epsilon"]: row for _, row in rows.iterrows()}
    cells = []
    for column in panel.columns:
        if column.by_epsilon:
            cells += [
                column.cell(by_epsilon[e]) if e in by_epsilon else _Cell(DASH)
                for e in panel.epsilons
            ]
        else:
            known = [row for row in by_epsilon.values() if pd.notna(row[column.name])]
            cells.append(column.cell(known[0]) if known else _Cell(DASH))
    return method, None, cells


def _contents(panel: _Panel) -> str:
    """What a panel shows, in words: its groups with their columns."""
    parts = []
    for name, columns in panel.groups:
        titles = ", ".join(c.title for c in columns)
        parts.append(f"{name[0].lower()}{name[1:]} ({titles})" if name else titles)
    return ", ".join(parts)


# Markup.


def _html_panel(panel: _Panel) -> list[str]:
    has_epsilon = bool(panel.epsilons)
    depth = 3 if has_epsilon else 2
    lines = ["<thead>", "<tr>", f'<th scope="col" rowspan="{depth}">Method</th>']
    for name, columns in panel.groups:
        width = sum(panel.width(c) for c in columns)
        unit = columns[0].unit_in_brackets if _shares_unit(columns) else ""
        lines.append(
            f'<th scope="colgroup" colspan="{width}">{escape(name + unit)}</th>'
            if name
            else f'<td colspan="{width}"></td>'
        )
    lines += ["</tr>", "<tr>"]
    for name, columns in panel.groups:
        for column in columns:
            unit = "" if name and _shares_unit(columns) else column.unit_in_brackets
            wide = column.by_epsilon and has_epsilon
            scope = "colgroup" if wide else "col"
            rows = ' rowspan="2"' if has_epsilon and not column.by_epsilon else ""
            lines.append(
                f'<th scope="{scope}" colspan="{panel.width(column)}"{rows}>'
                f"{escape(column.title + unit + column.arrow)}</th>"
            )
    lines.append("</tr>")
    if has_epsilon:
        lines.append("<tr>")
        for column in panel.columns:
            if column.by_epsilon:
                lines += [f'<th scope="col">ε = {printed_epsilon(e)}</th>' for e in panel.epsilons]
        lines.append("</tr>")
    lines.append("</thead>")
    for group in panel.row_groups:
        bound = ' class="bound"' if group[0][1] is not None else ""
        lines.append(f"<tbody{bound}>")
        for method, epsilon, cells in group:
            budget = "" if epsilon is None else f" <span>(ε = {printed_epsilon(epsilon)})</span>"
            lines.append(f'<tr><th scope="row">{escape(method)}{budget}</th>')
            for cell in cells:
                mean = f"<strong>{cell.mean}</strong>" if cell.best else cell.mean
                sd = f" <small>± {cell.sd}</small>" if cell.sd else ""
                span = f' colspan="{cell.span}"' if cell.span > 1 else ""
                lines.append(f"<td{span}>{mean}{sd}</td>")
            lines.append("</tr>")
        lines.append("</tbody>")
    return lines


def _latex_panel(panel: _Panel) -> list[str]:
    count = sum(panel.width(c) for c in panel.columns)
    groups, titles, epsilons, rules = [""], ["Method"], [""], ["", ""]
    start = 2
    for name, columns in panel.groups:
        width = sum(panel.width(c) for c in columns)
        unit = columns[0].unit_in_brackets if name and _shares_unit(columns) else ""
        groups.append(_span(width, _latex(name + unit)))
        if name:
            rules[0] += rf"\cmidrule(lr){{{start}-{start + width - 1}}}"
        for column in columns:
            unit = "" if name and _shares_unit(columns) else column.unit_in_brackets
            wide = panel.width(column)
            titles.append(_span(wide, _latex(column.title + unit + column.arrow)))
            if column.by_epsilon and panel.epsilons:
                rules[1] += rf"\cmidrule(lr){{{start}-{start + wide - 1}}}"
                epsilons += [_span(1, _latex(f"ε={printed_epsilon(e)}")) for e in panel.epsilons]
            else:
                epsilons += [""] * wide
            start += wide
    lines = [
        rf"\begin{{tabular*}}{{\linewidth}}{{@{{\extracolsep{{\fill}}}}l{'r' * count}@{{}}}}",
        r"\toprule",
        " & ".join(groups) + r" \\",
        *filter(None, [rules[0]]),
        " & ".join(titles) + r" \\",
    ]
    if panel.epsilons:
        lines += [rules[1], " & ".join(epsilons) + r" \\"]
    for group in panel.row_groups:
        lines.append(r"\midrule")
        for method, epsilon, cells in group:
            budget = "" if epsilon is None else f" (ε={printed_epsilon(epsilon)})"
            texts = [_latex(method + budget)]
            for cell in cells:
                mean = rf"\textbf{{{_latex(cell.mean)}}}" if cell.best else _latex(cell.mean)
                sd = rf"{{\scriptsize$\,\pm${_latex(cell.sd)}}}" if cell.sd else ""
                texts.append(_span(cell.span, mean + sd) if cell.span > 1 else mean + sd)
            lines.append(" & ".join(texts) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular*}"]


def _shares_unit(columns: list[_Column]) -> bool:
    return len({c.unit for c in columns}) == 1


def _span(width: int, text: str) -> str:
    return rf"\multicolumn{{{width}}}{{c}}{{{text}}}"


_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
    # In brackets an opening square bracket after \\ would be read as a length.
    "[": "{[}",
    "]": "{]}",
    "–": "--",
    "—": "---",
    "’": "'",
    "ε": r"$\varepsilon$",
    "δ": r"$\delta$",
    "σ": r"$\sigma$",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def _latex(text: str) -> str:
    """Escape plain text; letters with accents pass, other unknown characters print their code."""

    def one(character: str) -> str:
        if character in _LATEX:
            return _LATEX[character]
        if character.isascii() or "À" <= character <= "ſ":
            return character
        return f"(U+{ord(character):04X})"

    parts = re.split(r"([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text)
    return "".join(
        f"$^{{{part.translate(_DIGITS)}}}$" if i % 2 else "".join(map(one, part))
        for i, part in enumerate(parts)
    )


def _markdown(text: str) -> str:
    # An underscore inside a word is plain in GitHub's Markdown and stays readable as text.
    text = re.sub(r"([\\`*|<>\[\]])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


# Numbers of the privacy statement, rounded up: what was spent is never understated.


def printed_epsilon(epsilon: float) -> str:
    """ε as asked for."""
    return "∞" if math.isinf(epsilon) else f"{epsilon:g}"


def printed_epsilon_spent(epsilon: float) -> str:
    """ε as spent, to four significant digits."""
    if math.isnan(epsilon):
        return DASH
    if epsilon == 0 or math.isinf(epsilon):
        return printed_epsilon(epsilon)
    # The accountant's tolerance, 1e-6, must not turn 1 into 1.001.
    return f"{_round_up(epsilon * (1 - 1e-6), 4):f}"


def printed_delta(delta: float) -> str:
    """δ to two significant digits, such as 1.1×10⁻⁴."""
    if math.isnan(delta):
        return DASH
    if delta == 0:
        return "0"
    digits, power = f"{_round_up(delta, 2):.1e}".split("e")
    return f"{digits}×10{str(int(power)).translate(_SUPERSCRIPTS)}"


def _round_up(value: float, digits: int) -> Decimal:
    return Context(prec=digits, rounding=ROUND_CEILING).plus(Decimal(repr(float(value))))


# Checks and names.


def _encoders(metrics: Iterable[str]) -> list[str]:
    """The encoders that metrics are measured in, in order of first appearance."""
    found = [measure_of(m) for m in metrics]
    return list(dict.fromkeys(where for m, where in found if where and m.kind != "percent"))


def _names(runs: pd.DataFrame) -> str:
    return "; ".join(
        f"{r.dataset} {r.method} ε={printed_epsilon(r.epsilon)} seed {r.seed}"
        for r in runs.itertuples()
    )


def _expect_once(frame: pd.DataFrame, columns: list[str]) -> None:
    twice = frame[frame.duplicated(columns)]
    if len(twice):
        what = ", ".join(f"{c}={twice.iloc[0][c]}" for c in columns)
        raise ValueError(f"listed twice: {what}")
