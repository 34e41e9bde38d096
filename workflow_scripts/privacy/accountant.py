"""One accountant for every method: privacy loss distributions, composed by dp-accounting.

The neighbouring relation is zero-out of one record with N public, numerically equal to adding or
removing one record; what the same releases cost when a record is replaced is reported beside it.
Noise is calibrated by the exact cost, where there is one, and verified with the accountant that
will judge it.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from workflow_scripts.privacy.closed_form import epsilon_of_mu, noise_multiplier_of
from workflow_scripts.privacy.discrete_gaussian import epsilon_of
from workflow_scripts.privacy.events import (
    DiscreteGaussianEvent,
    Event,
    SampledGaussianEvent,
    SelectionEvent,
    repeated,
)
from workflow_scripts.privacy.roots import root
from workflow_scripts.problems import Problem

# ε may exceed the budget by this factor − 1: rounding, not a loophole.
TOLERANCE = 1e-6
ATTEMPTS = 20
# Discretisation of the privacy loss, for ε of 1 and more. Every grid gives an upper bound; a coarse
# one takes a tenth of the time, and is often as good to six digits.
FINE, COARSE = 1e-4, 1e-3
ZERO_OUT = "zero-out of one record, N public (numerically add-or-remove-one)"
REPLACE_ONE = "replacement of one record by another"


class CalibrationFailed(Problem):
    """The accountant cannot confirm any noise for this budget."""


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


def compose(
    events: Sequence[Event],
    delta: float,
    scale: float = 1.0,
    relation: str = ZERO_OUT,
    grid: float = FINE,
) -> Composition:
    """ε of adaptively composed events at δ.

    Parameters
    ----------
    events : sequence of Event
        What was executed; none costs nothing.
    delta : float
    scale : float
        The size of ε to expect; below 1 the grid is refined in proportion.
    relation : str
        `ZERO_OUT` or `REPLACE_ONE`.
    grid : float
    """
    grid *= min(1.0, scale)
    if not events:
        return Composition(0.0, delta, grid)
    # dp-accounting takes a second to import; runs without events need none of it.
    from dp_accounting.pld.privacy_loss_distribution import identity

    total = identity(value_discretization_interval=grid)
    for event, times in Counter(events).items():
        total = total.compose(_distribution(event, times, grid, relation))
    return Composition(float(total.get_epsilon_for_delta(delta)), delta, grid)


def compose_within(events: Sequence[Event], delta: float, epsilon: float) -> Composition:
    """The composition on the coarse grid, if that is within ε already, or else on the fine one."""
    composition = compose(events, delta, scale=epsilon or 1.0, grid=COARSE)
    if composition.epsilon <= epsilon * (1 + TOLERANCE):
        return composition
    return compose(events, delta, scale=epsilon or 1.0)


def _distribution(event: Event, times: int, grid: float, relation: str):
    """The privacy loss distribution of an event that happened some times."""
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import privacy_loss_distribution as distributions
    from dp_accounting.pld.common import DifferentialPrivacyParameters

    replaced = relation == REPLACE_ONE
    match event:
        case DiscreteGaussianEvent():
            # A record that is replaced takes its k counts away and gives k others: 2k changes,
            # a distance of √2 · √k. (dp-accounting's REPLACE_ONE would take 2 · √k.)
            changes = event.counts * (2 if replaced else 1)
            one = distributions.from_discrete_gaussian_mechanism(
                event.scale, value_discretization_interval=grid, use_connect_dots=True
            )
            return one.self_compose(times * changes)
        case SampledGaussianEvent():
            # Gradients can be opposite, so a record that is replaced moves a sum by 2C.
            relations = NeighboringRelation
            one = distributions.from_gaussian_mechanism(
                event.noise_multiplier,
                value_discretization_interval=grid,
                sampling_prob=event.sampling_probability,
                neighboring_relation=relations.REPLACE_ONE
                if replaced
                else relations.REPLACE_SPECIAL,
            )
            return one.self_compose(times * event.steps)
        case SelectionEvent():
            # Scores that all move one way, when a record is replaced, can move both ways.
            pure = DifferentialPrivacyParameters(event.epsilon * (2 if replaced else 1))
            one = distributions.from_privacy_parameters(pure, value_discretization_interval=grid)
            return one.self_compose(times)


def calibrate(
    epsilon: float,
    delta: float,
    iterations: int,
    release: Mapping,
    others: Sequence[Event] = (),
) -> tuple[float, Composition]:
    """The noise multiplier for T releases within (ε, δ), verified.

    `release` is what each of the T is, as in `events.repeated`; `others` are further releases of
    the run, whose noise is given.

    Returns
    -------
    (float, Composition)
        σ, and what the accountant says of all releases: at most ε × (1 + `TOLERANCE`).
    """
    noise_multiplier = least_noise(epsilon, delta, iterations, release, others)
    if noise_multiplier is None:
        raise CalibrationFailed(
            f"other releases, {', '.join(map(str, others))}, alone cost more than ε = "
            f"{epsilon:g}, δ = {delta:g}; allowed: more noise on them, or a larger ε"
        )
    for _ in range(ATTEMPTS):
        events = [*others, *repeated(release, noise_multiplier, iterations)]
        composition = compose_within(events, delta, epsilon)
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


def least_noise(
    epsilon: float,
    delta: float,
    iterations: int,
    release: Mapping,
    others: Sequence[Event] = (),
) -> float | None:
    """The least σ of T releases within (ε, δ), by the exact cost or else by the accountant.

    None if there is none, because `others` cost too much. Arguments are those of `calibrate`.
    """

    def cost(log_noise: float | None, grid: float) -> float:
        """ε of the T releases and the others; of the others alone if there is no noise to try."""
        own = [] if log_noise is None else repeated(release, math.exp(log_noise), iterations)
        spent = exact([*others, *own], delta)
        if spent is None:
            spent = compose([*others, *own], delta, scale=epsilon, grid=grid).epsilon
        return spent

    if not cost(None, FINE) < epsilon:
        return None
    # What continuous noise on every record would be; the search starts there.
    start = math.log(noise_multiplier_of(epsilon, delta, iterations))
    found = _root(lambda log_noise: cost(log_noise, COARSE) - epsilon, start, step=0.02)
    # A grid that is too coarse asks for too much noise: where twice the grid makes a difference.
    # An exact cost has no grid.
    if cost(found, 2 * COARSE) - cost(found, COARSE) > 10 * TOLERANCE * epsilon:
        found = _root(lambda log_noise: cost(log_noise, FINE) - epsilon, found, step=1e-4)
    return math.exp(found)


def _root(excess: Callable[[float], float], start: float, step: float) -> float:
    """Where a falling function is 0, from a guess on in growing steps."""
    low = high = start
    while excess(high) > 0:
        low, high, step = high, high + step, min(2 * step, 0.5)
    # Steps stay small: too little noise makes a large distribution.
    while excess(low) < 0:
        high, low, step = low, low - step, min(2 * step, 0.5)
    return root(excess, low, high, xtol=1e-7) if low < high else low


def check_budget(composition: Composition, epsilon: float) -> None:
    """Refuse a composition that exceeds the budget ε."""
    if not composition.epsilon <= epsilon * (1 + TOLERANCE):
        raise BudgetExceeded(
            f"the executed releases cost ε = {composition.epsilon:.6g} at δ = "
            f"{composition.delta:.3g}, more than the budget ε = {epsilon:g}; nothing is released"
        )


def exact(events: Sequence[Event], delta: float) -> float | None:
    """ε without a privacy loss distribution, an independent check; None where there is none.

    By summation for counts with discrete Gaussian noise and selections, by the closed form for
    Gaussians of which every record is a part. Sampling has neither.
    """
    if not events:
        return 0.0
    if all(isinstance(event, (DiscreteGaussianEvent, SelectionEvent)) for event in events):
        changes: Counter = Counter()
        selections = [event.epsilon for event in events if isinstance(event, SelectionEvent)]
        for event in events:
            if isinstance(event, DiscreteGaussianEvent):
                changes[event.scale] += event.counts
        return epsilon_of(changes, delta, selections)
    if all(getattr(event, "sampling_probability", 0) == 1 for event in events):
        squares = (event.steps / event.noise_multiplier**2 for event in events)
        return epsilon_of_mu(math.sqrt(math.fsum(squares)), delta)
    return None
