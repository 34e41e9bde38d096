"""The Gaussian mechanism: one object yields both the noise and the event that accounts for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class GaussianEvent:
    """What one release costs: noise of `noise_multiplier` × `sensitivity` on every coordinate.

    Attributes
    ----------
    noise_multiplier : float
        Standard deviation of the noise divided by the L2 sensitivity.
    sensitivity : float
        L2 distance that one record can move the released vector, under zero-out.
    """

    noise_multiplier: float
    sensitivity: float
    type: Literal["gaussian"] = "gaussian"


@dataclass(frozen=True)
class SampledGaussianEvent:
    """What `steps` Gaussian releases cost, each on a Poisson sample of the records.

    Attributes
    ----------
    noise_multiplier, sensitivity : float
        Of each release, as in `GaussianEvent`.
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


Event = GaussianEvent | SampledGaussianEvent


def event_of(fields: Mapping) -> Event:
    """The event that `asdict` made these fields of; a kind that is unknown is a `ValueError`."""
    for kind in (GaussianEvent, SampledGaussianEvent):
        if fields.get("type") == kind.type:
            return kind(**fields)
    raise ValueError(f"event {dict(fields)}: allowed: types gaussian, poisson-sampled-gaussian")


@dataclass(frozen=True)
class GaussianMechanism:
    """Adds Gaussian noise to a vector of known L2 sensitivity.

    Parameters
    ----------
    noise_multiplier : float
        σ for sensitivity 1; positive.
    sensitivity : float
        The query's L2 sensitivity; positive.
    """

    noise_multiplier: float
    sensitivity: float = 1.0

    def __post_init__(self):
        for name in ("noise_multiplier", "sensitivity"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, found {value}")

    def release(
        self, values: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, GaussianEvent]:
        """The noisy values (float64, same shape) and what they cost, together.

        The noise is floating point: it does not protect against attacks on the low bits of
        floating-point samplers (Mironov, CCS 2012).
        """
        scale = self.noise_multiplier * self.sensitivity
        noisy = np.asarray(values, dtype=np.float64) + rng.normal(0.0, scale, size=np.shape(values))
        return noisy, GaussianEvent(self.noise_multiplier, self.sensitivity)
