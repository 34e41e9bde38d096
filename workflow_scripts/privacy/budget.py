"""A run's budget on disk: what `calibrate` decided, read by every mechanism before it draws."""

import math
from collections.abc import Mapping
from pathlib import Path

from workflow_scripts.files import FileProblem, read_json
from workflow_scripts.privacy.closed_form import epsilon_of_mu

# ε may exceed the budget by this factor − 1: rounding, not a loophole.
TOLERANCE = 1e-6

# What a run may spend and on how many releases; the noise follows from it.
KEYS = ("epsilon", "delta", "iterations", "class_count_noise")


def read_budget(path: str | Path, run: Mapping) -> dict:
    """The budget in a file; refuse one that is not the run's, or whose noise is too small for it.

    So nothing is drawn that the account would refuse only afterwards.

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
    sigma, others = budget["noise_multiplier"], budget["class_count_noise"]
    mu = math.sqrt(budget["iterations"] / sigma**2 + math.fsum(1 / other**2 for other in others))
    epsilon = epsilon_of_mu(mu, budget["delta"])
    if not epsilon <= budget["epsilon"] * (1 + TOLERANCE):
        raise FileProblem(
            f"{path}: noise_multiplier {sigma:g} costs ε = {epsilon:.6g}, more than the budget ε = "
            f"{budget['epsilon']:g}; nothing is drawn"
        )
    return budget
