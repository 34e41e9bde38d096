"""Votes against a brute-force oracle, and the sensitivity that they are charged with."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.evolution.votes import (
    VOTE_SENSITIVITY,
    count_votes,
    nearest,
    release_votes,
)
from workflow_scripts.privacy.gaussian import GaussianEvent
from workflow_scripts.privacy.noise import noise_rng


def scene(seed: int, private: int = 120, synthetic: int = 40, classes: int = 3):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(private, 8)).astype(np.float32),
        rng.integers(0, classes, private),
        rng.normal(size=(synthetic, 8)).astype(np.float32),
        np.sort(rng.integers(0, classes, synthetic)),
    )


def votes_by_loops(embeddings, labels, lookahead, candidate_labels):
    votes = [0] * len(lookahead)
    for x, label in zip(embeddings, labels, strict=True):
        same = [j for j, c in enumerate(candidate_labels) if c == label]
        if same:
            distances = [float(np.sum((x.astype(np.float64) - lookahead[j]) ** 2)) for j in same]
            votes[same[distances.index(min(distances))]] += 1
    return votes


@pytest.mark.parametrize("seed", range(5))
def test_votes_agree_with_loops(seed):
    data = scene(seed)
    assert count_votes(*data).tolist() == votes_by_loops(*data)


def test_everyone_votes_once_in_a_class_that_has_candidates():
    embeddings, labels, lookahead, candidate_labels = scene(0)
    votes = count_votes(embeddings, labels, lookahead, candidate_labels)
    for label in range(3):
        assert votes[candidate_labels == label].sum() == np.sum(labels == label)


def test_a_class_without_private_images_gets_no_votes_but_noise():
    embeddings, labels, lookahead, candidate_labels = scene(0)
    present = labels != 1
    arguments = embeddings[present], labels[present], lookahead, candidate_labels
    empty = candidate_labels == 1
    assert not count_votes(*arguments)[empty].any()
    noisy, _ = release_votes(*arguments, 2.0, noise_rng("seeded", "x"))
    assert np.all(noisy[empty] != 0)


def test_one_record_changes_the_released_vector_by_at_most_the_sensitivity():
    """Record and replay on 200 neighbours: zero-out, and insertion of any record."""
    rng = np.random.default_rng(1)
    largest = 0.0
    for trial in range(200):
        embeddings, labels, lookahead, candidate_labels = scene(trial, private=30, synthetic=15)
        base = count_votes(embeddings, labels, lookahead, candidate_labels)
        out = rng.integers(len(labels))
        kept = np.arange(len(labels)) != out
        without = count_votes(embeddings[kept], labels[kept], lookahead, candidate_labels)
        largest = max(largest, float(np.linalg.norm(base - without)))
    assert largest <= VOTE_SENSITIVITY
    assert largest > 0, "the neighbours must differ for this to mean anything"


def test_noise_and_event_come_together():
    data = scene(0)
    noisy, event = release_votes(*data, 2.5, noise_rng("seeded", "x"))
    assert event == GaussianEvent(2.5, 1.0) and noisy.dtype == np.float64
    noise = noisy - count_votes(*data)
    assert np.all(noise != 0) and np.allclose(noise, noise_rng("seeded", "x").normal(0, 2.5, 40))


@given(st.permutations(range(20)))
def test_the_order_of_the_private_images_does_not_matter(order):
    embeddings, labels, lookahead, candidate_labels = scene(3, private=20)
    shuffled = count_votes(embeddings[order], labels[order], lookahead, candidate_labels)
    assert np.array_equal(shuffled, count_votes(embeddings, labels, lookahead, candidate_labels))


def test_the_first_of_equally_near_candidates_wins():
    twins = np.zeros((5, 4), dtype=np.float32)
    assert nearest(twins, np.ones((3, 4), dtype=np.float32)).tolist() == [0, 0, 0]


def test_another_encoder_is_an_error_not_a_vote():
    embeddings, labels, lookahead, candidate_labels = scene(0)
    with pytest.raises(ValueError, match=r"8 dimensions.*7"):
        count_votes(embeddings, labels, lookahead[:, :7], candidate_labels)
