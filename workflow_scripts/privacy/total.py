"""What several releases from the same sensitive data cost together, each counted once."""

from collections.abc import Iterable, Mapping, Sequence

from workflow_scripts.privacy.accountant import COARSE, REPLACE_ONE, ZERO_OUT, compose
from workflow_scripts.privacy.events import Event
from workflow_scripts.privacy.register import Charge
from workflow_scripts.privacy.statement import charged_releases


def together(events: Sequence[Event], delta: float) -> dict:
    """ε at δ of all these releases, under both neighbouring relations; upper bounds."""
    composition = compose(events, delta, grid=COARSE)
    return {
        "releases": len(events),
        "epsilon": composition.epsilon,
        "delta": delta,
        "neighbouring_relation": ZERO_OUT,
        "replace_one": {
            "neighbouring_relation": REPLACE_ONE,
            "epsilon": compose(events, delta, relation=REPLACE_ONE, grid=COARSE).epsilon,
        },
        "accountant": composition.accountant,
    }


def total_of_register(charges: Sequence[Charge], cap: Mapping | None, delta: float) -> dict:
    """The content of `privacy-total.json`: everything that was ever released of a data set.

    A release whose noise may have been drawn, but which never was finished, counts too.
    """
    return {
        **together([charge.event for charge in charges], delta),
        "cap": cap,
        "is_private": all(charge.noise_source == "os" for charge in charges),
        "unfinished": [charge.identity for charge in charges if charge.release_id is None],
        "identities": {c.release_id: c.identity for c in charges if c.release_id},
    }


def published_together(statements: Iterable[tuple[str, Mapping]], delta: float) -> dict:
    """What publishing runs costs: all of them, and those of each method and ε alone.

    Parameters
    ----------
    statements : iterable of (str, mapping)
        Method and ε of a run of one data set, as they are to be called, and its `privacy.json`.
    delta : float
        Of the totals.
    """
    groups: dict[str, list[Mapping]] = {}
    for name, stated in statements:
        groups.setdefault(name, []).append(stated)

    def events_of(runs: Iterable[Mapping]) -> list[Event]:
        releases = charged_releases(release for stated in runs for release in stated["releases"])
        return [event for _, event in releases.values()]

    everything = [stated for runs in groups.values() for stated in runs]
    return {
        "runs": len(everything),
        **together(events_of(everything), delta),
        "each": {
            name: {
                "runs": len(runs),
                "epsilon": compose(events_of(runs), delta, grid=COARSE).epsilon,
            }
            for name, runs in groups.items()
        },
    }
