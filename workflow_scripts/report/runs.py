"""The list of an experiment's runs: where each lies, what it spent, what it took."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from workflow_scripts.files import read_json

COLUMNS = [
    "dataset",
    "method",
    "key",
    "epsilon",
    "seed",
    "directory",
    "status",
    "epsilon_spent",
    "delta",
    "noise_source",
    "seconds",
]


def run_table(rows: Sequence[dict]) -> pd.DataFrame:
    """One row a run.

    Parameters
    ----------
    rows : sequence of dict
        `dataset`, `method`, `key`, `epsilon`, `seed`, `directory`, and `privacy`, the path of the
        run's privacy statement (None for `real`, which has none: nothing of it is released).
    """
    return pd.DataFrame([_row(row) for row in rows], columns=COLUMNS)


def _row(row: dict) -> dict:
    if row["privacy"] is None:
        return {**row, "status": "done", "epsilon_spent": math.inf}
    if not Path(row["directory"], "release.safetensors").exists():
        return {**row, "status": "missing"}
    statement = read_json(row["privacy"])
    return {
        **row,
        "status": "done",
        "epsilon_spent": statement["epsilon"],
        "delta": statement["delta"],
        "noise_source": statement["noise_source"],
        "seconds": seconds_of(row["directory"]),
    }


def seconds_of(directory: str) -> float:
    """Seconds of a run's own jobs, from Snakemake's benchmark files.

    Jobs that read the sensitive zone are left out: what they took lies in that zone. So are stages
    that several runs share. A run that resumed or reused files lists what was last computed.
    """
    folder = Path(directory.replace("results/runs/", "results/benchmarks/runs/", 1))
    return round(sum(pd.read_csv(f, sep="\t")["s"].sum() for f in folder.glob("*.tsv")), 1)
