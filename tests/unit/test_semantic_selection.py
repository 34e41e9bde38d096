"""From noisy counts to public classes: disjoint, in order, and what is said about the choice."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.semantic.selection import (
    SelectionProblem,
    classes_per_label,
    largest_of_noise,
    relabelled_rows,
    select_classes,
    selection_summary,
    signal_to_noise,
)

NOISY = np.array([[5.0, 90.0, 80.0, -7.0, 1.0], [3.0, 99.0, 20.0, 60.0, 2.0]])


def noisy_counts(seed, rows, columns):
    return np.random.default_rng(seed).normal(0, 30, (rows, columns))


sizes = st.integers(1, 6).flatmap(
    lambda rows: st.integers(1, 4).flatmap(
        lambda each: st.tuples(st.just(rows), st.just(each), st.integers(rows * each, 30))
    )
)


# Choosing


@given(sizes, st.integers(0, 10**6))
def test_rows_take_in_order_their_largest_of_what_is_left(size, seed):
    rows, each, columns = size
    noisy = noisy_counts(seed, rows, columns)
    chosen = select_classes(noisy, each)
    assert chosen.dtype == np.int64 and chosen.shape == (rows, each)
    left = set(range(columns))
    for counts, picked in zip(noisy.tolist(), chosen.tolist(), strict=True):
        assert picked == sorted(left, key=lambda j: -counts[j])[:each]
        left -= set(picked)
    assert len(np.unique(chosen)) == rows * each


def test_a_class_that_is_taken_goes_to_nobody_else():
    assert select_classes(NOISY, 1).tolist() == [[1], [3]]
    assert select_classes(NOISY, 2).tolist() == [[1, 2], [3, 0]]


def test_the_first_of_equal_counts_wins():
    assert select_classes(np.zeros((2, 5)), 2).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("each", [0, -1, 3])
def test_more_classes_than_there_are_cannot_be_chosen(each):
    with pytest.raises(
        SelectionProblem, match=f"found {each} .* of 2 .*; allowed: 1 to 2, as .* 5"
    ):
        select_classes(NOISY, each)


@pytest.mark.parametrize(
    ("ratio", "public", "sensitive", "expected"),
    [
        (0.05, 1000, 10, 5),  # CIFAR-10 in PrivImage
        (0.01, 1000, 1, 10),  # CelebA
        (0.1, 1000, 100, 1),  # CIFAR-100 in DPImageBench
        (0.05, 1000, 100, 1),  # never none
        (0.5, 62, 10, 3),
        (0.01, 26, 10, 1),
    ],
)
def test_the_number_of_classes_is_dpimagebenchs(ratio, public, sensitive, expected):
    assert classes_per_label(ratio, public, sensitive) == expected


# What is said about it


@given(sizes, st.integers(0, 1000), st.integers(1, 5), st.floats(0.5, 500))
def test_signal_to_noise_by_hand(size, seed, k, sigma):
    rows, each, columns = size
    noisy = noisy_counts(seed, rows, columns)
    chosen = select_classes(noisy, each)
    before = noisy.copy()
    snr, margin = signal_to_noise(noisy, chosen, k, sigma)
    assert np.array_equal(noisy, before)
    for row, counts in enumerate(noisy.tolist()):
        others = [x for j, x in enumerate(counts) if j not in chosen[row]]
        for i, column in enumerate(chosen[row].tolist()):
            assert snr[row, i] == pytest.approx(counts[column] / (sigma * math.sqrt(k)))
            over = (counts[column] - max(others, default=-math.inf)) / (sigma * math.sqrt(k))
            assert margin[row, i] == pytest.approx(over)


def test_a_margin_is_negative_where_another_class_was_faster():
    snr, margin = signal_to_noise(NOISY, np.array([[1], [3]]), k=4, noise_multiplier=5.0)
    assert snr.tolist() == [[9.0], [6.0]]
    assert margin.ravel().tolist() == pytest.approx([1.0, -3.9])


def test_the_largest_of_noise_is_where_it_is_expected():
    draws = np.random.default_rng(0).normal(size=(20000, 1000))
    for counts in (10, 62, 1000):
        # The mean of 20,000 maxima has a standard error below 0.005.
        expected = draws[:, :counts].max(axis=1).mean()
        assert largest_of_noise(counts) == pytest.approx(expected, rel=0.02)


def test_the_summary_names_what_was_chosen_and_survives_json():
    chosen = select_classes(NOISY, 2)
    summary = selection_summary(NOISY, chosen, ["cat", "dog"], list("abcde"), 4, 5.0)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["noise_std"] == 10.0 and summary["noise_maximum"] == pytest.approx(
        11.8, rel=0.02
    )
    assert (summary["k"], summary["noise_multiplier"]) == (4, 5.0)
    assert summary["sensitive_classes"] == ["cat", "dog"]
    assert summary["public_classes"] == ["a", "b", "c", "d", "e"]
    assert summary["chosen"]["cat"] == [
        {"class": "b", "count": 90.0, "snr": 9.0, "margin": pytest.approx(8.5)},
        {"class": "c", "count": 80.0, "snr": 8.0, "margin": pytest.approx(7.5)},
    ]
    assert [choice["class"] for choice in summary["chosen"]["dog"]] == ["d", "a"]


def test_without_another_class_there_is_no_margin():
    noisy = np.array([[1.0, 2.0]])
    summary = selection_summary(noisy, select_classes(noisy, 2), ["x"], ["a", "b"], 1, 1.0)
    assert [choice["margin"] for choice in summary["chosen"]["x"]] == [None, None]
    json.dumps(summary, allow_nan=False)


# The images


@given(sizes, st.lists(st.integers(0, 29), max_size=60), st.integers(0, 1000))
def test_public_images_carry_the_label_of_the_class_that_chose_theirs(size, labels, seed):
    rows, each, columns = size
    chosen = select_classes(noisy_counts(seed, rows, columns), each)
    owner = {c: row for row, its in enumerate(chosen.tolist()) for c in its}
    expected = [(i, owner[c]) for i, c in enumerate(labels) if c in owner]
    found, relabelled = relabelled_rows(np.array(labels, dtype=np.int64), chosen)
    assert list(zip(found.tolist(), relabelled.tolist(), strict=True)) == expected
    assert found.dtype == relabelled.dtype == np.int64
