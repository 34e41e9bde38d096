"""The image pool: its neighbours against brute force, its draws, what it holds in memory."""

import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from workflow_scripts.configuration.generators import PoolGenerator
from workflow_scripts.files import FileProblem, open_arrays, write_arrays
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.neighbours import nearest_rows
from workflow_scripts.generators.plugin import check_generator
from workflow_scripts.generators.pool import ImagePool, PoolProblem, build_index
from workflow_scripts.generators.population import Population

ENTRY = {"kind": "pool", "dataset": "faces", "encoder": "inception"}
CLASSES = ("a", "b", "c")


def entry(**changes) -> dict:
    return PoolGenerator(**ENTRY, **changes).model_dump()


def image_of(row: np.ndarray) -> np.ndarray:
    """Every row of the pools below has an image of its own, which tells the row."""
    return np.stack([row % 256, row // 256, 7 * row % 256], axis=-1).astype(np.uint8)


def images(number: int, side: int = 2) -> np.ndarray:
    return np.broadcast_to(
        image_of(np.arange(number))[:, None, None, :], (number, side, side, 3)
    ).copy()


def pool(folder: Path, embeddings: np.ndarray, labels=None, classes=CLASSES, **changes):
    number = len(embeddings)
    labels = np.zeros(number, np.int64) if labels is None else labels
    write_arrays(
        folder / "images.safetensors",
        {"images": images(number), "labels": labels},
        {"classes": list(CLASSES)},
    )
    write_arrays(folder / "shard.safetensors", {"embeddings": embeddings})
    build_index([folder / "shard.safetensors"], folder / "index")
    return ImagePool(classes, entry(**changes), folder / "images.safetensors", folder / "index")


def brute_force(embeddings: np.ndarray, row: int, d: int, among: np.ndarray) -> list[int]:
    """All distances of one query in float64, sorted by Python."""
    differences = embeddings[among].astype(np.float64) - embeddings[row]
    squares = np.square(differences).sum(axis=1).tolist()
    ranked = sorted(zip((among != row).tolist(), squares, among.tolist(), strict=True))
    return [other for _, _, other in ranked[:d]]


def random_embeddings(number: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((number, dimension), dtype=np.float32)


# Neighbours

# Few values make many ties; others make distances that float32 cannot tell apart.
few = st.sampled_from([0.0, 1.0, -1.0, 0.5])
close = st.sampled_from([np.float32(1000 + k * 2.0**-13) for k in range(-4, 5)])
wide = st.floats(-(2.0**40), 2.0**40, width=32)
tiny = st.floats(-(2.0**-66), 2.0**-66, width=32)


@st.composite
def searches(draw):
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 6)))
    values = draw(st.sampled_from([few, close, wide, tiny]))
    embeddings = draw(arrays(np.float32, shape, elements=values))
    among = np.array(sorted(draw(st.sets(st.integers(0, shape[0] - 1), min_size=1))))
    rows = np.array(draw(st.lists(st.sampled_from(among.tolist()), max_size=8)), np.int64)
    d = draw(st.integers(1, len(among)))
    return embeddings, rows, d, among


@settings(max_examples=300, deadline=None)
@given(search=searches(), block=st.integers(1, 50), queries=st.integers(1, 9))
def test_neighbours_are_those_of_brute_force_for_any_blocks(search, block, queries):
    embeddings, rows, d, among = search
    found = nearest_rows(embeddings, rows, d, among, block, queries)
    assert found.shape == (len(rows), d) and found.dtype == np.int64
    expected = [brute_force(embeddings, row, d, among) for row in rows.tolist()]
    assert found.tolist() == expected


@pytest.mark.parametrize("offset", [0, 30])
def test_neighbours_in_many_dimensions_are_those_of_brute_force(offset):
    # Far from the origin float32 products lose most digits of a distance.
    embeddings = random_embeddings(1500, 256) + np.float32(offset)
    rows, among = np.arange(0, 1500, 10), np.arange(1500)
    expected = [brute_force(embeddings, row, 40, among) for row in rows.tolist()]
    assert nearest_rows(embeddings, rows, 40, among, block=128).tolist() == expected
    if offset:
        # The test could fail: products alone find other rows.
        products = np.square(embeddings).sum(axis=1) - 2 * (embeddings[rows] @ embeddings.T)
        rounded = np.argsort(products, axis=1)[:, :40].tolist()
        assert list(map(sorted, rounded)) != list(map(sorted, expected))


