"""Samplers on a toy whose best denoiser, and whose way from noise to data, are known exactly."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from workflow_scripts.edm.sampling import Solver, noise_levels

# The data: independent normal numbers.
MEAN, STD = 0.3, 0.4
ROWS, PIXELS = 400, 100
SOLVERS = {
    "ddim": Solver("ddim"),
    "heun": Solver("heun"),
    "churn": Solver("churn", churn=10.0),
    "stochastic-ddim": Solver("stochastic-ddim"),
}


def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The posterior mean."""
    return (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)


def destination(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Where the deterministic equation ends: every number keeps its quantile."""
    return MEAN + (x - MEAN) * STD / (STD**2 + sigma**2) ** 0.5


def run(solver: Solver, steps: int, strength: float = 1.0, x=None, noise_seed: int = 1):
    levels = noise_levels(steps, 0.002, 80.0)[-round(strength * steps) - 1 :]
    draws = np.random.default_rng(noise_seed)
    if x is None:
        x = levels[0] * torch.from_numpy(np.random.default_rng(0).standard_normal((ROWS, PIXELS)))

    def fresh() -> torch.Tensor:
        return torch.from_numpy(draws.standard_normal((ROWS, PIXELS)))

    return x, solver.run(denoise, x, levels, steps, fresh)


def test_levels_fall_from_the_highest_to_the_lowest_and_then_to_nothing():
    levels = noise_levels(18, 0.002, 80.0)
    assert levels[0] == pytest.approx(80) and levels[17] == pytest.approx(0.002)
    assert levels[18] == 0 and len(levels) == 19
    # Equation 5 of the paper with ρ = 7.
    assert levels[9] == pytest.approx(
        (80 ** (1 / 7) + 9 / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    )
    assert all(high > low for high, low in pairwise(levels))
    assert noise_levels(1, 0.002, 80.0) == [pytest.approx(80), 0]


@pytest.mark.parametrize("name", SOLVERS)
def test_every_sampler_ends_in_the_distribution_of_the_data(name):
    # Errors shrink with the steps; 40,000 numbers have standard errors of 0.002 and 0.0014.
    _, found = run(SOLVERS[name], 800)
    assert found.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert found.std().item() == pytest.approx(STD, abs=0.012)


def test_deterministic_samplers_follow_the_exact_way_and_heun_is_more_accurate():
    errors = {}
    for name in ("ddim", "heun"):
        for steps in (20, 40):
            x, found = run(SOLVERS[name], steps)
            errors[name, steps] = (found - destination(x, 80.0)).abs().max().item()
    assert errors["heun", 20] < errors["ddim", 20] / 2
    assert errors["heun", 40] < errors["ddim", 40] / 5
    # First and second order; the last step, to no noise at all, is Euler's.
    assert 1.7 < errors["ddim", 20] / errors["ddim", 40] < 2.5
    assert 3 < errors["heun", 20] / errors["heun", 40] < 6


def test_the_deterministic_samplers_draw_no_noise():
    for name in SOLVERS:
        equal = torch.equal(*(run(SOLVERS[name], 5, noise_seed=seed)[1] for seed in (1, 2)))
        assert equal == (name in ("ddim", "heun"))


def test_without_churn_it_is_heun():
    expected = run(SOLVERS["heun"], 10)[1]
    for idle in (Solver("churn", 0.0), Solver("churn", 9.0, churn_levels=(81.0, 99.0))):
        assert torch.equal(run(idle, 10)[1], expected)


def test_churn_adds_noise_between_its_levels_and_no_more_than_allowed():
    asked = []

    def note(x, sigma):
        asked.append(sigma)
        return denoise(x, sigma)

    levels = noise_levels(10, 0.002, 80.0)
    x = torch.zeros(2, 3, dtype=torch.float64)
    for churn, factor in ((1.0, 1.1), (1e9, 2**0.5)):
        asked.clear()
        solver = Solver("churn", churn, churn_levels=(levels[6], levels[3]), churn_noise=0.5)
        solver.run(note, x, levels, 10, lambda: torch.ones_like(x))
        # Two evaluations a step; the last has one.
        expected = [level * factor if 3 <= i <= 6 else level for i, level in enumerate(levels[:10])]
        assert asked[::2] == pytest.approx(expected)
        assert asked[1::2] == pytest.approx(levels[1:10])


def test_added_noise_is_what_lifts_the_level():
    lifted = Solver("churn", churn=4.0, churn_noise=1.5)._churn(
        torch.zeros(1), 2.0, 10, lambda: torch.ones(1)
    )
    assert lifted[1] == pytest.approx(2.8)
    assert lifted[0].item() == pytest.approx(1.5 * (2.8**2 - 2**2) ** 0.5)


def test_the_stochastic_step_is_the_posterior_of_the_next_level():
    """Given an image and x, x' is normal with the moments of eq. 7 of arXiv 2006.11239."""
    rng = np.random.default_rng(0)
    sigma, following, n = 2.0, 1.2, 200_000
    low = following * rng.standard_normal(n)
    x = low + (sigma**2 - following**2) ** 0.5 * rng.standard_normal(n)
    # Among all with x near 1, around the image 0.
    near = np.abs(x - 1) < 0.05
    draws = torch.from_numpy(rng.standard_normal(n))
    stepped = Solver("stochastic-ddim").run(
        lambda x, _: torch.zeros_like(x),
        torch.ones_like(draws),
        (sigma, following),
        1,
        lambda: draws,
    )
    # 7,000 rows: standard errors of 0.012 and 0.008.
    assert stepped.mean().item() == pytest.approx(low[near].mean(), abs=0.05)
    assert stepped.std().item() == pytest.approx(low[near].std(), abs=0.04)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_part_of_the_steps_leads_from_its_noise_level_to_the_data(name):
    """What variations do: data of the distribution, noised, end in the distribution again."""
    steps, strength = 800, 0.3
    first = noise_levels(steps, 0.002, 80.0)[560]
    rng = np.random.default_rng(0)
    data = MEAN + STD * rng.standard_normal((ROWS, PIXELS))
    x = torch.from_numpy(data + first * rng.standard_normal(data.shape))
    _, found = run(SOLVERS[name], steps, strength, x)
    assert found.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert found.std().item() == pytest.approx(STD, abs=0.012)
    # Of what there was much is kept.
    assert np.corrcoef(found.numpy().ravel(), data.ravel())[0, 1] > 0.5
