"""From noise to images: samplers of denoisers (arXiv 2206.00364).

They follow dx/dσ = (x − D(x; σ))/σ down a row of noise levels, the last of which is 0. With fresh
noise they follow the stochastic equation of the same distributions.

| sampler | step | networks run in n steps |
|---|---|---|
| `ddim` | Euler's; DDIM (arXiv 2010.02502) in these terms | n |
| `heun` | Heun's, of second order (algorithm 1) | 2n − 1 |
| `churn` | Heun's after some noise is added (algorithm 2) | 2n − 1 |
| `stochastic-ddim` | DDIM with η = 1: the posterior of DDPM | n |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch

RHO = 7.0
# At most this much more noise in a step (algorithm 2).
MOST_CHURN = 2**0.5 - 1

Denoise = Callable[[torch.Tensor, float], torch.Tensor]
Fresh = Callable[[], torch.Tensor]


def noise_levels(steps: int, lowest: float, highest: float, rho: float = RHO) -> list[float]:
    """σ before every step and 0 after the last, evenly spaced in σ^(1/ρ) (eq. 5)."""
    low, high = lowest ** (1 / rho), highest ** (1 / rho)
    places = [step / max(1, steps - 1) for step in range(steps)]
    return [(high + place * (low - high)) ** rho for place in places] + [0.0]


@dataclass(frozen=True)
class Solver:
    """One of the samplers.

    Attributes
    ----------
    sampler : str
    churn : float
        S_churn: how much noise `churn` adds and removes again, over all steps from pure noise.
    churn_levels : (float, float)
        S_min and S_max: between which noise levels.
    churn_noise : float
        S_noise: the standard deviation of what is added, as a share of what is meant to be.
    """

    sampler: Literal["ddim", "heun", "churn", "stochastic-ddim"] = "ddim"
    churn: float = 0.0
    churn_levels: tuple[float, float] = (0.0, 80.0)
    churn_noise: float = 1.0

    def run(
        self,
        denoise: Denoise,
        x: torch.Tensor,
        levels: Sequence[float],
        steps: int,
        fresh: Fresh,
    ) -> torch.Tensor:
        """Images float [N, C, H, W] from x of that shape, whose noise has the first level.

        Parameters
        ----------
        denoise : function of x and a noise level
            The expected image.
        levels : sequence of float
            The last ones of `noise_levels`.
        steps : int
            How many there would be from pure noise.
        fresh : function without arguments
            Standard normal numbers in the shape of x.
        """
        for sigma, following in pairwise(levels):
            if self.sampler == "stochastic-ddim":
                x = _ancestral(denoise, x, sigma, following, fresh)
                continue
            if self.sampler == "churn":
                x, sigma = self._churn(x, sigma, steps, fresh)
            slope = (x - denoise(x, sigma)) / sigma
            moved = x + (following - sigma) * slope
            if self.sampler != "ddim" and following > 0:
                slope = (slope + (moved - denoise(moved, following)) / following) / 2
                moved = x + (following - sigma) * slope
            x = moved
        return x

    def _churn(
        self, x: torch.Tensor, sigma: float, steps: int, fresh: Fresh
    ) -> tuple[torch.Tensor, float]:
        low, high = self.churn_levels
        if self.churn == 0 or not low <= sigma <= high:
            return x, sigma
        higher = sigma * (1 + min(self.churn / steps, MOST_CHURN))
        return x + self.churn_noise * (higher**2 - sigma**2) ** 0.5 * fresh(), higher


def _ancestral(
    denoise: Denoise, x: torch.Tensor, sigma: float, following: float, fresh: Fresh
) -> torch.Tensor:
    """A draw from the posterior of the next level, given x and the denoised image."""
    kept = (following / sigma) ** 2
    mean = denoise(x, sigma).lerp(x, kept)
    return mean + following * (1 - kept) ** 0.5 * fresh() if following > 0 else mean