def test_the_row_itself_comes_first_then_its_copies_in_order():
    embeddings = random_embeddings(3000, 8)
    copies = np.arange(0, 3000, 2)  # more than are kept apart by rounding alone
    embeddings[copies] = embeddings[0]
    found = nearest_rows(embeddings, np.array([1000, 0]), 4, np.arange(3000), block=256)
    assert found.tolist() == [[1000, 0, 2, 4], [0, 2, 4, 6]]


@pytest.mark.parametrize("copies", [False, True])
def test_the_search_holds_neither_the_distances_nor_the_embeddings(copies):
    number, asked, d, dimension, queries = 40_000, 60, 20, 64, 30
    embeddings = random_embeddings(number, dimension)
    if copies:
        embeddings[:asked] = 0
        embeddings[::25] = 0
    rows = np.arange(asked)
    tracemalloc.start()
    nearest_rows(embeddings, rows, d, np.arange(number), block=1024, queries=queries)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The docstring's formula, the answer and the list of all rows; 0.5 MB for the rest.
    search = 4 * 1024 * (queries + dimension) + 60 * queries * (2 * d + 256)
    bound = search + 4 * 2**20 + 8 * (asked * d + number) + 500_000
    assert peak < bound < min(embeddings.nbytes, 4 * asked * number)


# RANDOM


def test_random_draws_distinct_images_of_the_pool(tmp_path):
    sim = pool(tmp_path, random_embeddings(500, 4))
    drawn = sim.random(np.arange(500) % 3, np.random.default_rng(0))
    assert sorted(drawn.state["row"].tolist()) == list(range(500))
    assert drawn.state["row"].dtype == drawn.labels.dtype == np.int64
    assert np.array_equal(drawn.labels, np.arange(500) % 3)
    assert np.array_equal(drawn.images[:, 1, 1], image_of(drawn.state["row"]))
    assert drawn.images.shape == (500, 2, 2, 3) and drawn.images.dtype == np.uint8


def test_random_is_uniform_over_the_pool(tmp_path):
    sim = pool(tmp_path, random_embeddings(20, 4))
    rng = np.random.default_rng(0)
    rows = np.stack([sim.random(np.zeros(3, int), rng).state["row"] for _ in range(4000)])
    for place in range(3):
        # False alarm: 1e-6 for each of three, one fixed seed.
        assert chisquare(np.bincount(rows[:, place], minlength=20)).pvalue > 1e-6


def test_matched_classes_are_found_by_name(tmp_path):
    labels = np.arange(90) % 3
    wanted = np.array([0, 1, 1, 0, 1, 0])
    sim = pool(tmp_path, random_embeddings(90, 4), labels, ("c", "a"), match_classes=True)
    drawn = sim.random(wanted, np.random.default_rng(0))
    assert labels[drawn.state["row"]].tolist() == [2, 0, 0, 2, 0, 2]
    assert np.array_equal(drawn.labels, wanted)
    for times in range(20):
        drawn = sim.vary(drawn, {"neighbours": 30}, np.random.default_rng(times))
        assert labels[drawn.state["row"]].tolist() == [2, 0, 0, 2, 0, 2]


def test_without_matching_the_labels_and_names_of_the_pool_do_not_matter(tmp_path):
    sim = pool(tmp_path, random_embeddings(90, 4), np.arange(90) % 3, ("x", "y"))
    drawn = sim.random(np.repeat([0, 1], 45), np.random.default_rng(0))
    assert len(set(drawn.state["row"].tolist())) == 90


# VARIATION


@pytest.mark.parametrize("match_classes", [False, True])
def test_a_variation_is_one_of_the_nearest_images_uniformly(tmp_path, match_classes):
    embeddings, labels = random_embeddings(60, 4), np.arange(60) % 3
    sim = pool(tmp_path, embeddings, labels, match_classes=match_classes)
    parents = sim.random(np.array([2, 0]), np.random.default_rng(0)).take(np.repeat([0, 1], 2000))
    varied = sim.vary(parents, {"neighbours": 5}, np.random.default_rng(1))
    assert np.array_equal(varied.labels, parents.labels)
    assert np.array_equal(varied.images[:, 0, 0], image_of(varied.state["row"]))
    for half in (slice(0, 2000), slice(2000, 4000)):
        row = int(parents.state["row"][half][0])
        among = np.flatnonzero(labels == labels[row]) if match_classes else np.arange(60)
        found, counts = np.unique(varied.state["row"][half], return_counts=True)
        assert set(found.tolist()) == set(brute_force(embeddings, row, 5, among))
        # False alarm: 1e-6 for each of four, fixed seeds.
        assert chisquare(counts).pvalue > 1e-6


