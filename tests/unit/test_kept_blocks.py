"""A shard that is interrupted goes on after its last whole block, to the same bytes."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from workflow_scripts import device
from workflow_scripts.evolution import kept_blocks
from workflow_scripts.evolution.blocks import Block, blocks_of
from workflow_scripts.evolution.kept_blocks import KeptBlocks
from workflow_scripts.interruption import Interrupted, Interruption, interruptible
from workflow_scripts.randomness import rng_of

BLOCKS = blocks_of(10, 3, "1-of-1")


class Killed(BaseException):
    pass


class Shard:
    """Writes a shard of random numbers and remembers which blocks it made."""

    def __init__(self, output: Path):
        self.output, self.made = output, []

    def write(self, *, key: str = "key", signalled_in: int = -1, killed_in: int = -1) -> bytes:
        self.made = []

        def make(block: Block) -> dict[str, np.ndarray]:
            if block.index == killed_in:
                raise Killed
            if block.index == signalled_in:
                os.kill(os.getpid(), signal.SIGTERM)
            self.made.append(block.index)
            numbers = rng_of(key, block.index).random(block.stop - block.start)
            return {"numbers": numbers}

        with interruptible() as interruption:
            kept = KeptBlocks(self.output, key, interruption)
            kept.write(BLOCKS, 10, make)
        kept.remove()
        return self.output.read_bytes()


@pytest.fixture(autouse=True)
def every_block_is_worth_keeping(monkeypatch):
    monkeypatch.setattr(kept_blocks, "WORTH_KEEPING", 0.0)


@pytest.fixture
def shard(tmp_path) -> Shard:
    return Shard(tmp_path / "1-of-1.safetensors")


@pytest.fixture
def whole(tmp_path) -> bytes:
    return Shard(tmp_path / "whole").write()


def test_an_interrupted_shard_makes_only_the_blocks_that_are_missing(shard, whole, capsys):
    with pytest.raises(Interrupted, match="SIGTERM after block 2 of 4"):
        shard.write(signalled_in=1)
    assert not shard.output.exists() and shard.made == [0, 1]
    capsys.readouterr()
    assert shard.write() == whole
    assert shard.made == [2, 3]
    printed = capsys.readouterr().out
    assert "goes on after 6 of 10 images" in printed and "10/10 images" in printed


def test_a_shard_that_was_killed_goes_on_as_well(shard, whole):
    with pytest.raises(Killed):
        shard.write(killed_in=3)
    assert shard.write() == whole and shard.made == [3]


def test_a_block_that_is_made_faster_than_kept_is_made_anew(shard, whole, monkeypatch):
    monkeypatch.setattr(kept_blocks, "WORTH_KEEPING", 10.0)
    with pytest.raises(Killed):
        shard.write(killed_in=3)
    assert not shard.output.parent.joinpath("1-of-1.safetensors.blocks").exists()
    assert shard.write() == whole and shard.made == [0, 1, 2, 3]


def test_nothing_is_left_beside_a_finished_shard(shard, whole):
    with pytest.raises(Killed):
        shard.write(killed_in=2)
    shard.write()
    assert sorted(os.listdir(shard.output.parent)) == ["1-of-1.safetensors", "whole"]


def test_blocks_of_other_settings_are_made_anew(shard):
    with pytest.raises(Killed):
        shard.write(key="other settings", killed_in=3)
    shard.write()
    assert shard.made == [0, 1, 2, 3]


def test_a_damaged_block_is_made_anew_and_the_log_says_so(shard, whole, capsys):
    with pytest.raises(Killed):
        shard.write(killed_in=3)
    damaged = shard.output.with_name("1-of-1.safetensors.blocks") / "1.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    assert shard.write() == whole and shard.made == [1, 3]
    assert f"{damaged}: damaged, or" in capsys.readouterr().out


def test_a_block_with_another_content_than_was_kept_is_made_anew(shard, whole):
    with pytest.raises(Killed):
        shard.write(killed_in=3)
    damaged = shard.output.with_name("1-of-1.safetensors.blocks") / "1.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content)
    assert shard.write() == whole and shard.made == [1, 3]


def test_blocks_of_another_torch_or_device_are_made_anew(shard, whole, monkeypatch):
    with pytest.raises(Killed):
        shard.write(killed_in=3)
    monkeypatch.setattr(device, "numerics", lambda: ("cuda", "9.0"))
    monkeypatch.setitem(sys.modules, "torch", device.torch)
    assert shard.write() == whole and shard.made == [0, 1, 2, 3]


def test_blocks_of_another_number_of_shards_are_removed(shard, tmp_path):
    with pytest.raises(Killed):
        Shard(tmp_path / "2-of-3.safetensors").write(killed_in=3)
    with pytest.raises(Killed):
        shard.write(killed_in=3)
    shard.write()
    assert os.listdir(tmp_path) == ["1-of-1.safetensors"]


def test_a_signal_in_the_last_block_lets_the_shard_be_finished(shard, whole):
    assert shard.write(signalled_in=3) == whole


def test_a_shard_without_blocks_still_says_which_arrays_there_are(tmp_path):
    kept = KeptBlocks(tmp_path / "empty", "key", Interruption())
    kept.write([], 0, lambda block: {"numbers": np.zeros(block.stop - block.start)})
    assert (tmp_path / "empty").stat().st_size > 0
