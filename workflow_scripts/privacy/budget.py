"""A run's budget on disk: what `calibrate` decided, read by every mechanism before it draws."""

from collections.abc import Mapping
from pathlib import Path

from workflow_scripts.files import FileProblem, read_json

# What a run may spend and on how many releases; the noise follows from it.
KEYS = ("epsilon", "delta", "iterations", "class_count_noise")


def read_budget(path: str | Path, run: Mapping) -> dict:
    """The budget in a file; refuse one that is not the run's.

    Parameters
    ----------
    path : path
        Of budget.json.
    run : mapping
        `KEYS` as the run's settings have them.
    """
    budget = read_json(path)
    for name in KEYS:
        if budget.get(name) != run[name]:
            raise FileProblem(f"{path}: {name} is {budget.get(name)}, the run says {run[name]}")
    return budget
