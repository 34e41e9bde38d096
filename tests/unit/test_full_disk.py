"""A full disk is one line that names the file, whoever noticed it, and leaves nothing behind."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from workflow_scripts.files import FileProblem, FullDisk, room_for, write_atomically, write_text
from workflow_scripts.folders import write_folder
from workflow_scripts.privacy.events import DiscreteGaussianEvent
from workflow_scripts.privacy.register import Register

ROOT = Path(__file__).parents[2]


def fill(*_) -> None:
    """Write to a device that is always full."""
    with open("/dev/full", "wb") as file:
        file.write(b"x")


def test_a_file_that_does_not_fit_is_named_and_an_earlier_one_stays(tmp_path):
    path = tmp_path / "votes.safetensors"
    write_text(path, "before")
    with pytest.raises(FullDisk, match=r"votes\.safetensors: no space left .* Make room"):
        write_atomically(path, fill)
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["votes.safetensors"]


def test_a_folder_that_does_not_fit_is_named_and_an_earlier_one_stays(tmp_path):
    folder = tmp_path / "pipeline"
    write_folder(folder, lambda temporary: (temporary / "weights").write_text("before"))
    with pytest.raises(FullDisk, match="pipeline: no space left"):
        write_folder(folder, fill)
    assert (folder / "weights").read_text() == "before" and os.listdir(tmp_path) == ["pipeline"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ],
    ids=["quota", "safetensors"],
)
def test_quotas_and_libraries_in_other_languages_are_understood(error):
    with pytest.raises(FullDisk, match=r"x\.json: no space left"), room_for("x.json"):
        raise error


def test_other_errors_stay_what_they_are():
    with pytest.raises(PermissionError), room_for("x.json"):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(FileProblem, match="damaged") as raised, room_for("x.json"):
        raise FileProblem("y.json: damaged")
    assert not isinstance(raised.value, FullDisk)


def test_a_line_that_the_register_has_no_room_for_counts_for_nothing(tmp_path, monkeypatch):
    register = Register(tmp_path / "register.jsonl")
    charge = ("digits/a/eps1/seed0/iter1", DiscreteGaussianEvent(1.0, 1), "os")
    register.reserve(*charge)
    before = register.path.read_bytes()
    half = before + before[: len(before) // 2]
    register.path.write_bytes(half)  # as a full disk leaves it
    assert [c.identity for c in register.charges] == [charge[0]]
    register.reserve("digits/a/eps1/seed0/iter2", *charge[1:])
    assert len(register.charges) == 2, "the half line is gone, and nothing else"

    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(FullDisk, match=r"register\.jsonl: no space left"):
        register.reserve("digits/a/eps1/seed0/iter3", *charge[1:])


STEP = """
import sys
from types import SimpleNamespace as Names
from workflow_scripts.step import run
log = sys.argv[1]
snakemake = Names(rule="vary", input=[], output=[], wildcards={}, params={}, log=[log])
def step(job):
    print("x" * 100_000)
run(step)
"""


@pytest.mark.parametrize("monitored", [False, True], ids=["alone", "monitored"])
def test_a_log_that_cannot_be_written_does_not_hide_the_cause(tmp_path, monitored):
    os.symlink("/dev/full", tmp_path / "vary.log")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if monitored:
        environment["DP_IMAGE_SYNTHESIS_MONITORED"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", STEP, "vary.log"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == os.EX_IOERR
    assert (
        done.stderr.startswith("vary: vary.log: no space left") and "Traceback" not in done.stderr
    )
