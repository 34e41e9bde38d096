"""Files are whole or absent, and hold what was put into them."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from workflow_scripts import files
from workflow_scripts.files import FileProblem
from workflow_scripts.folders import write_folder

ROOT = Path(__file__).parents[2]


def test_arrays_and_metadata_survive_a_round_trip(tmp_path):
    path = tmp_path / "deep/arrays.safetensors"
    arrays = {
        "images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "empty": np.zeros((0, 4), dtype=np.float32),
    }
    files.write_arrays(path, arrays, {"epsilon": 1.0, "classes": ["a", "b"]})
    found = files.read_arrays(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(found[name], array) and found[name].dtype == array.dtype
    assert files.read_metadata(path) == {"epsilon": 1.0, "classes": ["a", "b"]}
    assert list(files.read_arrays(path, "empty")) == ["empty"]


def test_equal_content_is_equal_bytes_in_every_process(tmp_path):
    """safetensors itself orders metadata differently from process to process."""
    script = (
        "import sys, numpy as np; from workflow_scripts.files import write_arrays\n"
        "write_arrays(sys.argv[1], {'b': np.ones(3), 'a': np.zeros(2)},"
        " {str(i): i for i in range(20)})"
    )
    for name in ("one", "two", "three"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / name)], check=True)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(path, fail)
    assert files.read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


WRITERS = {
    "file": (
        "from workflow_scripts.files import write_atomically as write_whole",
        lambda path: files.write_text(path, "whole"),
    ),
    "folder": (
        "from workflow_scripts.folders import write_folder as write_whole",
        lambda path: write_folder(path, lambda folder: (folder / "x").write_text("whole")),
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_of_a_living_one(tmp_path, kind):
    imported, write = WRITERS[kind]
    path, other = tmp_path / "x", tmp_path / ".xy.abcd_123.part"
    other.write_text("another file's")
    writes = f"{imported}; import sys, time\nwrite_whole(sys.argv[1], lambda _: time.sleep(60))"
    writer = subprocess.Popen([sys.executable, "-c", writes, str(path)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not (begun := list(tmp_path.glob(".x.*.part"))):
            assert writer.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.2)  # until it is locked
        write(path)
        assert list(tmp_path.glob(".x.*.part")) == begun
    finally:
        writer.kill()
        writer.wait()
    write(path)
    assert sorted(tmp_path.iterdir()) == [other, path]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_temporary_file_that_another_writer_took_for_a_leftover_is_made_anew(
    tmp_path, monkeypatch, kind
):
    """Between its creation and its lock, which is a moment only."""
    lock, taken = fcntl.flock, []

    def lock_too_late(descriptor, operation):
        if not taken:
            taken.extend(tmp_path.glob(".x.*.part"))
            files.remove(*taken)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    _, write = WRITERS[kind]
    write(tmp_path / "x")
    assert taken and list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_many_may_claim_a_directory_at_the_same_time(tmp_path):
    code = (
        "import sys; from workflow_scripts.files import claim_directory\n"
        "for i in range(100): claim_directory(f'{sys.argv[1]}/{i}', {'a': 1})"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    claims = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [claim.communicate(timeout=120)[1] for claim in claims] == [""] * 4
    assert {file.name for file in tmp_path.glob("*/.*")} == set()


def test_a_folder_replaces_an_earlier_one_whole(tmp_path):
    folder = tmp_path / "x"
    for name in ("old", "new"):
        write_folder(folder, lambda part, name=name: (part / name).touch())
    assert [file.name for file in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_two_writers_of_a_folder_that_end_together_leave_one_of_theirs(tmp_path):
    folder = tmp_path / "x"

    def write(part: Path) -> None:
        (part / "first").touch()
        write_folder(folder, lambda part: (part / "second").touch())

    write_folder(folder, write)
    assert [file.name for file in folder.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "x", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("read", [files.read_arrays, files.read_metadata, files.read_json])
@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}"])
def test_a_missing_or_damaged_file_is_named(tmp_path, read, content):
    path = tmp_path / "damaged"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileProblem, match="damaged"):
        read(path)


def test_digests_tell_values_types_shapes_and_borders_apart():
    x = np.arange(4, dtype=np.int64)
    digests = [
        files.digest(x),
        files.digest(x.astype(np.int32)),
        files.digest(x.reshape(2, 2)),
        files.digest(x + 1),
        files.digest("ab", "c"),
        files.digest("a", "bc"),
    ]
    assert len(set(digests)) == len(digests)
    assert files.digest(x.reshape(2, 2).T) == files.digest(np.array([[0, 2], [1, 3]]))


def test_a_directory_belongs_to_its_settings(tmp_path):
    files.claim_directory(tmp_path, {"a": 1, "b": (2, 3)})
    files.claim_directory(tmp_path, {"b": [2, 3], "a": 1})
    with pytest.raises(FileProblem, match=r"settings\.json.*differing: a"):
        files.claim_directory(tmp_path, {"a": 2, "b": [2, 3]})
