"""Noisy class counts: what they cost, and the sizes that follow from them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.evolution.class_counts import release_class_counts, sizes_of
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import DiscreteGaussianEvent
from workflow_scripts.privacy.noise import noise_of

LABELS = np.array([0, 0, 0, 2, 2])


def test_counts_carry_noise_on_every_class_and_are_charged():
    mechanism = DiscreteGaussianMechanism.of(300.0)
    noisy, event = release_class_counts(LABELS, 4, mechanism, noise_of("seeded", "x"))
    assert event == DiscreteGaussianEvent(300.0, 1)
    clean = np.array([3, 0, 2, 0])
    assert np.array_equal(noisy, noise_of("seeded", "x").discrete_gaussian(clean, 300.0))
    assert np.all(noisy != clean), "empty classes have noise too"


def test_one_record_moves_the_counts_by_one():
    def counts(labels):
        mechanism = DiscreteGaussianMechanism.of(1.0)
        return release_class_counts(labels, 4, mechanism, noise_of("seeded", "x"))[0]

    for out in range(len(LABELS)):
        moved = counts(LABELS) - counts(np.delete(LABELS, out))
        assert np.isclose(np.linalg.norm(moved), 1.0)


@given(st.lists(st.floats(-50, 500), min_size=1, max_size=12), st.integers(12, 1000))
def test_sizes_add_up_and_no_class_is_lost(noisy, total):
    sizes = sizes_of(np.array(noisy), total)
    assert sum(sizes) == total and min(sizes) >= 1 and len(sizes) == len(noisy)


def test_sizes_are_in_proportion():
    assert sizes_of(np.array([300.0, 100.0, -20.0]), 403) == (301, 101, 1)
    assert sizes_of(np.array([-3.0, -1.0]), 10) == (5, 5)
