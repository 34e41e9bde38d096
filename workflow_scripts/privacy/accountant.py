"""One accountant for every method: privacy loss distributions, composed by dp-accounting.

The neighbouring relation is zero-out of one record with N public, numerically equal to adding or
removing one record. Noise is calibrated by the closed form and verified with the accountant that
will judge it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

from scipy.optimize import brentq

from workflow_scripts.privacy.closed_form import epsilon_of_mu, noise_multiplier_of
from workflow_scripts.privacy.gaussian import Event, GaussianEvent, SampledGaussianEvent, event_of
from workflow_scripts.problems import Problem

# ε may exceed the budget by this factor − 1: rounding, not a loophole.
TOLERANCE = 1e-6
ATTEMPTS = 20
RELATION = "zero-out of one record, N public (numerically add-or-remove-one)"


class CalibrationFailed(Problem):
    """The accountant cannot confirm any noise for this budget."""


class LedgerProblem(Problem):
    """Ledgers that are not those of the run."""


class BudgetExceeded(Problem):
    """The composition of what was released costs more than the run's budget."""


@dataclass(frozen=True)
class Composition:
    """What a list of events costs together.

    Attributes
    ----------
    epsilon : float
        At `delta`, by the accountant.
    grid : float
        Discretisation of the privacy loss; the result is an upper bound for any grid.
    """

    epsilon: float
    delta: float
    grid: float

    @property
    def accountant(self) -> dict:
        return {
            "method": "privacy loss distribution",
            "library": f"dp-accounting {version('dp-accounting')}",
            "discretisation": self.grid,
        }


def repeated(noise_multiplier: float, iterations: int, sampling_probability: float) -> list[Event]:
    """What a run's T releases of one noise multiplier cost: each on a Poisson sample if q < 1."""
    if sampling_probability < 1:
        return [SampledGaussianEvent(noise_multiplier, 1.0, sampling_probability, iterations)]
    return [GaussianEvent(noise_multiplier, 1.0)] * iterations


def compose(events: Sequence[Event], delta: float, scale: float = 1.0) -> Composition:
    """ε of adaptively composed events at δ.

    Parameters
    ----------
    events : sequence of Event
        What was executed; none costs nothing.
    delta : float
    scale : float
        The size of ε to expect; below 1 the grid is refined in proportion.
    """
    grid = 1e-4 * min(1.0, scale)
    if not events:
        return Composition(0.0, delta, grid)
    # dp-accounting takes two seconds to import; runs without events need none of it.
    from dp_accounting import GaussianDpEvent, NeighboringRelation, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant(
        NeighboringRelation.REPLACE_SPECIAL, value_discretization_interval=grid
    )
    counts: Counter = Counter()
    for event in events:
        release = GaussianDpEvent(event.noise_multiplier)
        if isinstance(event, SampledGaussianEvent):
            counts[PoissonSampledDpEvent(event.sampling_probability, release)] += event.steps
        else:
            counts[release] += 1
    for release, count in counts.items():
        accountant.compose(release, count)
    return Composition(float(accountant.get_epsilon(delta)), delta, grid)


def calibrate(
    epsilon: float,
    delta: float,
    iterations: int,
    others: Sequence[Event] = (),
    sampling_probability: float = 1.0,
) -> tuple[float, Composition]:
    """The noise multiplier for T Gaussian releases within (ε, δ), verified.

    `others` are further releases of the run whose noise is given; `sampling_probability` is q, with
    which a record takes part in each of the T.

    Returns
    -------
    (float, Composition)
        σ, and what the accountant says of all releases: at most ε × (1 + `TOLERANCE`).
    """
    noise_multiplier = _least_noise(epsilon, delta, iterations, others, sampling_probability)
    if noise_multiplier is None:
        given = [other.noise_multiplier for other in others]
        raise CalibrationFailed(
            f"releases with noise {given} alone cost more than ε = {epsilon:g}, δ = {delta:g}; "
            "allowed: more noise on them, or a larger ε"
        )
    for _ in range(ATTEMPTS):
        events = [*others, *repeated(noise_multiplier, iterations, sampling_probability)]
        composition = compose(events, delta, scale=epsilon)
        if composition.epsilon <= epsilon * (1 + TOLERANCE):
            return noise_multiplier, composition
        if not math.isfinite(composition.epsilon):
            break
        noise_multiplier *= max(composition.epsilon / epsilon, 1 + TOLERANCE)
    raise CalibrationFailed(
        f"no noise was found for ε = {epsilon:g}, δ = {delta:g}, T = {iterations} that the "
        f"accountant confirms (at the last it says ε = {composition.epsilon:g}); allowed: a larger "
        "δ or a smaller ε"
    )


