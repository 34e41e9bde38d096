"""What releases cost: the events that mechanisms state, ledgers hold and the accountant composes.

An event is built by the mechanism that it describes, from what was executed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DiscreteGaussianEvent:
    """One release of integer counts with discrete Gaussian noise on each.

    Attributes
    ----------
    scale : float
        σ of the discrete Gaussian, P(x) ∝ exp(−x² / 2σ²), as it was handed to the sampler.
    counts : int
        k: how many counts one record changes, each by 1, under zero-out.
    """

    scale: float
    counts: int
    type: Literal["discrete-gaussian"] = "discrete-gaussian"

    @property
    def sensitivity(self) -> float:
        """√k: the L2 distance that one record can move the counts, under zero-out."""
        return math.sqrt(self.counts)

    @property
    def noise_multiplier(self) -> float:
        """The scale of the noise divided by the sensitivity."""
        return self.scale / self.sensitivity


@dataclass(frozen=True)
class SampledGaussianEvent:
    """`steps` releases with Gaussian noise, each on a Poisson sample of the records.

    Attributes
    ----------
    noise_multiplier : float
        Standard deviation of the noise divided by the sensitivity.
    sensitivity : float
        L2 distance that one record can move a released vector, under zero-out.
    sampling_probability : float
        q: every record takes part in a release with this probability, on its own.
    steps : int
        T: how many releases.
    """

    noise_multiplier: float
    sensitivity: float
    sampling_probability: float
    steps: int
    type: Literal["poisson-sampled-gaussian"] = "poisson-sampled-gaussian"


@dataclass(frozen=True)
class SelectionEvent:
    """The index of the largest of some scores, by report-noisy-max: (ε, 0)-DP.

    Attributes
    ----------
    epsilon : float
        Of the selection, under zero-out.
    sensitivity : float
        By how much one record can change each score; all in the same direction.
    candidates : int
        How many scores there were.
    """

    epsilon: float
    sensitivity: float
    candidates: int
    type: Literal["report-noisy-max"] = "report-noisy-max"


Event = DiscreteGaussianEvent | SampledGaussianEvent | SelectionEvent
KINDS = (DiscreteGaussianEvent, SampledGaussianEvent, SelectionEvent)


def event_of(fields: Mapping) -> Event:
    """The event that `asdict` made these fields of; a kind that is unknown is a `ValueError`."""
    for kind in KINDS:
        if fields.get("type") == kind.type:
            return kind(**fields)
    allowed = ", ".join(kind.type for kind in KINDS)
    raise ValueError(f"event {dict(fields)}: allowed: types {allowed}")


def repeated(release: Mapping, noise_multiplier: float, iterations: int) -> list[Event]:
    """A run's T releases of one noise multiplier σ, which `calibrate` has to find.

    Parameters
    ----------
    release : mapping
        `type`, and `counts` of integer counts, or `sensitivity` and `sampling_probability`.
    noise_multiplier : float
    iterations : int
        T
    """
    if release["type"] == DiscreteGaussianEvent.type:
        counts = release["counts"]
        return [DiscreteGaussianEvent(noise_multiplier * math.sqrt(counts), counts)] * iterations
    sensitivity, probability = release["sensitivity"], release["sampling_probability"]
    return [SampledGaussianEvent(noise_multiplier, sensitivity, probability, iterations)]
