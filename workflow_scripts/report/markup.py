"""The comparison table as Markdown, LaTeX and HTML.

LaTeX and HTML print the panels of `workflow_scripts.report.layout`. Markdown has no cell that spans
columns, so there each method and ε has a row of its own, sorted by ε.
"""

import re
from html import escape

import pandas as pd

from workflow_scripts.report.layout import Cell, Heading, Panel, columns, panels
from workflow_scripts.report.measures import printed_epsilon


def table_markdown(table: pd.DataFrame, notes: list[str]) -> str:
    """Print the table as Markdown that is readable as plain text too.

    Parameters
    ----------
    table : DataFrame
        From `workflow_scripts.report.table.summarise`.
    notes : list of str
        From `workflow_scripts.report.table.footnotes`.

    Returns
    -------
    str
        A table for each data set, a row for each method and ε, sorted by ε; then the notes.
    """
    parts = []
    for dataset, rows in table.groupby("dataset", sort=False):
        shown = columns(rows)
        head = ["method", "ε", *(column.alone for column in shown)]
        body = [
            [
                _markdown(row["method"]),
                printed_epsilon(row["epsilon"]),
                *(_markdown_cell(column.cell(row)) for column in shown),
            ]
            for _, row in rows.sort_values("epsilon", kind="stable").iterrows()
        ]
        widths = [max(map(len, texts)) for texts in zip(head, *body, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        parts.append(f"**{_markdown(dataset)}**\n")
        for line in (head, rule, *body):
            first, *rest = zip(line, widths, strict=True)
            texts = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]
            parts.append(f"| {' | '.join(texts)} |")
        parts.append("")
    parts += [f"- {_markdown(note)}" for note in notes]
    return "\n".join(parts).rstrip("\n") + "\n"


def _markdown_cell(cell: Cell) -> str:
    return (f"**{cell.text}**" if cell.best else cell.text) + (f" ± {cell.sd}" if cell.sd else "")


def _markdown(text: str) -> str:
    # An underscore inside a word is plain in GitHub's Markdown and stays readable as text.
    text = re.sub(r"([\\`*|<>\[\]])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def table_html(table: pd.DataFrame, notes: list[str]) -> str:
    """Print the table as an HTML fragment.

    Parameters
    ----------
    table, notes
        As for `table_markdown`.

    Returns
    -------
    str
        A ``section`` for each data set with a ``table`` for each panel, then the notes. ASCII
        only, so that it reads the same under every character set.
    """
    lines = []
    for number, (dataset, rows) in enumerate(table.groupby("dataset", sort=False), 1):
        lines.append('<section class="comparison">')
        for part, panel in enumerate(panels(rows), 1):
            caption = f"caption-{number}-{part}"
            lines += [
                f'<div class="scroll" role="region" aria-labelledby="{caption}" tabindex="0">',
                '<table class="results">',
                f'<caption id="{caption}"><b>{escape(dataset)}.</b> '
                f"{escape(panel.contents)}</caption>",
                *_html_panel(panel),
                "</table>",
                "</div>",
            ]
        lines.append("</section>")
    if notes:
        lines += ['<ul class="notes">', *(f"<li>{escape(n)}</li>" for n in notes), "</ul>"]
    return "\n".join(lines).encode("ascii", "xmlcharrefreplace").decode("ascii") + "\n"


def _html_panel(panel: Panel) -> list[str]:
    lines = ["<thead>"]
    for headings in panel.head:
        lines.append(f"<tr>{''.join(map(_html_heading, headings))}</tr>")
    lines.append("</thead>")
    for rows in panel.body:
        lines.append('<tbody class="bound">' if rows[0].budget else "<tbody>")
        for row in rows:
            budget = f" <span>({row.budget})</span>" if row.budget else ""
            lines.append(f'<tr><th scope="row">{escape(row.method)}{budget}</th>')
            lines += map(_html_cell, row.cells)
            lines.append("</tr>")
        lines.append("</tbody>")
    return lines


def _html_heading(heading: Heading) -> str:
    span = f' colspan="{heading.span}"' if heading.span > 1 else ""
    if not heading.text:
        return f"<td{span}></td>"
    scope = "colgroup" if heading.over else "col"
    return f'<th scope="{scope}"{span}>{escape(heading.text)}</th>'


def _html_cell(cell: Cell) -> str:
    span = f' colspan="{cell.span}"' if cell.span > 1 else ""
    text = f"<strong>{cell.text}</strong>" if cell.best else cell.text
    return f"<td{span}>{text}{f' <small>± {cell.sd}</small>' if cell.sd else ''}</td>"


def table_latex(table: pd.DataFrame, notes: list[str]) -> str:
    r"""Print the table as LaTeX floats that need ``\usepackage{booktabs}`` and nothing else.

    Parameters
    ----------
    table, notes
        As for `table_markdown`; the notes are printed under every table, as floats travel alone.

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
        for number, panel in enumerate(panels(rows)):
            lines += [r"\par\medskip"] if number else []
            lines += _latex_panel(panel)
        if notes:
            lines += [r"\par\medskip", r"\begin{minipage}{\linewidth}"]
            lines += [_latex(note) + r"\par" for note in notes]
            lines.append(r"\end{minipage}")
        lines += [r"\end{table}", ""]
    return "\n".join(lines)


def _latex_panel(panel: Panel) -> list[str]:
    count = sum(heading.span for heading in panel.head[0]) - 1
    lines = [
        rf"\begin{{tabular*}}{{\linewidth}}{{@{{\extracolsep{{\fill}}}}l{'r' * count}@{{}}}}",
        r"\toprule",
    ]
    for first, *headings in panel.head:
        texts, rules, start = [_latex(first.text)], "", 2
        for heading in headings:
            texts.append(_latex_span(heading.span, _latex(heading.text)) if heading.text else "")
            texts += [""] * (0 if heading.text else heading.span - 1)
            end = start + heading.span - 1
            rules += rf"\cmidrule(lr){{{start}-{end}}}" if heading.over else ""
            start = end + 1
        lines += [" & ".join(texts) + r" \\", *([rules] if rules else [])]
    for rows in panel.body:
        lines.append(r"\midrule")
        for row in rows:
            budget = f" ({row.budget})" if row.budget else ""
            texts = [_latex(row.method + budget), *map(_latex_cell, row.cells)]
            lines.append(" & ".join(texts) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular*}"]


def _latex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{_latex(cell.text)}}}" if cell.best else _latex(cell.text)
    text += rf"{{\scriptsize$\,\pm${_latex(cell.sd)}}}" if cell.sd else ""
    return _latex_span(cell.span, text) if cell.span > 1 else text


def _latex_span(width: int, text: str) -> str:
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
