"""What a run's releases cost and what was assumed: `privacy.json`, and a page for people.

The points are those of the reporting list of "How to DP-fy ML" (arXiv 2303.00654, § 5.3).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from platform import python_version

from workflow_scripts.privacy.accountant import (
    COARSE,
    REPLACE_ONE,
    ZERO_OUT,
    check_budget,
    compose,
    compose_within,
    exact,
)
from workflow_scripts.privacy.events import (
    DiscreteGaussianEvent,
    Event,
    SampledGaussianEvent,
    SelectionEvent,
    event_of,
)
from workflow_scripts.problems import Problem

UNIT = "one record of the train split as prepared"
# What took part in the privacy of a release.
LIBRARIES = ("dp-accounting", "opendp", "numpy", "scipy", "torch")
NOT_COVERED = (
    "the choice of hyper-parameters: whatever was learnt from private data when the settings were "
    "chosen is not charged",
    "evaluation: metrics are computed against private data without noise, are not part of this "
    "release and are not private",
    "other releases from the same data: together they cost more (privacy-total.json says how much)",
    "several records of one person: only one record is protected",
    "side channels: how long jobs took, and the low bits of floating-point noise",
)
# Where the noise of an event comes from, if it is secret.
NOISE = {
    DiscreteGaussianEvent: "exact discrete Gaussian sampler of OpenDP, operating system's entropy",
    SampledGaussianEvent: "floating-point Gaussian, generator with a key from the operating "
    "system's entropy",
    SelectionEvent: "exact exponential noise of OpenDP (permute-and-flip), operating system's "
    "entropy",
}
DISCLOSED = "PUBLIC SEED: whoever has the configuration knows the noise"


class LedgerProblem(Problem):
    """Ledgers that are not those of the run."""


def check_ledgers(ledgers: Sequence[dict], expected: Sequence[Sequence]) -> None:
    """Refuse ledgers that are not the (mechanism, iteration) of the run, each of its own release.

    Iterations count from 1; a mechanism outside of them has iteration 0.
    """
    found = [[ledger["mechanism"], ledger["iteration"]] for ledger in ledgers]
    if found != [list(release) for release in expected]:
        raise LedgerProblem(f"ledgers of {_listed(found)}; allowed: {_listed(expected)}, in order")
    if len({ledger["release_id"] for ledger in ledgers}) < len(expected):
        raise LedgerProblem("two ledgers name the same release; each draws its own noise")


def _listed(releases: Sequence[Sequence]) -> str:
    return ", ".join(f"{mechanism} {iteration}" for mechanism, iteration in releases) or "nothing"


def charged_releases(ledgers: Iterable[Mapping]) -> dict[str, tuple[Mapping, Event]]:
    """Release → its ledger and event; one that stands there twice is charged once.

    Raises
    ------
    LedgerProblem
        If an event is of an unknown kind, or two ledgers state one release differently.
    """
    charged: dict[str, tuple[Mapping, Event]] = {}
    for ledger in ledgers:
        try:
            event = event_of(ledger["event"])
        except (TypeError, ValueError) as error:
            raise LedgerProblem(f"release {ledger['release_id']}: {error}") from None
        known = charged.setdefault(ledger["release_id"], (ledger, event))
        if known[1] != event:
            raise LedgerProblem(
                f"release {ledger['release_id']} stands there twice, as {known[1]} and as {event}"
            )
    return charged


def statement(
    ledgers: Sequence[Mapping],
    epsilon: float,
    delta: float,
    noise_source: str,
    dataset: str,
    public: Mapping,
    checksums: Mapping[str, str],
) -> dict:
    """The content of `privacy.json`: what the executed ledgers cost, and what was assumed.

    Parameters
    ----------
    ledgers : sequence of mappings
        As written by the mechanisms: `mechanism`, `iteration`, `event`, `release_id`,
        `noise_source`. A release that stands there twice (shared, or read from a cache) is charged
        once.
    epsilon, delta : float
        The run's budget.
    noise_source : str
        As configured; it must agree with the ledgers.
    dataset : str
        The sensitive data set.
    public : mapping
        What was assumed public: `train_size` (N), `classes`, `class_fractions`, `image`,
        `preprocessing`.
    checksums : mapping
        Ledger → SHA-256 of its file.

    Raises
    ------
    BudgetExceeded
        If the composition exceeds ε.
    LedgerProblem
        If an event is of an unknown kind, or a ledger's noise came from another source than the
        configuration says.
    """
    charged = charged_releases(ledgers)
    for release_id, (ledger, _) in charged.items():
        if ledger["noise_source"] != noise_source:
            raise LedgerProblem(
                f"release {release_id} drew its noise from {ledger['noise_source']!r}, the run "
                f"says {noise_source!r}"
            )
    events = [event for _, event in charged.values()]
    composition = compose_within(events, delta, epsilon)
    check_budget(composition, epsilon)
    replaced = compose(events, delta, scale=epsilon or 1.0, relation=REPLACE_ONE, grid=COARSE)
    return {
        "dataset": dataset,
        "protects": UNIT,
        "neighbouring_relation": ZERO_OUT,
        "epsilon": composition.epsilon,
        "delta": delta if events else 0.0,
        "budget": {"epsilon": epsilon, "delta": delta},
        "replace_one": {"neighbouring_relation": REPLACE_ONE, "epsilon": replaced.epsilon},
        "accountant": composition.accountant,
        "epsilon_exact": exact(events, delta),
        "noise_source": noise_source if events else None,
        "is_private": not events or noise_source == "os",
        "releases": [
            {
                "release_id": release_id,
                "mechanism": ledger["mechanism"],
                "iteration": ledger["iteration"],
                "event": asdict(event),
                "sensitivity": event.sensitivity,
                "sampling": _sampling(event),
                "noise": NOISE[type(event)] if noise_source == "os" else DISCLOSED,
            }
            for release_id, (ledger, event) in charged.items()
        ],
        "assumed_public": dict(public),
        "not_covered": list(NOT_COVERED),
        "ledgers_sha256": dict(checksums),
        "versions": {"python": python_version(), **{name: version(name) for name in LIBRARIES}},
    }


def _sampling(event: Event) -> str:
    if isinstance(event, SampledGaussianEvent) and event.sampling_probability < 1:
        return f"Poisson: each record in each step with probability {event.sampling_probability:g}"
    return "none: every record takes part"


def page(stated: Mapping, run: str, checksums: Mapping[str, str]) -> str:
    """The statement for people, one page of Markdown.

    Parameters
    ----------
    stated : mapping
        What `statement` returns.
    run : str
        Of which run: data set, method, ε and seed.
    checksums : mapping
        Name → SHA-256 of the files that are released with it.
    """
    public, accountant = stated["assumed_public"], stated["accountant"]
    lines = [f"# Privacy of {run}", ""]
    if not stated["is_private"]:
        lines += ["**Not for release: the noise came from a public seed and is disclosed.**", ""]
    if not stated["releases"]:
        lines += [f"Nothing was read from {stated['dataset']}: ε = 0.", ""]
    else:
        lines += [
            f"This release is (ε = {stated['epsilon']:.4g}, δ = {stated['delta']:.3g})"
            f"-differentially private. It protects {stated['protects']}, of {stated['dataset']}, "
            f"under {stated['neighbouring_relation']}.",
            "",
            f"- Budget: ε = {stated['budget']['epsilon']:g}. For the "
            f"{stated['replace_one']['neighbouring_relation']} the same releases cost ε = "
            f"{stated['replace_one']['epsilon']:.4g} at the same δ.",
            f"- Accountant: {accountant['method']}, {accountant['library']}, grid "
            f"{accountant['discretisation']:g}"
            + (
                f"; by direct summation ε = {stated['epsilon_exact']:.6g}."
                if stated["epsilon_exact"] is not None
                else "."
            ),
            "",
            "## Mechanisms",
            "",
            "| mechanism | releases | σ / sensitivity | L2 sensitivity | sampling | noise |",
            "|---|---|---|---|---|---|",
            *_mechanisms(stated["releases"]),
            "",
        ]
    fractions = public["class_fractions"]
    lines += [
        "## Assumed public",
        "",
        f"- the number of records, {public['train_size']:,}",
        f"- the class list: {', '.join(public['classes'])}",
        f"- class fractions: {fractions if isinstance(fractions, str) else dict(fractions)}",
        f"- image shape: {public['image']['size']} × {public['image']['size']}, "
        f"{public['image']['channels']} channel(s)",
        f"- preprocessing: {_named(public['preprocessing'])}",
        "- the whole configuration; generators, encoders and public data sets",
        "",
        "## Not covered",
        "",
        *(f"- {point}" for point in stated["not_covered"]),
        "",
        "## Versions and checksums",
        "",
        ", ".join(f"{name} {number}" for name, number in stated["versions"].items()),
        "",
        *(f"    {checksum}  {name}" for name, checksum in checksums.items()),
        "",
    ]
    return "\n".join(lines)


def _mechanisms(releases: Sequence[Mapping]) -> list[str]:
    """A row for each kind of release, and how many there are of it."""
    rows = Counter(
        (
            release["mechanism"],
            release["event"].get("steps", 1),
            _noise(release["event"]),
            f"{release['sensitivity']:.6g}",
            release["sampling"],
            release["noise"],
        )
        for release in releases
    )
    return [
        f"| {mechanism} | {times * steps} | {' | '.join(rest)} |"
        for (mechanism, steps, *rest), times in rows.items()
    ]


def _noise(event: Mapping) -> str:
    event = event_of(event)
    if isinstance(event, SelectionEvent):
        return f"ε = {event.epsilon:g}, of {event.candidates}"
    return f"{event.noise_multiplier:.6g}"


def _named(settings: Mapping) -> str:
    parts = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            value = f"({_named(value)})"
        parts.append(f"{name} {value}")
    return ", ".join(parts) or "none"
