"""Shards take whole blocks: any number of them computes the same population."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.evolution.blocks import blocks_of, initialise, look_ahead, rows_of, vary
from workflow_scripts.generators.population import Population, concatenate


class Toy:
    """A generator whose images are its random numbers."""

    def random(self, labels, rng):
        images = rng.integers(0, 256, size=(len(labels), 2, 2, 1), dtype=np.uint8)
        return Population(images, np.asarray(labels), {"value": rng.random(len(labels))})

    def vary(self, population, degree, rng):
        step = rng.integers(0, int(degree["reach"]) + 1, size=population.images.shape)
        images = (population.images + step.astype(np.uint8)).astype(np.uint8)
        return Population(images, population.labels, population.state)


def encode(images):
    return images.reshape(len(images), 4).astype(np.float32)


LABELS = np.repeat([0, 1, 2], 9)
DEGREE = {"reach": 5}


def everything(shards: int, block_size: int = 4):
    generator, populations, varied, ahead = Toy(), [], [], []
    for shard in range(1, shards + 1):
        blocks = blocks_of(len(LABELS), block_size, f"{shard}-of-{shards}")
        populations.append(initialise(generator, LABELS, blocks, ["run"]))
    population = concatenate(populations)
    for shard in range(1, shards + 1):
        blocks = blocks_of(len(LABELS), block_size, f"{shard}-of-{shards}")
        varied.append(vary(generator, population, DEGREE, blocks, ["run", 1]))
        mine = population.take(rows_of(blocks))
        ahead.append(look_ahead(generator, encode, mine, DEGREE, 3, blocks, ["run", 1]))
    return population, concatenate(varied), np.concatenate(ahead)


@pytest.mark.parametrize("shards", [2, 3, 7, 12])
def test_the_number_of_shards_changes_nothing(shards):
    for one, many in zip(everything(1), everything(shards), strict=True):
        if isinstance(one, Population):
            assert np.array_equal(one.images, many.images)
            assert np.array_equal(one.labels, many.labels)
            assert np.array_equal(one.state["value"], many.state["value"])
        else:
            assert np.array_equal(one, many)


@given(st.integers(1, 200), st.integers(1, 50), st.integers(1, 20))
def test_shards_cover_every_row_once_and_in_order(size, block_size, shards):
    rows = []
    for shard in range(1, shards + 1):
        blocks = blocks_of(size, block_size, f"{shard}-of-{shards}")
        covered = [i for b in blocks for i in range(b.start, b.stop)]
        assert covered == list(range(size))[rows_of(blocks)]
        rows += covered
    assert rows == list(range(size))


def test_the_lookahead_is_the_mean_over_independent_variations():
    population = Toy().random(LABELS, np.random.default_rng(0))
    population = Population(population.images // 2, population.labels, population.state)
    blocks = blocks_of(len(LABELS), 100, "1-of-1")
    mean = look_ahead(Toy(), encode, population, DEGREE, 400, blocks, ["run"])
    steps = mean - encode(population.images)
    # A step is uniform on 0 … 5: mean 2.5, sd 1.71; 5 standard errors over 400 draws, fixed seed.
    assert np.abs(steps - 2.5).max() < 5 * 1.71 / np.sqrt(400)
    assert len(np.unique(steps)) > 10


def test_blocks_and_uses_share_no_randomness():
    population, varied, _ = everything(1)
    first, second = population.images[:4].ravel(), population.images[4:8].ravel()
    assert not np.array_equal(first, second)
    again = vary(Toy(), population, DEGREE, blocks_of(27, 4, "1-of-1"), ["run", 2])
    assert not np.array_equal(varied.images, again.images), "another iteration, another stream"
