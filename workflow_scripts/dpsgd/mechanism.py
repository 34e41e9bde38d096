"""DP-SGD's mechanism: sampler, clipping, noise and privacy cost from one object.

In each of T steps a Poisson sample of the records is drawn, every record's gradient is clipped to
L2 norm C, the gradients are summed and Gaussian noise of standard deviation σC is added (Abadi et
al., arXiv 1607.00133, algorithm 1). q, T, σ, C and N are public: a record that is zeroed out, or is
not there, changes nothing but its own term of the sums.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from workflow_scripts.privacy.events import SampledGaussianEvent
from workflow_scripts.privacy.noise import NoiseKey


@dataclass(frozen=True)
class DpSgd:
    """What is executed, and so what it costs.

    Attributes
    ----------
    sampling_probability : float
        q: each record takes part in a step with this probability, on its own.
    steps : int
        T.
    noise_multiplier : float
        σ, in units of C.
    clipping_norm : float
        C: no record moves a step's sum by more, in L2.
    train_size : int
        N, declared and public. Sums are divided by qN, whatever a sample's size.
    """

    sampling_probability: float
    steps: int
    noise_multiplier: float
    clipping_norm: float
    train_size: int

    def __post_init__(self):
        if not 0 < self.sampling_probability <= 1:
            raise ValueError(f"sampling_probability: found {self.sampling_probability}")
        for name in ("steps", "noise_multiplier", "clipping_norm", "train_size"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, found {value}")

    def event(self, executed: int) -> SampledGaussianEvent:
        """What `executed` steps cost."""
        return SampledGaussianEvent(
            self.noise_multiplier, self.clipping_norm, self.sampling_probability, executed
        )

    def sample(self, key: NoiseKey, step: int, records: int) -> np.ndarray:
        """The records of a step: int64 [n], in order. SENSITIVE, as is their number."""
        drawn = key.rng("batch", step).random(records)
        return np.flatnonzero(drawn < self.sampling_probability)

    def clip(self, norms: torch.Tensor) -> torch.Tensor:
        """The factors that bring gradients of these L2 norms to norm C at most."""
        return (self.clipping_norm / norms).clamp(max=1.0)

    def release(
        self, sums: Mapping[str, torch.Tensor], key: NoiseKey, step: int
    ) -> dict[str, torch.Tensor]:
        """The noisy mean gradient of a step, from the sums of clipped gradients.

        Parameters
        ----------
        sums : mapping
            Parameter → float32 sum, in the parameters' order.
        """
        rng, scale = key.rng("noise", step), self.noise_multiplier * self.clipping_norm
        divisor = self.sampling_probability * self.train_size
        released = {}
        for name, total in sums.items():
            noise = torch.from_numpy(rng.normal(0.0, scale, tuple(total.shape)))
            released[name] = (total.double() + noise.to(total.device)).div(divisor).float()
        return released
