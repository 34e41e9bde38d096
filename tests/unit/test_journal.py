"""Write-once: the first answer is the only one."""

import threading

import numpy as np
import pytest

from workflow_scripts.files import FileProblem
from workflow_scripts.privacy.gaussian import GaussianMechanism
from workflow_scripts.privacy.journal import JournalMismatch, release_once
from workflow_scripts.privacy.noise import noise_rng

INPUTS = {"embeddings": "e0", "sigma": "2.0"}


class Mechanism:
    """Counts how often noise is drawn."""

    def __init__(self):
        self.draws = 0

    def __call__(self):
        self.draws += 1
        noisy = GaussianMechanism(2.0).release(np.arange(5), noise_rng("os"))
        return *noisy, {"labels": np.arange(5) % 2}


def test_the_second_time_the_same_values_are_replayed(tmp_path):
    mechanism, entry = Mechanism(), tmp_path / "runs/iter1.safetensors"
    first = release_once(entry, "run/iter1", INPUTS, mechanism)
    second = release_once(entry, "run/iter1", dict(reversed(INPUTS.items())), mechanism)
    assert mechanism.draws == 1
    assert not first.replayed and second.replayed
    assert np.array_equal(first.values, second.values)
    assert np.array_equal(first.about["labels"], [0, 1, 0, 1, 0])
    assert np.array_equal(second.about["labels"], first.about["labels"])
    assert (first.event, first.release_id) == (second.event, second.release_id)


@pytest.mark.parametrize(
    ("inputs", "changed"),
    [
        ({"embeddings": "e1", "sigma": "2.0"}, "changed: embeddings"),
        ({"embeddings": "e0", "sigma": "1.0"}, "changed: sigma"),
        ({"embeddings": "e0"}, "changed: sigma"),
        ({**INPUTS, "k": "2"}, "changed: k"),
    ],
)
def test_other_inputs_are_refused_and_named(tmp_path, inputs, changed):
    mechanism, entry = Mechanism(), tmp_path / "iter1.safetensors"
    release_once(entry, "run/iter1", INPUTS, mechanism)
    with pytest.raises(JournalMismatch, match=changed) as refusal:
        release_once(entry, "run/iter1", inputs, mechanism)
    assert str(entry) in str(refusal.value) and mechanism.draws == 1


def test_a_damaged_entry_fails_closed(tmp_path):
    mechanism, entry = Mechanism(), tmp_path / "iter1.safetensors"
    release_once(entry, "run/iter1", INPUTS, mechanism)
    entry.write_bytes(entry.read_bytes()[:40])
    with pytest.raises(FileProblem, match=r"iter1\.safetensors"):
        release_once(entry, "run/iter1", INPUTS, mechanism)
    assert mechanism.draws == 1


def test_a_mechanism_that_fails_leaves_no_entry(tmp_path):
    def fail():
        raise MemoryError

    with pytest.raises(MemoryError):
        release_once(tmp_path / "iter1.safetensors", "run/iter1", INPUTS, fail)
    assert not list(tmp_path.glob("*.safetensors"))


def test_jobs_that_race_for_one_release_draw_once(tmp_path):
    mechanism, entry = Mechanism(), tmp_path / "iter1.safetensors"
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(release_once(entry, "run/iter1", INPUTS, mechanism))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mechanism.draws == 1 and len({r.release_id for r in found}) == 1


def test_the_release_id_tells_releases_apart_and_says_nothing_of_the_inputs(tmp_path):
    """It may be published, so it is made of released values alone."""

    def draw():
        return *GaussianMechanism(2.0).release(np.zeros(3), noise_rng("seeded", "fixed")), {}

    one = release_once(tmp_path / "1.safetensors", "run/iter1", INPUTS, draw)
    two = release_once(tmp_path / "2.safetensors", "run/iter1", {"embeddings": "secret"}, draw)
    other = release_once(tmp_path / "3.safetensors", "run/iter2", INPUTS, draw)
    assert one.release_id == two.release_id != other.release_id
