"""The report of an experiment as one HTML file that needs nothing but itself.

Styles are inline, pictures are embedded, and a content security policy forbids the rest: the page
can be mailed, archived and printed. Everything that is not made by this package is escaped.
"""

import base64
import math
import re
import struct
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from workflow_scripts.report import figures as drawing
from workflow_scripts.report.measures import (
    measure_of,
    printed_delta,
    printed_epsilon,
    printed_epsilon_spent,
)

TEMPLATE = "page.html.j2"


def render(
    experiment: str,
    table_html: str,
    notes: list[str],
    runs: pd.DataFrame,
    figures: list[dict],
    facts: dict[str, str],
) -> str:
    """Compose the report.

    Parameters
    ----------
    experiment : str
        Name of the experiment.
    table_html : str
        From ``table.table_html(table, [])``: the only argument that is taken as markup. The
        notes are set by the page, so the fragment comes without them.
    notes : list of str
        From ``table.footnotes``.
    runs : DataFrame
        One row a run: dataset, method, epsilon (float), seed, directory, status (``done`` or
        ``missing``), epsilon_spent (float), delta (float), noise_source, seconds (float).
    figures : list of dict
        ``title`` (str), ``caption`` (str), ``png`` (bytes) and, if the title is not enough for
        a reader who cannot see the picture, ``alt`` (str). No figure shows private images.
    facts : dict of str to str
        What else a reader needs to know, such as versions; printed as a list.

    Returns
    -------
    str
        The HTML document.

    Raises
    ------
    ValueError
        If a figure is not a PNG.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        experiment=experiment,
        summary=_summary(runs),
        seeded=bool((runs["noise_source"] == "seeded").any()),
        missing=int((runs["status"] == "missing").sum()),
        table=Markup(table_html),  # noqa: S704 — made and escaped by table.py
        notes=notes,
        runs=[_run(row) for row in runs.to_dict("records")],
        figures=[_figure(figure) for figure in figures],
        facts=facts,
    )


def figure_of(path: str, classifier: str | None) -> dict:
    """A figure of the workflow as `render` takes it, with title and caption by its name."""
    name = Path(path).stem
    accuracy = "Accuracy on real test data"
    if classifier is not None:
        accuracy += f" of a classifier ({measure_of(f'accuracy_{classifier}')[1]})"
    if name == "accuracy_by_iteration":
        title = "Accuracy by iteration"
        caption = (
            f"{accuracy} trained on the population of each iteration. Mean over seeds; band: one "
            "standard deviation."
        )
    elif name == "accuracy_by_epsilon":
        title = "Accuracy by ε"
        caption = (
            f"{accuracy} trained on releases. Mean over seeds; bars: one standard deviation. "
            "Horizontal lines have no budget: ε = 0 (dotted) and ε = ∞ (dashed)."
        )
    elif name == "diagnostics":
        title = "Signal and noise of the votes"
        caption = (
            "From the noisy votes alone. Signal: the share of the votes above the threshold that "
            "noise alone would not be expected to leave. Effective parents: (Σh)² / Σh² of the "
            "clipped votes h, as a share of the candidates."
        )
    elif found := re.fullmatch(r"query_(.+)~[0-9a-f]{12}_.+~[0-9a-f]{12}_(.+)~[0-9a-f]{12}", name):
        title = f"Semantic query: {found[1]}, for {found[2]}"
        caption = (
            "How often the images of each sensitive class named each public class, with the noise "
            "that protects them (band), and the public classes that were chosen for the "
            "pre-training (first seed)."
        )
    else:
        # The name ends with the twelve hex digits of the data set's key.
        title = f"Samples: {re.sub('~[0-9a-f]{12}$', '', name.removeprefix('samples_'))}"
        caption = (
            "Synthetic images of the first seed, one of each class, by method, ε and iteration t. "
            "No private image is shown."
        )
    return {"title": title, "caption": caption, "png": Path(path).read_bytes()}


def facts() -> dict[str, str]:
    """Versions that a reader needs to repeat the numbers."""
    packages = ("snakemake", "torch", "diffusers", "faiss-cpu", "scikit-learn", "dp-accounting")
    return {package: version(package) for package in packages}


def _summary(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """The grid of the experiment, in five lines."""
    budgets = sorted(e for e in runs["epsilon"].unique() if 0 < e < math.inf)
    done = int((runs["status"] == "done").sum())
    seconds = runs["seconds"].sum()
    return [
        ("Data sets", ", ".join(runs["dataset"].unique())),
        ("Methods", ", ".join(runs["method"].unique())),
        ("Budgets", "ε = " + ", ".join(map(printed_epsilon, budgets)) if budgets else "none"),
        ("Seeds", ", ".join(str(seed) for seed in sorted(runs["seed"].unique()))),
        ("Runs", f"{done} of {len(runs)} done, {_duration(seconds)} of computing"),
    ]


def _run(row: dict) -> dict[str, str]:
    """One line of the table of runs, as text."""
    noise = {"os": "secret", "seeded": "public seed"}
    return {
        "dataset": row["dataset"],
        "method": row["method"],
        "epsilon": printed_epsilon(row["epsilon"]),
        "seed": str(row["seed"]),
        "status": row["status"],
        "epsilon_spent": printed_epsilon_spent(row["epsilon_spent"]),
        "delta": printed_delta(row["delta"]),
        "noise": noise.get(row["noise_source"], "–"),
        "time": _duration(row["seconds"]),
        "directory": "" if pd.isna(row["directory"]) else row["directory"],
    }


def _figure(figure: dict) -> dict:
    data = figure["png"]
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"figure {figure['title']!r}: not a PNG")
    width, height = struct.unpack(">II", data[16:24])
    return {
        "title": figure["title"],
        "caption": figure["caption"],
        "alt": figure.get("alt", figure["title"]),
        "source": "data:image/png;base64," + base64.b64encode(data).decode("ascii"),
        # Drawn at its size on paper: CSS has 96 pixels to the inch.
        "width": round(width * 96 / drawing.DPI),
        "height": round(height * 96 / drawing.DPI),
    }


def _duration(seconds: float) -> str:
    if pd.isna(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