def test_one_neighbour_is_the_image_itself_though_it_has_copies(tmp_path):
    sim = pool(tmp_path, np.zeros((50, 3), np.float32))
    parents = sim.random(np.zeros(50, int), np.random.default_rng(0))
    still = sim.vary(parents, {"neighbours": 1}, np.random.default_rng(1))
    assert np.array_equal(still.images, parents.images)
    assert np.array_equal(still.state["row"], parents.state["row"])


def test_variations_do_not_depend_on_what_was_asked_before(tmp_path):
    def fresh():
        return pool(tmp_path, random_embeddings(200, 4))

    sim = fresh()
    parents = sim.random(np.zeros(40, int), np.random.default_rng(0))
    questions = [
        (parents, 7),
        (parents, 7),  # as the lookahead does
        (parents, 3),
        (parents.take(np.arange(40)[::-1]), 3),
        (parents.take(np.arange(10)), 7),
        (parents, 7),
    ]
    for asked, d in questions:
        answers = [
            one.vary(asked, {"neighbours": d}, np.random.default_rng(5)) for one in (sim, fresh())
        ]
        assert np.array_equal(answers[0].state["row"], answers[1].state["row"])
        assert np.array_equal(answers[0].images, answers[1].images)


def test_the_lookahead_searches_once(tmp_path, monkeypatch):
    sim = pool(tmp_path, random_embeddings(200, 4))
    searched = []

    def counted(embeddings, rows, *rest):
        searched.append(len(rows))
        return nearest_rows(embeddings, rows, *rest)

    monkeypatch.setattr("workflow_scripts.generators.pool.nearest_rows", counted)
    parents = sim.random(np.zeros(40, int), np.random.default_rng(0)).take(np.arange(40) // 2)
    rows = [
        sim.vary(parents, {"neighbours": 9}, np.random.default_rng(i)).state["row"].tolist()
        for i in range(8)
    ]
    # Each image that occurs once, and once for all eight.
    assert searched == [20] and len({tuple(row) for row in rows}) == 8


@pytest.mark.parametrize("match_classes", [False, True])
def test_the_contract_of_generators_is_kept(tmp_path, match_classes):
    labels = np.arange(300) % 3
    sim = pool(tmp_path, random_embeddings(300, 4), labels, match_classes=match_classes)
    check_generator(sim, np.array([2, 0, 1, 1, 0]), {"neighbours": 20}, still={"neighbours": 1})


def test_the_entry_in_the_documentation_is_valid_and_complete():
    document = Path(__file__).parents[2] / "docs/generators/pool.md"
    ((yaml_block,),) = [re.findall(r"^```yaml\n(.*?)^```$", document.read_text(), re.M | re.S)]
    ((_, documented),) = yaml.safe_load(yaml_block).items()
    assert PoolGenerator(**documented) and documented.keys() == PoolGenerator.model_fields.keys()


def test_an_entry_of_the_catalogue_opens_the_same_pool(tmp_path):
    sim = pool(tmp_path, random_embeddings(30, 4))
    files = [str(tmp_path / name) for name in ("images.safetensors", "index")]
    opened = open_generator(entry(), CLASSES, files)
    labels = np.zeros(9, int)
    one, other = (g.random(labels, np.random.default_rng(0)) for g in (sim, opened))
    assert np.array_equal(one.images, other.images)


# The index


def test_the_index_is_the_shards_in_order(tmp_path):
    embeddings = random_embeddings(11, 3)
    paths = []
    for i, part in enumerate((embeddings[:4], embeddings[4:4], embeddings[4:])):
        paths.append(tmp_path / f"{i}.safetensors")
        write_arrays(paths[-1], {"embeddings": part, "labels": np.zeros(len(part), np.int64)})
    build_index(paths, tmp_path / "index")
    stored = open_arrays(tmp_path / "index")
    assert stored.keys() == {"embeddings"}
    assert np.array_equal(stored["embeddings"], embeddings)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e19])
