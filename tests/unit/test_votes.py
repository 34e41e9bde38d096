"""Votes against a brute-force oracle, and the sensitivity that they are charged with."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.evolution.votes import ExactIndex, count_votes, release_votes
from workflow_scripts.files import write_arrays
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import DiscreteGaussianEvent
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.shards import Shards


class Scene:
    """Private and synthetic embeddings, in memory and as shards on disk."""

    def __init__(self, folder, seed=0, private=120, synthetic=40, classes=3):
        rng = np.random.default_rng(seed)
        self.folder, self.written = folder, itertools.count()
        self.private = {
            "embeddings": rng.normal(size=(private, 8)).astype(np.float32),
            "labels": rng.integers(0, classes, private),
        }
        self.candidates = {
            "embeddings": rng.normal(size=(synthetic, 8)).astype(np.float32),
            "labels": rng.permutation(np.arange(synthetic) % classes),
        }

    def shards(self, arrays, parts=1):
        paths = [self.folder / f"{next(self.written)}" for _ in range(parts)]
        n = len(arrays["labels"])
        for i, path in enumerate(paths):
            rows = slice(i * n // parts, (i + 1) * n // parts)
            write_arrays(path, {name: array[rows] for name, array in arrays.items()})
        return Shards(*paths)

    def both(self, keep=None, parts=1):
        private = self.private
        if keep is not None:
            private = {name: array[keep] for name, array in private.items()}
        return self.shards(private, parts), self.shards(self.candidates, parts)


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def distance(x, z, metric):
    x, z = x.astype(np.float64), z.astype(np.float64)
    if metric == "l2":
        return float(np.sum((x - z) ** 2))
    if metric == "inner-product":
        return -float(x @ z)
    return -float(x @ z) / math.sqrt(float(x @ x) * float(z @ z))


def votes_by_loops(scene, k=1, metric="l2", joint=False):
    votes = [0] * len(scene.candidates["labels"])
    for x, label in zip(scene.private["embeddings"], scene.private["labels"], strict=True):
        same = [j for j, c in enumerate(scene.candidates["labels"]) if joint or c == label]
        ranked = sorted(same, key=lambda j: distance(x, scene.candidates["embeddings"][j], metric))
        for j in ranked[:k]:
            votes[j] += 1
    return votes


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("metric", ["l2", "cosine", "inner-product"])
@pytest.mark.parametrize("k", [1, 3])
def test_votes_agree_with_loops(tmp_path, k, metric, joint):
    for seed in range(3):
        scene = Scene(tmp_path / f"{seed}", seed)
        found = count_votes(*scene.both(), k, metric, joint)
        assert found.tolist() == votes_by_loops(scene, k, metric, joint)


@pytest.mark.parametrize("parts", [2, 5])
def test_the_number_of_shards_does_not_matter(scene, parts):
    one, many = scene.both(), scene.both(parts=parts)
    assert np.array_equal(count_votes(*one, 2), count_votes(*many, 2))
    assert [s.digest() for s in one] == [s.digest() for s in many]


def test_everyone_votes_once_in_a_class_that_has_candidates(scene):
    votes = count_votes(*scene.both())
    for label in range(3):
        mine = scene.candidates["labels"] == label
        assert votes[mine].sum() == np.sum(scene.private["labels"] == label)


def test_a_class_without_private_images_gets_no_votes_but_noise(scene):
    data = scene.both(keep=scene.private["labels"] != 1)
    empty = scene.candidates["labels"] == 1
    assert not count_votes(*data)[empty].any()
    mechanism = DiscreteGaussianMechanism.of(200.0)
    noisy, _ = release_votes(*data, mechanism, noise_of("seeded", "x"))
    assert np.all(noisy[empty] != 0)


def test_without_any_private_image_there_is_nothing_but_noise(scene):
    data = scene.both(keep=slice(0, 0))
    assert not count_votes(*data).any()


@pytest.mark.parametrize(("k", "joint"), [(1, False), (1, True), (4, False), (4, True)])
def test_one_record_changes_the_released_vector_by_at_most_the_sensitivity(tmp_path, k, joint):
    """Record and replay on 200 neighbours: zero-out of any record."""
    largest, trials = 0.0, 200
    scene = Scene(tmp_path, private=trials, synthetic=15)
    votes = count_votes(*scene.both(), k, joint=joint)
    for out in range(trials):
        keep = np.arange(trials) != out
        without = count_votes(*scene.both(keep), k, joint=joint)
        largest = max(largest, float(np.linalg.norm(votes - without)))
    mechanism = DiscreteGaussianMechanism.of(1.0, k)
    _, event = release_votes(*scene.both(), mechanism, noise_of("seeded", "x"), joint=joint)
    assert largest == pytest.approx(event.sensitivity), "the bound holds, and is reached"


@pytest.mark.parametrize("k", [1, 4])
def test_noise_and_event_come_together(scene, k):
    mechanism = DiscreteGaussianMechanism.of(2.5, k)
    noisy, event = release_votes(*scene.both(), mechanism, noise_of("seeded", "x"))
    # Integer counts are released, with noise σ√k.
    assert event == DiscreteGaussianEvent(2.5 * math.sqrt(k), k) and noisy.dtype == np.int64
    expected = noise_of("seeded", "x").discrete_gaussian(
        count_votes(*scene.both(), k), 2.5 * math.sqrt(k)
    )
    assert np.array_equal(noisy, expected)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000))
def test_the_order_of_the_private_images_does_not_matter(seed, tmp_path_factory):
    scene = Scene(tmp_path_factory.mktemp("scene"), 3, private=20)
    order = np.random.default_rng(seed).permutation(20)
    assert np.array_equal(count_votes(*scene.both(order)), count_votes(*scene.both()))


def test_fewer_candidates_than_neighbours_get_a_vote_each(tmp_path):
    scene = Scene(tmp_path, synthetic=6)
    votes = count_votes(*scene.both(), neighbours=5)
    voters = np.bincount(scene.private["labels"], minlength=3)
    assert votes.tolist() == voters[scene.candidates["labels"]].tolist()


def test_the_first_of_equally_near_candidates_wins():
    index = ExactIndex(4)
    index.add(np.zeros((5, 4), dtype=np.float32))
    assert index.nearest(np.ones((3, 4), dtype=np.float32)).tolist() == [[0], [0], [0]]


def test_a_zero_embedding_has_no_direction_and_is_no_error():
    index = ExactIndex(2, "cosine")
    index.add(np.array([[0, 0], [3, 4]], dtype=np.float32))
    queries = np.array([[0.3, 0.4], [0, 0]], dtype=np.float32)
    assert index.nearest(queries, 2)[0].tolist() == [1, 0]


def test_another_encoder_is_an_error_not_a_vote(scene):
    private, _ = scene.both()
    narrow = {**scene.candidates, "embeddings": scene.candidates["embeddings"][:, :7]}
    with pytest.raises(ValueError, match=r"8 dimensions.*7"):
        count_votes(private, scene.shards(narrow))
