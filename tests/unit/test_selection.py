"""Thresholding and selection against the algorithm as the paper describes it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from workflow_scripts.evolution.selection import (
    OtherCandidates,
    ballots,
    check_candidates,
    clip_votes,
    select_parents,
    threshold_in_votes,
)

LABELS = np.repeat([0, 1], [4, 3])
VOTES = np.array([5.0, -1.0, 2.5, 2.0, 9.0, 3.0, -4.0])
PER_CLASS = ballots(LABELS, (4, 3))


def test_clipping_subtracts_the_threshold():
    assert clip_votes(VOTES[:4], 2.0).tolist() == [3.0, 0.0, 0.5, 0.0]


def test_a_class_in_which_nothing_passes_falls_back_to_zero_then_to_uniform():
    assert clip_votes(VOTES[:4], 100.0).tolist() == [5.0, 0.0, 2.5, 2.0]
    assert clip_votes(np.array([-1.0, -2.0, 0.0]), 2.0).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("threshold", "votes"), [(3, 3.0), (1.5, 1.5), ({"sigmas": 2}, 5.0)])
def test_a_threshold_is_a_number_or_a_multiple_of_sigma(threshold, votes):
    assert threshold_in_votes(threshold, 2.5) == votes


def test_sampling_is_proportional_to_clipped_votes():
    """χ² against the exact distribution, fixed seed, 99.9 %."""
    rng = np.random.default_rng(0)
    draws = [select_parents(VOTES, PER_CLASS, 1.0, "sample", rng) for _ in range(5000)]
    counts = np.bincount(np.concatenate(draws), minlength=7)
    first, second = counts[:4], counts[4:]
    assert first.sum() == 4 * 5000 and second.sum() == 3 * 5000
    weights = np.array([4.0, 0, 1.5, 1.0])
    assert first[1] == 0 and second[2] == 0
    keep = weights > 0
    assert chisquare(first[keep], first.sum() * weights[keep] / weights.sum()).pvalue > 0.001
    assert chisquare(second[:2], second.sum() * np.array([8, 2]) / 10).pvalue > 0.001


def test_ranking_takes_what_passes_in_order_of_votes_and_starts_over():
    rng = np.random.default_rng(0)
    parents = select_parents(VOTES, PER_CLASS, 2.2, "rank", rng)
    # Class 0: 5.0 and 2.5 pass, each twice; class 1: 9.0, 3.0, then 9.0 again.
    assert parents.tolist() == [0, 0, 2, 2, 4, 4, 5]


def test_a_joint_histogram_lets_all_candidates_compete():
    (ballot,) = ballots(LABELS, 3)
    assert ballot[0].tolist() == list(range(7)) and ballot[1] == 3
    parents = select_parents(VOTES, [ballot], 0.0, "rank", np.random.default_rng(0))
    assert parents.tolist() == [0, 4, 5], "9, 5 and 3 votes"


@given(
    st.lists(st.floats(-20, 20), min_size=12, max_size=12),
    st.floats(0, 10),
    st.sampled_from(["sample", "rank"]),
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
)
def test_every_class_gets_its_places_and_its_own_candidates(votes, threshold, mode, sizes):
    labels = np.tile([0, 1, 2], 4)
    rng = np.random.default_rng(0)
    parents = select_parents(np.array(votes), ballots(labels, sizes), threshold, mode, rng)
    assert labels[parents].tolist() == np.repeat([0, 1, 2], sizes).tolist()


def test_selection_depends_on_noisy_votes_and_public_randomness_only():
    def again(seed):
        rng = np.random.default_rng(seed)
        return select_parents(VOTES, PER_CLASS, 1.0, "sample", rng).tolist()

    assert again(1) == again(1)
    assert len({tuple(again(seed)) for seed in range(20)}) > 1


def test_candidates_may_differ_from_those_of_the_votes_by_rounding_alone():
    voted_on = np.array([10, 200, 30], np.float32)
    check_candidates(voted_on, voted_on + np.float32(0.4))
    with pytest.raises(OtherCandidates, match=r"1 of 3 .* number 1: .* 203.0, expected 200.0"):
        check_candidates(voted_on, np.array([10, 203, 30], np.float32))
    with pytest.raises(OtherCandidates, match="found 2 candidates; the votes are on 3"):
        check_candidates(voted_on, voted_on[:2])