def test_an_embedding_that_has_no_distances_is_refused(tmp_path, value):
    embeddings = random_embeddings(9000, 2)
    embeddings[8123, 1] = value
    write_arrays(tmp_path / "shard.safetensors", {"embeddings": embeddings})
    with pytest.raises(FileProblem, match="pool image 8123"):
        build_index([tmp_path / "shard.safetensors"], tmp_path / "index")
    assert not (tmp_path / "index").exists()


# Refusals


def test_more_images_than_the_pool_holds_are_refused(tmp_path):
    sim = pool(tmp_path, random_embeddings(5, 2))
    with pytest.raises(PoolProblem, match=r"6 different images are asked for; the pool has 5"):
        sim.random(np.zeros(6, int), np.random.default_rng(0))


def test_more_images_than_a_class_holds_are_refused(tmp_path):
    sim = pool(tmp_path, random_embeddings(5, 2), np.array([0, 1, 1, 1, 2]), match_classes=True)
    sim.random(np.array([1, 1, 1]), np.random.default_rng(0))
    with pytest.raises(PoolProblem, match=r"2 different images of class c .* has 1"):
        sim.random(np.array([1, 2, 2]), np.random.default_rng(0))


def test_more_neighbours_than_the_pool_holds_are_refused(tmp_path):
    sim = pool(tmp_path, random_embeddings(5, 2))
    parents = sim.random(np.zeros(2, int), np.random.default_rng(0))
    sim.vary(parents, {"neighbours": 5}, np.random.default_rng(0))
    with pytest.raises(PoolProblem, match=r"6 neighbours are asked for; the pool has 5"):
        sim.vary(parents, {"neighbours": 6}, np.random.default_rng(0))


def test_a_class_that_the_pool_does_not_have_is_named(tmp_path):
    with pytest.raises(PoolProblem, match=r"no class \['dog'\]; it has \['a', 'b', 'c'\]"):
        pool(tmp_path, random_embeddings(5, 2), classes=("a", "dog"), match_classes=True)


def test_an_index_of_other_images_is_refused(tmp_path):
    pool(tmp_path, random_embeddings(5, 2))
    write_arrays(tmp_path / "index", {"embeddings": random_embeddings(4, 2)})
    with pytest.raises(FileProblem, match="embeddings of 4 images") as problem:
        ImagePool(CLASSES, entry(), tmp_path / "images.safetensors", tmp_path / "index")
    assert "has 5" in str(problem.value)


# Memory


def sparse(path: Path, arrays: dict[str, tuple[str, list[int], int]]) -> None:
    """A safetensors file of zeros that takes no space: name → type, shape, bytes."""
    header, end = {}, 0
    for name, (dtype, shape, size) in arrays.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


USE = """
import resource, sys
import numpy as np
from workflow_scripts.generators.pool import ImagePool
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sim = ImagePool((), {"match_classes": False}, *sys.argv[1:])
drawn = sim.random(np.zeros(50, int), np.random.default_rng(0))
varied = sim.vary(drawn.take(slice(0, 3)), {"neighbours": 4}, np.random.default_rng(0))
print(sorted(set(varied.state["row"].tolist()) - set(drawn.state["row"].tolist())))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_pool_larger_than_memory_is_not_read_whole(tmp_path):
    number, side = 170_000, 64
    size = number * side * side * 3
    assert size > 2e9
    labels = ("I64", [number], 8 * number)
    sparse(tmp_path / "i", {"labels": labels, "images": ("U8", [number, side, side, 3], size)})
    sparse(tmp_path / "e", {"embeddings": ("F32", [number, 4], 16 * number)})
    done = subprocess.run(
        [sys.executable, "-c", USE, tmp_path / "i", tmp_path / "e"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    others, grown = done.stdout.splitlines()
    # All images are copies of one another: beside itself, each has the first three as neighbours.
    assert set(json.loads(others)) <= {0, 1, 2}
    assert int(grown) < 100_000, "kilobytes more than before"


def test_a_population_is_no_part_of_the_map(tmp_path):
    sim = pool(tmp_path, random_embeddings(5, 2))
    drawn = sim.random(np.zeros(2, int), np.random.default_rng(0))
    assert isinstance(drawn, Population)
    for values in drawn.arrays.values():
        assert type(values) is np.ndarray and values.flags.writeable