def _least_noise(
    epsilon: float,
    delta: float,
    iterations: int,
    others: Sequence[Event],
    sampling_probability: float,
) -> float | None:
    """By the closed form, or by the accountant if there is sampling; None if there is none."""
    sampled = [event for event in others if isinstance(event, SampledGaussianEvent)]
    if sampling_probability == 1 and not sampled:
        given = [other.noise_multiplier for other in others]
        return noise_multiplier_of(epsilon, delta, iterations, given)
    if not compose(others, delta, scale=epsilon).epsilon < epsilon:
        return None

    def excess(log_noise: float) -> float:
        events = repeated(math.exp(log_noise), iterations, sampling_probability)
        return compose([*others, *events], delta, scale=epsilon).epsilon - epsilon

    # Without amplification by sampling more noise is needed; others may take any part of ε.
    high = math.log(noise_multiplier_of(epsilon, delta, iterations))
    while excess(high) > 0:
        high += 1
    low = high - 1
    while excess(low) < 0:
        high, low = low, low - 1
    return math.exp(brentq(excess, low, high, xtol=1e-7))


def check_budget(composition: Composition, epsilon: float) -> None:
    """Refuse a composition that exceeds the budget ε."""
    if not composition.epsilon <= epsilon * (1 + TOLERANCE):
        raise BudgetExceeded(
            f"the executed releases cost ε = {composition.epsilon:.6g} at δ = "
            f"{composition.delta:.3g}, more than the budget ε = {epsilon:g}; nothing is released"
        )


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


def closed_form(events: Sequence[Event], delta: float) -> float | None:
    """ε by the closed form, an independent check; None where there is none, as with sampling."""
    if any(isinstance(event, SampledGaussianEvent) for event in events):
        return None
    if not events:
        return 0.0
    return epsilon_of_mu(math.sqrt(math.fsum(e.noise_multiplier**-2 for e in events)), delta)


def statement(
    ledgers: Sequence[dict], epsilon: float, delta: float, train_size: int, noise_source: str
) -> dict:
    """The content of `privacy.json`: what the executed ledgers cost, and what was assumed.

    Parameters
    ----------
    ledgers : sequence of dict
        As written by the mechanisms: `mechanism`, `event`, `release_id`, `noise_source`. A
        release that stands there twice (shared, or read from a cache) is charged once.
    epsilon, delta : float
        The run's budget.
    train_size : int
        The declared, public N.
    noise_source : str
        As configured; it must agree with the ledgers.

    Raises
    ------
    BudgetExceeded
        If the composition exceeds ε.
    LedgerProblem
        If an event is of an unknown kind, or a ledger's noise came from another source than the
        configuration says.
    """
    charged = {ledger["release_id"]: ledger for ledger in ledgers}
    for ledger in charged.values():
        if ledger["noise_source"] != noise_source:
            raise LedgerProblem(
                f"release {ledger['release_id']} drew its noise from "
                f"{ledger['noise_source']!r}, the run says {noise_source!r}"
            )
    try:
        events = [event_of(ledger["event"]) for ledger in charged.values()]
    except ValueError as error:
        raise LedgerProblem(str(error)) from None
    composition = compose(events, delta, scale=epsilon or 1.0)
    check_budget(composition, epsilon)
    return {
        "epsilon": composition.epsilon,
        "delta": delta if events else 0.0,
        "budget": {"epsilon": epsilon, "delta": delta},
        "epsilon_closed_form": closed_form(events, delta),
        "neighbouring_relation": RELATION,
        "train_size": {"value": train_size, "status": "declared, public"},
        "sampling": _sampling(events),
        "accountant": composition.accountant,
        "noise_source": noise_source if events else None,
        "is_private": not events or noise_source == "os",
        "releases": [
            {
                "release_id": release_id,
                "mechanism": ledger["mechanism"],
                "event": asdict(event),
            }
            for (release_id, ledger), event in zip(charged.items(), events, strict=True)
        ],
    }


def _sampling(events: Sequence[Event]) -> str:
    if any(isinstance(event, SampledGaussianEvent) for event in events):
        return (
            "Poisson: a record takes part in each step of a sampled release with its sampling "
            "probability, on its own; in every other release"
        )
    return "none: every record takes part in every release"
