"""Splitting and holding out labelled images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.reading import load
from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import (
    DatasetProblem,
    LabelledImages,
    hold_out,
    split_stratified,
)

# Splits


def numbered(labels) -> LabelledImages:
    """Images that hold their row's number."""
    n = len(labels)
    images = np.arange(n, dtype=np.uint32).view(np.uint8).reshape(n, 2, 2, 1)
    return LabelledImages(images, np.asarray(labels, dtype=np.int64))


def rows(data: LabelledImages) -> list[int]:
    return data.images.reshape(len(data), 4).view(np.uint32).ravel().tolist()


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=5),
    fraction=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**31),
)
def test_a_split_is_whole_disjoint_ordered_and_in_proportion(counts, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    data = numbered(labels)
    try:
        train, test = split_stratified(data, fraction, seed)
    except DatasetProblem:
        # Only where one side has fewer rows than there are classes.
        assert min(np.ceil(fraction * len(data)), np.floor((1 - fraction) * len(data))) < len(
            counts
        )
        return
    assert sorted(rows(train) + rows(test)) == list(range(len(data)))
    for part in (train, test):
        assert rows(part) == sorted(rows(part))
        assert np.array_equal(part.labels, labels[rows(part)])
    assert len(test) == np.ceil(fraction * len(data))
    share = len(test) / len(data)
    assert np.all(
        np.abs(np.bincount(test.labels, minlength=len(counts)) - share * np.array(counts)) <= 1
    )


def test_a_split_is_the_same_when_called_again_and_another_for_another_seed():
    data = numbered(np.arange(200) % 4)
    first = split_stratified(data, 0.25, 0)[1]
    np.random.seed(1)
    np.random.random(17)
    assert rows(split_stratified(data, 0.25, 0)[1]) == rows(first)
    assert rows(split_stratified(data, 0.25, 1)[1]) != rows(first)


def test_the_split_of_the_digits_is_what_the_catalogue_declares():
    data = load({"kind": "sklearn-digits"}, Form(8, 1), classes=tuple("0123456789"))
    train, test = split_stratified(data, 0.2, 0)
    assert (len(train), len(test)) == (1437, 360)
    shares = np.bincount(test.labels) / np.bincount(data.labels)
    assert np.abs(shares - 0.2).max() < 1 / 150


def test_a_class_with_one_image_cannot_be_split():
    with pytest.raises(DatasetProblem, match="split is impossible"):
        split_stratified(numbered([0, 0, 0, 1]), 0.5, 0)


# What is held out


@settings(max_examples=50, deadline=None)
@given(n=st.integers(2, 300), share=st.floats(0, 0.99), seed=st.integers(0, 2**31))
def test_what_is_held_out_is_gone_and_the_rest_keeps_its_order(n, share, seed):
    size = max(1, min(n - 1, int(share * n)))
    data = numbered(np.arange(n) % 3)
    kept = hold_out(data, size, seed)
    assert len(kept) == n - size and rows(kept) == sorted(set(rows(kept)))
    assert set(rows(kept)) <= set(range(n))
    assert np.array_equal(kept.labels, np.array(rows(kept)) % 3)
    # By the number of images and the seed alone.
    assert rows(hold_out(numbered(np.zeros(n)), size, seed)) == rows(kept)


def test_every_image_is_as_likely_to_be_held_out():
    n, size, seeds = 40, 10, 2000
    kept = np.zeros(n)
    for seed in range(seeds):
        kept[rows(hold_out(numbered(np.zeros(n)), size, seed))] += 1
    # Each count is binomial: p = 3/4, standard deviation 19.4. A bound of 4.5 of them is passed by
    # chance in 40 · 7e-6 of all choices of seeds.
    assert np.abs(kept - seeds * (n - size) / n).max() < 4.5 * np.sqrt(seeds * 0.75 * 0.25)
    assert rows(hold_out(numbered(np.zeros(n)), size, 0)) != rows(
        hold_out(numbered(np.zeros(n)), size, 1)
    )


@pytest.mark.parametrize("size", [5, 6])
def test_something_must_be_left(size):
    with pytest.raises(DatasetProblem, match=f"hold_out.size: found {size}; .* the 5 images"):
        hold_out(numbered([0] * 5), size, 0)
