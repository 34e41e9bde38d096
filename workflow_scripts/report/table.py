"""The comparison table of an experiment as data, and what a reader must know to read it.

`summarise` makes the one table that everything else is drawn from: a row for each data set, method
and ε. `footnotes` says in words what its numbers rest on. How the table is printed is in
`workflow_scripts.report.markup`, whose functions are offered here too.
"""

import math
from collections.abc import Mapping

import pandas as pd

from workflow_scripts.report.markup import table_html, table_latex, table_markdown
from workflow_scripts.report.measures import (
    SAMPLE_SIZE,
    encoders,
    printed_delta,
    printed_epsilon,
    printed_epsilon_spent,
)

__all__ = ["TEXT", "footnotes", "summarise", "table_html", "table_latex", "table_markdown"]

RUN = ["dataset", "method", "epsilon", "seed"]
CELL = RUN[:3]

# What to hand to ``pandas.read_csv`` as ``dtype``: a key of digits alone is still text.
TEXT = {"dataset": str, "method": str, "key": str, "metric": str, "noise_source": str}


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
        each metric but sample sizes ``<metric>_mean`` and ``<metric>_sd``, the sample standard
        deviation over seeds (NaN with one seed). Data sets and methods come in the order of
        ``runs``, but methods with ε = 0 alone come first and those with ε = ∞ alone last; then
        by ε.

    Raises
    ------
    ValueError
        If one method name stands for two settings (two keys) on one data set, if a run or one
        of its metrics is listed twice, or if a metric belongs to no run that is done.
    """
    # A table without rows has no types of its own when it is read from CSV.
    metrics = metrics.astype({**runs[RUN].dtypes, "value": float})
    done = runs[runs["status"] == "done"]
    _check(metrics, runs, done)

    table = runs[CELL].drop_duplicates()
    spent = done.groupby(CELL, sort=False).agg(
        epsilon_spent=("epsilon_spent", "max"), delta=("delta", "max"), seeds=("seed", "size")
    )
    table = table.merge(spent.reset_index(), on=CELL, how="left")
    table["seeds"] = table["seeds"].fillna(0).astype(int)
    for metric, values in metrics.groupby("metric", sort=False):
        if SAMPLE_SIZE.match(metric):
            continue
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


def footnotes(runs: pd.DataFrame, metrics: pd.DataFrame, totals: Mapping) -> list[str]:
    """Say what a reader must know to read the numbers, one sentence or two a note.

    Parameters
    ----------
    runs, metrics : DataFrame
        As for `summarise`; ``runs`` has ``noise_source`` (``os``, ``seeded`` or empty) too.
    totals : mapping
        Data set → what its runs cost when they are published together: ``runs``, ``releases``,
        ``epsilon``, ``delta``, and of everything that was ``ever`` released of it the same.

    Returns
    -------
    list of str
        Plain text. The warnings (disclosed noise, missing runs) come first.
    """
    seeds = runs.groupby(CELL)["seed"].nunique().max() if len(runs) else 0
    return [
        *_warnings(runs),
        f"Mean ± sample standard deviation over {seeds} seeds."
        if seeds > 1
        else "One seed: no spread is shown.",
        "↑ higher is better, ↓ lower is better. Bold: the best DP method of each metric and ε, by "
        "the printed mean. random (a public generator, no private data) and real (the private "
        "training set itself, no privacy) bracket the methods and are never in bold.",
        "Privacy is (ε, δ)-DP under one neighbouring relation for every method: zero-out of one "
        "record, N public (numerically add-or-remove-one), composed by PLD. ε spent is the "
        "largest over seeds and counts one run.",
        *_published(totals),
        "The metrics are computed against the private data. They are for the benchmark, not DP "
        "outputs, and choosing settings by them is not charged to ε.",
        *_about_fidelity(metrics),
    ]


def _warnings(runs: pd.DataFrame) -> list[str]:
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
    return notes


def _published(totals: Mapping) -> list[str]:
    """What the runs of the table cost if all are published, and what the data have spent so far."""
    return [
        f"Publishing all {total['runs']} runs on {dataset} together ({total['releases']} releases) "
        f"spends ε = {printed_epsilon_spent(total['epsilon'])} at δ = "
        f"{printed_delta(total['delta'])}; all {total['ever']['releases']} releases ever drawn "
        f"from {dataset} cost ε = {printed_epsilon_spent(total['ever']['epsilon'])}."
        for dataset, total in totals.items()
        if total["releases"]
    ]


def _about_fidelity(metrics: pd.DataFrame) -> list[str]:
    notes = _sample_sizes(metrics)
    named = encoders(metrics["metric"].unique())
    if named:
        notes.append(
            f"Metrics in the features of {' and '.join(named)} compare within one encoder "
            "only; a Fréchet distance there is not FID."
        )
    if (metrics["metric"].str.startswith("kernel_") & (metrics["value"] < 0)).any():
        notes.append(
            "The kernel distance is an unbiased estimate: where the distributions agree, it may "
            "fall below zero."
        )
    return notes


def _sample_sizes(metrics: pd.DataFrame) -> list[str]:
    """How many images the fidelity metrics compare; one note if it fits every data set."""
    sizes = metrics.join(metrics["metric"].str.extract(SAMPLE_SIZE))
    sentences: dict[str, list[str]] = {}
    for (dataset, encoder), its in sizes.groupby(["dataset", "encoder"], sort=False):
        generated, reference = (its[its["side"] == side] for side in ("generated", "reference"))
        sentence = (
            f"Fidelity in the features of {encoder} compares {_generated(generated)} with "
            f"{_counts(reference)} real test images."
        )
        sentences.setdefault(sentence, []).append(dataset)
    everywhere = metrics["dataset"].nunique()
    return [
        sentence if len(where) == everywhere else f"{', '.join(where)}: {sentence}"
        for sentence, where in sentences.items()
    ]


def _generated(sizes: pd.DataFrame) -> str:
    """``1000 generated images (real: 1437)``: what most runs have, and who has another number."""
    synthetic = sizes[sizes["epsilon"] < math.inf]
    usual = (synthetic if len(synthetic) else sizes)["value"].mode()[0]
    others = [
        f"{method}: {_counts(its)}"
        for method, its in sizes.groupby("method", sort=False)
        if (its["value"] != usual).any()
    ]
    noun = "generated images" if len(synthetic) else "images"
    return f"{usual:.0f} {noun}" + (f" ({', '.join(others)})" if others else "")


def _counts(sizes: pd.DataFrame) -> str:
    return " or ".join(f"{n:.0f}" for n in sorted(sizes["value"].unique()))


def _check(metrics: pd.DataFrame, runs: pd.DataFrame, done: pd.DataFrame) -> None:
    for frame in (runs, metrics):
        for (dataset, method), keys in frame.groupby(["dataset", "method"], sort=False)["key"]:
            found = keys.astype(str).unique()
            if len(found) > 1:
                raise ValueError(
                    f"dataset {dataset}: method {method} has several settings in one experiment, "
                    f"keys {', '.join(found)}; expected one key for each method name"
                )
    for frame, columns in ((runs, RUN), (metrics, [*RUN, "metric"])):
        twice = frame[frame.duplicated(columns)]
        if len(twice):
            what = ", ".join(f"{c}={twice.iloc[0][c]}" for c in columns)
            raise ValueError(f"listed twice: {what}")
    strays = metrics[RUN].drop_duplicates().merge(done[RUN], on=RUN, how="left", indicator=True)
    strays = strays[strays["_merge"] == "left_only"]
    if len(strays):
        raise ValueError(f"metrics of runs that are not done: {_names(strays)}")


def _names(runs: pd.DataFrame) -> str:
    return "; ".join(
        f"{r.dataset} {r.method} ε={printed_epsilon(r.epsilon)} seed {r.seed}"
        for r in runs.itertuples()
    )
