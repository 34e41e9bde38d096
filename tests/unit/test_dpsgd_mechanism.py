"""Sampler, clipping and noise of DP-SGD, statistically: seeds are fixed, false alarms 0.1 %."""

import numpy as np
import pytest
import torch
from scipy import stats

from workflow_scripts.dpsgd.mechanism import DpSgd
from workflow_scripts.privacy.noise import NoiseKey

KEY = NoiseKey("5a" * 32)
Q, N, T = 0.25, 400, 600
MECHANISM = DpSgd(
    sampling_probability=Q, steps=T, noise_multiplier=3.0, clipping_norm=0.01, train_size=N
)


@pytest.fixture(scope="module")
def taken() -> np.ndarray:
    """bool [T, N]: which records were in which step."""
    masks = np.zeros((T, N), bool)
    for step in range(T):
        masks[step, MECHANISM.sample(KEY, step, N)] = True
    return masks


def test_every_record_is_taken_binomially_often(taken):
    counts = taken.sum(0)
    statistic = ((counts - T * Q) ** 2).sum() / (T * Q * (1 - Q))
    low, high = stats.chi2.ppf([0.0005, 0.9995], N)
    assert low < statistic < high


def test_batches_vary_in_size_as_poisson_samples_do(taken):
    sizes = taken.sum(1)
    variance = N * Q * (1 - Q)
    statistic = ((sizes - N * Q) ** 2).sum() / variance
    low, high = stats.chi2.ppf([0.0005, 0.9995], T)
    assert low < statistic < high
    # Batches of a shuffled epoch have one size.
    assert ((np.full(T, N * Q) - N * Q) ** 2).sum() / variance < low


def test_records_are_taken_independently(taken):
    correlation = np.corrcoef(taken.astype(float), rowvar=False)
    pairs = correlation[np.triu_indices(N, 1)]
    assert abs(pairs.mean()) < 3.3 / np.sqrt(len(pairs) * T)
    assert np.abs(pairs).max() < 6 / np.sqrt(T)


def test_a_step_is_sampled_the_same_again_and_others_otherwise():
    first = MECHANISM.sample(KEY, 7, N)
    assert np.array_equal(first, MECHANISM.sample(KEY, 7, N))
    assert not np.array_equal(first, MECHANISM.sample(KEY, 8, N))
    assert not np.array_equal(first, MECHANISM.sample(NoiseKey("5b" * 32), 7, N))


def test_a_record_less_changes_no_other_record_and_no_divisor():
    for step in range(20):
        whole = MECHANISM.sample(KEY, step, N)
        assert np.array_equal(whole[whole < N - 1], MECHANISM.sample(KEY, step, N - 1))
    sums = {"w": torch.ones(3)}
    released = MECHANISM.release(sums, KEY, 0)["w"]
    moved = MECHANISM.release({"w": torch.ones(3) * 2}, KEY, 0)["w"]
    assert torch.allclose((moved - released) * Q * N, torch.ones(3), atol=1e-4)


def test_the_noise_has_its_standard_deviation():
    n = 200_000
    released = MECHANISM.release({"w": torch.zeros(n)}, KEY, 0)["w"].double().numpy()
    scaled = released * Q * N / (MECHANISM.noise_multiplier * MECHANISM.clipping_norm)
    low, high = stats.chi2.ppf([0.0005, 0.9995], n)
    assert low < (scaled**2).sum() < high
    assert not low < ((0.98 * scaled) ** 2).sum() < high, "the test would not see 2 % too little"
    assert stats.kstest(scaled[:20_000], "norm").pvalue > 0.001


def test_no_two_steps_parameters_or_keys_share_noise():
    zeros = {"a": torch.zeros(5000), "b": torch.zeros(5000)}
    draws = [
        noise
        for key in (KEY, NoiseKey("5b" * 32))
        for step in range(3)
        for noise in MECHANISM.release(zeros, key, step).values()
    ]
    correlation = np.corrcoef(torch.stack(draws).numpy()) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5 / np.sqrt(5000)
    again = MECHANISM.release(zeros, KEY, 0)
    assert torch.equal(again["a"], draws[0]), "a step that is run again draws the same noise"


def test_clipping_leaves_small_gradients_and_shortens_long_ones():
    norms = torch.tensor([0.0, 0.001, 0.01, 1.0, 1e4, float("inf")])
    factors = MECHANISM.clip(norms)
    assert torch.equal(factors[:3], torch.ones(3))
    assert torch.all(factors[3:5] * norms[3:5] <= 0.01 * (1 + 1e-6))
    assert factors[5] == 0


def test_the_event_is_what_is_executed():
    event = MECHANISM.event(executed=17)
    assert (event.noise_multiplier, event.sensitivity) == (3.0, 0.01)
    assert (event.sampling_probability, event.steps) == (Q, 17)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sampling_probability": 0},
        {"sampling_probability": 1.1},
        {"noise_multiplier": 0},
        {"noise_multiplier": float("nan")},
        {"clipping_norm": float("inf")},
        {"steps": 0},
    ],
)
def test_a_mechanism_that_protects_nobody_is_refused(wrong):
    good = {
        "sampling_probability": Q,
        "steps": T,
        "noise_multiplier": 1.0,
        "clipping_norm": 1.0,
        "train_size": N,
    }
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DpSgd(**{**good, **wrong})


def test_keys_from_the_operating_system_differ_and_seeded_ones_do_not():
    assert NoiseKey.draw("os", "run") != NoiseKey.draw("os", "run")
    assert NoiseKey.draw("seeded", "run") == NoiseKey.draw("seeded", "run")
    assert NoiseKey.draw("seeded", "run") != NoiseKey.draw("seeded", "another run")
