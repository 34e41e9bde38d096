"""Populations: rows stay together through selection, joining, storage and shards."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from workflow_scripts.files import FileProblem
from workflow_scripts.generators.population import (
    Population,
    StoredPopulation,
    concatenate,
    save_population,
)


def save(path, population: Population) -> None:
    save_population(path, [population], len(population))


def load_population(*paths) -> Population:
    return StoredPopulation(*paths).take(slice(None))


def numbered(n: int, start: int = 0, channels: int = 3) -> Population:
    """Row i carries its number in every part."""
    number = np.arange(start, start + n)
    images = np.broadcast_to(number[:, None, None, None], (n, 2, 2, channels)).astype(np.uint8)
    state = {"size": number, "weights": np.stack([number, -number], 1).astype(np.float32)}
    return Population(images, number % 4, state)


def numbers(population: Population) -> list[int]:
    """The row numbers, read from every part, which must agree."""
    rows = population.state["size"]
    assert np.all(population.images == rows[:, None, None, None])
    assert np.array_equal(population.labels, rows % 4)
    assert np.array_equal(population.state["weights"], np.stack([rows, -rows], 1))
    assert len(population) == len(rows)
    return rows.tolist()


@given(st.lists(st.integers(0, 19), max_size=40))
def test_take_keeps_order_and_repetitions(rows):
    taken = numbered(20).take(np.array(rows, dtype=int))
    assert numbers(taken) == rows


def test_take_accepts_a_slice_and_a_mask():
    assert numbers(numbered(9).take(slice(2, 5))) == [2, 3, 4]
    assert numbers(numbered(9).take(np.arange(9) % 4 == 1)) == [1, 5]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_parts_join_in_order(sizes):
    starts = np.cumsum([0, *sizes[:-1]])
    joined = concatenate([numbered(n, start) for n, start in zip(sizes, starts, strict=True)])
    assert numbers(joined) == list(range(sum(sizes)))


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=4), channels=st.sampled_from([1, 3]))
def test_shards_on_disk_make_the_population_again(sizes, channels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    whole = numbered(sum(sizes), channels=channels)
    ends = np.cumsum(sizes)
    paths = [folder / f"{i}.safetensors" for i in range(len(sizes))]
    for path, end, size in zip(paths, ends, sizes, strict=True):
        save(path, whole.take(slice(end - size, end)))
    found = load_population(*paths)
    assert numbers(found) == list(range(sum(sizes)))
    assert found.images.dtype == np.uint8 and found.images.shape == whole.images.shape
    assert found.labels.dtype == np.int64
    assert {k: v.dtype for k, v in found.state.items()} == {"size": "int64", "weights": "float32"}


def test_a_population_is_written_block_by_block(tmp_path):
    save(tmp_path / "one", numbered(9))
    save_population(tmp_path / "many", [numbered(4), numbered(5, 4)], 9)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()
    stored = StoredPopulation(tmp_path / "one")
    rows = np.array([8, 0, 0, 3])
    assert [numbers(block) for block in stored.blocks(rows)] == [[8, 0, 0, 3]]
    assert len(stored) == 9 and stored.labels.tolist() == (np.arange(9) % 4).tolist()


def test_shards_are_joined_in_the_order_given(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, start in zip(paths, (0, 10), strict=True):
        save(path, numbered(2, start))
    assert numbers(load_population(*paths)) == [0, 1, 10, 11]
    assert numbers(load_population(*reversed(paths))) == [10, 11, 0, 1]


def test_a_population_without_state_survives(tmp_path):
    plain = Population(numbered(3).images, numbered(3).labels)
    save(tmp_path / "a", plain)
    found = load_population(tmp_path / "a", tmp_path / "a")
    assert found.state == {} and len(found) == 6 and found.take(slice(0, 2)).state == {}


def test_the_file_is_plain_safetensors_whatever_the_state_is_called(tmp_path):
    population = numbered(3)
    tricky = {"images": np.arange(3), "labels": np.arange(3) * 2, "state.x": np.arange(3) * 3}
    save(tmp_path / "a", Population(population.images, population.labels, tricky))
    stored = load((tmp_path / "a").read_bytes())
    assert np.array_equal(stored["images"], population.images)
    assert stored.keys() == {"images", "labels", *(f"state.{name}" for name in tricky)}
    found = load_population(tmp_path / "a")
    assert np.array_equal(found.images, population.images)
    assert {k: v.tolist() for k, v in found.state.items()} == {
        k: v.tolist() for k, v in tricky.items()
    }


def test_equal_populations_are_equal_bytes_even_as_views(tmp_path):
    save(tmp_path / "a", numbered(8).take(np.array([6, 4, 2])))
    save(tmp_path / "b", numbered(8).take(slice(6, 1, -2)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_or_damaged_shard_is_named(tmp_path):
    save(tmp_path / "good", numbered(2))
    (tmp_path / "bad").write_bytes((tmp_path / "good").read_bytes()[:-1])
    for name in ("bad", "absent"):
        with pytest.raises(FileProblem, match=str(tmp_path / name)):
            load_population(tmp_path / "good", tmp_path / name)
