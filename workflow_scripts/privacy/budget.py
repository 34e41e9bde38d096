"""A run's budget on disk: what `calibrate` decided, read by every mechanism before it draws."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from workflow_scripts.files import FileProblem, read_json
from workflow_scripts.privacy.accountant import TOLERANCE, compose_within, exact
from workflow_scripts.privacy.events import Event, event_of, repeated

# What a run may spend and on how many releases of which kind; the noise follows from it. `others`
# are releases whose noise is given.
KEYS = ("epsilon", "delta", "iterations", "release", "others")


def check_given(paths: Iterable[str | Path], event: Event) -> None:
    """Refuse to draw a release of given noise that the runs which use it have not budgeted for.

    A budget is there once `calibrate` found noise for the rest of its run.
    """
    for path in paths:
        if asdict(event) not in read_json(path)["others"]:
            raise FileProblem(f"{path}: has no room for a release of {event}; nothing is drawn")


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
    sigma, delta = budget["noise_multiplier"], budget["delta"]
    events = repeated(budget["release"], sigma, budget["iterations"])
    events += map(event_of, budget["others"])
    epsilon = exact(events, delta)
    if epsilon is None:
        epsilon = compose_within(events, delta, budget["epsilon"]).epsilon
    if not epsilon <= budget["epsilon"] * (1 + TOLERANCE):
        raise FileProblem(
            f"{path}: noise_multiplier {sigma:g} costs ε = {epsilon:.6g}, more than the budget ε = "
            f"{budget['epsilon']:g}; nothing is drawn"
        )
    return budget
