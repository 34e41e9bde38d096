"""Shards take whole blocks: any number of them computes the same population."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.evolution.blocks import (
    blocks_of,
    hand_over,
    initialise,
    look_ahead,
    rows_of,
    vary,
)
from workflow_scripts.generators.population import (
    Population,
    StoredPopulation,
    concatenate,
    save_population,
)


class Toy:
    """A generator whose images are its random numbers."""

    def random(self, labels, rng):
        images = rng.integers(0, 256, size=(len(labels), 2, 2, 1), dtype=np.uint8)
        return Population(images, np.asarray(labels), {"value": rng.random(len(labels))})

    def vary(self, population, degree, rng):
        step = rng.integers(0, int(degree["reach"]) + 1, size=population.images.shape)
        images = (population.images + step.astype(np.uint8)).astype(np.uint8)
        return Population(images, population.labels, population.state)


class Other(Toy):
    """Another generator, with state of its own, that can continue from any image."""

    def adopt(self, population, rng):
        state = {"adopted": rng.random(len(population))}
        return Population(population.images, population.labels, state)


def encode(images):
    return images.reshape(len(images), 4).astype(np.float32)


LABELS = np.repeat([0, 1, 2], 9)
DEGREE = {"reach": 5}
IMAGE = {"size": 2, "channels": 1}


class Evolution:
    """One iteration on a number of shards, with the files that it leaves."""

    def __init__(self, folder, shards, block_size=4, initial_fold=0, fold=1, keep=False):
        self.folder = folder
        self.shards = [
            blocks_of(len(LABELS), block_size, f"{i}-of-{shards}") for i in range(1, shards + 1)
        ]
        self.population = self.store(
            "initial",
            1 + initial_fold,
            lambda blocks: initialise(Toy(), LABELS, initial_fold, DEGREE, blocks, ["run"]),
        )
        parents = (
            self.population
            if not initial_fold
            else self.store(
                "parents", 1, lambda blocks: initialise(Toy(), LABELS, 0, {}, blocks, ["parents"])
            )
        )
        self.copies = fold + keep
        self.varied = self.store(
            "varied",
            self.copies,
            lambda blocks: vary(Toy(), parents, DEGREE, fold, keep, blocks, ["run", 1]),
        )
        self.adopted = self.store(
            "adopted",
            self.copies,
            lambda blocks: hand_over(
                vary(Toy(), parents, DEGREE, fold, keep, blocks, ["run", 1]),
                Other(),
                IMAGE,
                blocks,
                ["run", 1],
            ),
        )
        ahead = []
        for i, blocks in enumerate(self.shards):
            mine = StoredPopulation(folder / f"varied{i}")
            ahead += look_ahead(
                Toy(),
                encode,
                mine,
                self.copies,
                DEGREE,
                3,
                IMAGE,
                blocks,
                ["run", 1],
                rows_of(blocks, self.copies).start,
            )
        self.ahead = np.concatenate([part["embeddings"] for part in ahead])
        assert np.array_equal(
            np.concatenate([part["labels"] for part in ahead]), self.varied.labels
        )

    def store(self, name, copies, make) -> StoredPopulation:
        for i, blocks in enumerate(self.shards):
            rows = rows_of(blocks, copies)
            save_population(self.folder / f"{name}{i}", make(blocks), rows.stop - rows.start)
        return StoredPopulation(*(self.folder / f"{name}{i}" for i in range(len(self.shards))))


def whole(stored: StoredPopulation) -> dict:
    return stored.take(slice(None)).arrays


@pytest.mark.parametrize("options", [{}, {"initial_fold": 2, "fold": 2, "keep": True}])
@pytest.mark.parametrize("shards", [2, 3, 7, 12])
def test_the_number_of_shards_changes_nothing(tmp_path, shards, options):
    for folder in ("one", "many"):
        (tmp_path / folder).mkdir()
    one = Evolution(tmp_path / "one", 1, **options)
    many = Evolution(tmp_path / "many", shards, **options)
    for name in ("population", "varied", "adopted"):
        first, second = whole(getattr(one, name)), whole(getattr(many, name))
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[key], second[key]) for key in first), name
    assert np.array_equal(one.ahead, many.ahead)


@given(st.integers(1, 200), st.integers(1, 50), st.integers(1, 20), st.integers(1, 4))
def test_shards_cover_every_row_once_and_in_order(size, block_size, shards, copies):
    rows = []
    for shard in range(1, shards + 1):
        blocks = blocks_of(size, block_size, f"{shard}-of-{shards}")
        covered = [i for b in blocks for i in range(size * copies)[b.rows(copies)]]
        assert covered == list(range(size * copies))[rows_of(blocks, copies)]
        rows += covered
    assert rows == list(range(size * copies))


def test_folds_and_kept_parents_make_the_population_as_large_as_announced(tmp_path):
    made = Evolution(tmp_path, 2, block_size=27, initial_fold=3, fold=2, keep=True)
    assert len(made.population) == 4 * 27 and len(made.varied) == 3 * 27
    for stored in (made.population, made.varied):
        assert np.bincount(stored.labels).tolist() == [len(stored) // 3] * 3
    varied = made.varied.take(slice(None))
    values = varied.state["value"]
    # One block: two variations of every parent, then the parent; state is inherited.
    assert np.array_equal(values[:27], values[27:54]) and np.array_equal(values[:27], values[54:])
    steps = [(varied.images[i * 27 : i * 27 + 27] - varied.images[54:]).ravel() for i in (0, 1)]
    assert max(map(np.max, steps)) == 5 and not np.array_equal(*steps)


def test_a_handed_over_population_has_the_other_generators_state(tmp_path):
    made = Evolution(tmp_path, 3)
    assert list(made.adopted.take(slice(0, 1)).state) == ["adopted"]
    assert len(np.unique(made.adopted.take(slice(None)).state["adopted"])) == 27
    assert np.array_equal(whole(made.adopted)["images"], whole(made.varied)["images"])


def candidates(tmp_path, images=None) -> StoredPopulation:
    population = Toy().random(LABELS, np.random.default_rng(0))
    save_population(tmp_path / "x", [Population(population.images // 2, LABELS)], 27)
    return StoredPopulation(tmp_path / "x")


def test_the_lookahead_is_the_mean_over_independent_variations(tmp_path):
    population = candidates(tmp_path)
    blocks = blocks_of(len(LABELS), 100, "1-of-1")
    (mean,) = look_ahead(Toy(), encode, population, 1, DEGREE, 400, IMAGE, blocks, ["run"])
    steps = mean["embeddings"] - encode(population.take(slice(None)).images)
    # A step is uniform on 0 … 5: mean 2.5, sd 1.71; 5 standard errors over 400 draws, fixed seed.
    assert np.abs(steps - 2.5).max() < 5 * 1.71 / np.sqrt(400)
    assert len(np.unique(steps)) > 10


def test_without_lookahead_candidates_stand_for_themselves(tmp_path):
    population = candidates(tmp_path)
    blocks = blocks_of(len(LABELS), 5, "1-of-1")
    found = list(look_ahead(None, encode, population, 1, {}, 0, IMAGE, blocks, ["run"]))
    embeddings = np.concatenate([part["embeddings"] for part in found])
    assert np.array_equal(embeddings, encode(population.take(slice(None)).images))


def test_encoders_see_images_in_the_shape_of_the_sensitive_data(tmp_path):
    seen = []

    def watch(images):
        seen.append(images.shape[1:])
        return images.reshape(len(images), -1).astype(np.float32)

    blocks = blocks_of(len(LABELS), 100, "1-of-1")
    image = {"size": 4, "channels": 3}
    list(look_ahead(Toy(), watch, candidates(tmp_path), 1, DEGREE, 2, image, blocks, ["run"]))
    assert set(seen) == {(4, 4, 3)}


def test_blocks_and_uses_share_no_randomness(tmp_path):
    made = Evolution(tmp_path, 1)
    images = whole(made.population)["images"]
    assert not np.array_equal(images[:4], images[4:8])
    blocks = blocks_of(27, 4, "1-of-1")
    again = concatenate(list(vary(Toy(), made.population, DEGREE, 1, False, blocks, ["run", 2])))
    assert not np.array_equal(whole(made.varied)["images"], again.images), "another iteration"
