"""Rows of several files, read as if they were one array."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts import shards
from workflow_scripts.files import FileProblem, open_arrays, read_arrays, write_arrays, write_rows
from workflow_scripts.shards import Shards, shard_files


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 7), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_rows_come_in_the_order_asked_for(sizes, seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    n, rng = sum(sizes), np.random.default_rng(seed)
    whole = {"x": np.arange(3 * n).reshape(n, 3), "y": np.arange(n).astype(np.float32)}
    starts = np.cumsum([0, *sizes])
    for i, (start, stop) in enumerate(pairwise(starts)):
        write_arrays(folder / f"{i}", {name: array[start:stop] for name, array in whole.items()})
    stored = Shards(*(folder / f"{i}" for i in range(len(sizes))))
    assert len(stored) == n and np.array_equal(stored["x"], whole["x"])
    rows = rng.integers(0, n, 11) if n else np.arange(0)
    taken = stored.take(rows)
    assert all(np.array_equal(taken[name], whole[name][rows]) for name in whole)
    assert stored.take(slice(1, 3), "y").keys() == {"y"}
    blocks = list(stored.blocks(rows, "x"))
    assert np.array_equal(np.concatenate([block["x"] for block in blocks]), whole["x"][rows])


def test_a_long_selection_comes_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK", 4)
    write_arrays(tmp_path / "a", {"x": np.arange(10)})
    assert [b["x"].tolist() for b in Shards(tmp_path / "a").blocks()] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]


def test_a_digest_sees_every_value_and_name_and_no_division(tmp_path):
    def digest(*parts, name="x"):
        paths = [tmp_path / f"{np.random.default_rng().integers(1 << 60)}" for _ in parts]
        for path, part in zip(paths, parts, strict=True):
            write_arrays(path, {name: np.asarray(part, np.float32)})
        return Shards(*paths).digest()

    assert digest([1, 2, 3]) == digest([1], [2, 3]) == digest([], [1, 2, 3])
    assert len({digest([1, 2, 3]), digest([1, 2, 4]), digest([1, 2]), digest([1], name="y")}) == 4


def test_blocks_of_rows_make_the_same_file_as_one_array(tmp_path):
    x, y = np.arange(30, dtype=np.uint8).reshape(10, 3), np.arange(10, dtype=np.int64)
    write_arrays(tmp_path / "one", {"x": x, "y": y}, {"a": 1})
    parts = ({"x": x[i : i + 4], "y": y[i : i + 4]} for i in range(0, 10, 4))
    write_rows(tmp_path / "many", parts, 10, {"a": 1})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()
    assert np.array_equal(read_arrays(tmp_path / "many")["x"], x)


def test_rows_that_do_not_come_or_differ_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="4 rows came, 5 were announced"):
        write_rows(tmp_path / "x", [{"x": np.zeros(4)}], 5)
    with pytest.raises(ValueError, match="differ in shape or type"):
        write_rows(tmp_path / "x", [{"x": np.zeros((2, 1))}, {"x": np.zeros((2, 3))}], 4)
    assert not list(tmp_path.iterdir())


def test_arrays_are_mapped_not_read(tmp_path):
    write_arrays(tmp_path / "x", {"x": np.zeros((1000, 1000)), "nothing": np.zeros((0, 5))})
    found = open_arrays(tmp_path / "x")
    assert isinstance(found["x"], np.memmap) and found["nothing"].shape == (0, 5)
    with pytest.raises(ValueError, match="read-only"):
        found["x"][0] = 1
    for name in ("absent", "damaged"):
        (tmp_path / "damaged").write_bytes(b"\xff" * 20)
        with pytest.raises(FileProblem, match=name):
            open_arrays(tmp_path / name)


def test_a_selection_from_a_large_file_needs_memory_for_a_block_only(tmp_path):
    """200 MB on disk, written and selected from within 60 MB of memory of its own."""
    script = """
import sys, numpy as np
from workflow_scripts.files import write_rows
from workflow_scripts.shards import Shards

def anonymous():
    (line,) = [l for l in open('/proc/self/status') if l.startswith('RssAnon')]
    return int(line.split()[1]) / 1024

def blocks(peak):
    for i in range(100):
        peak[0] = max(peak[0], anonymous())
        yield {'x': np.full((1000, 2000), i, np.uint8)}

before, peak = anonymous(), [0.0]
write_rows(sys.argv[1], blocks(peak), 100_000)
rows = np.random.default_rng(0).integers(0, 100_000, 100_000)
for block in Shards(sys.argv[1]).blocks(rows):
    peak[0] = max(peak[0], anonymous())
assert (block['x'][:, 0] == rows[-len(block['x']):] // 1000).all()
print(peak[0] - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "x")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "x").stat().st_size > 190e6
    assert float(done.stdout) < 60


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], ["1-of-2", "2-of-2"]),
        (["1-of-2"], ["1-of-2", "2-of-2"]),
        (["1-of-3", "2-of-3"], ["1-of-2", "2-of-2"]),
        (["1-of-3", "2-of-3", "3-of-3"], ["1-of-3", "2-of-3", "3-of-3"]),
        (["1-of-2", "1-of-1"], ["1-of-1"]),
        (["1-of-1", "1-of-2", "2-of-2"], ["1-of-2", "2-of-2"]),
    ],
)
def test_shards_that_are_all_there_are_used_whatever_their_number(tmp_path, there, found):
    for item in there:
        (tmp_path / f"{item}.safetensors").touch()
    expected = [f"{tmp_path}/{item}.safetensors" for item in found]
    assert shard_files(tmp_path, ["1-of-2", "2-of-2"]) == expected
    assert shard_files(tmp_path / "absent", ["1-of-1"]) == [f"{tmp_path}/absent/1-of-1.safetensors"]
