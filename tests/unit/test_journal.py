"""Write-once: the first answer is the only one."""

import threading

import numpy as np
import pytest

from workflow_scripts.files import FileProblem
from workflow_scripts.interruption import Interrupted
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.journal import Entry, JournalMismatch
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.privacy.register import Register

INPUTS = {"embeddings": "e0", "sigma": "2.0"}


MECHANISM = DiscreteGaussianMechanism(2.0, 1)


def release_once(path, identity, inputs, draw, source="os", **options):
    entry = Entry(path, path.parent / "register.jsonl", identity, source)
    return entry.release_once(MECHANISM.event, inputs, draw, **options)


class Mechanism:
    """Counts how often noise is drawn."""

    def __init__(self):
        self.draws = 0

    def __call__(self):
        self.draws += 1
        noisy = MECHANISM.release(np.arange(5), noise_of("os"))
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
        return *MECHANISM.release(np.zeros(3, dtype=np.int64), noise_of("seeded", "fixed")), {}

    one = release_once(tmp_path / "1.safetensors", "run/iter1", INPUTS, draw)
    elsewhere = tmp_path / "elsewhere/2.safetensors"
    two = release_once(elsewhere, "run/iter1", {"embeddings": "secret"}, draw)
    other = release_once(tmp_path / "3.safetensors", "run/iter2", INPUTS, draw)
    assert one.release_id == two.release_id != other.release_id


def test_another_noise_source_is_another_release(tmp_path):
    mechanism, entry = Mechanism(), tmp_path / "iter1.safetensors"
    release_once(entry, "run/iter1", INPUTS, mechanism)
    with pytest.raises(JournalMismatch, match="changed: noise_source"):
        release_once(entry, "run/iter1", INPUTS, mechanism, source="seeded")


def test_a_run_does_not_go_on_with_other_noise_than_it_began_with(tmp_path):
    mechanism, first = Mechanism(), tmp_path / "iter1.safetensors"
    second = tmp_path / "iter2.safetensors"
    with pytest.raises(JournalMismatch, match="missing"):
        release_once(second, "run/iter2", INPUTS, mechanism, after=first)
    release_once(first, "run/iter1", INPUTS, mechanism)
    release_once(second, "run/iter2", INPUTS, mechanism, after=first)
    entry = Entry(tmp_path / "iter3.safetensors", tmp_path / "register.jsonl", "run/iter3", "os")
    wider = DiscreteGaussianMechanism(2.5, 1).event
    with pytest.raises(JournalMismatch, match=r"began with .*2\.0.* now say .*2\.5"):
        entry.release_once(wider, INPUTS, mechanism, after=second)
    assert mechanism.draws == 2 and not entry.path.exists()


def test_what_was_interrupted_goes_on_and_keeps_its_place_under_a_cap(tmp_path):
    def interrupted():
        raise Interrupted("SIGTERM", "step 1 of 2")

    def failed():
        raise OSError("no space")

    register = Register(tmp_path / "register.jsonl")
    with pytest.raises(Interrupted):
        release_once(tmp_path / "one.safetensors", "one", INPUTS, interrupted)
    with pytest.raises(OSError, match="no space"):
        release_once(tmp_path / "two.safetensors", "two", INPUTS, failed)
    assert [charge.identity for charge in register.charges] == ["one"]


def test_a_mechanism_that_executes_something_else_than_was_reserved_releases_nothing(tmp_path):
    def draw():
        noisy, _ = MECHANISM.release(np.arange(5), noise_of("os"))
        return noisy, DiscreteGaussianMechanism(1.0, 1).event, {}

    entry = tmp_path / "iter1.safetensors"
    with pytest.raises(ValueError, match="reserved"):
        release_once(entry, "run/iter1", INPUTS, draw)
    assert not entry.exists() and Register(tmp_path / "register.jsonl").charges == []


def test_a_release_whose_journal_entry_is_gone_is_not_drawn_again(tmp_path):
    mechanism, entry = Mechanism(), tmp_path / "iter1.safetensors"
    release_once(entry, "run/iter1", INPUTS, mechanism)
    entry.unlink()
    with pytest.raises(FileProblem, match=r"run/iter1 was released before .* second release"):
        release_once(entry, "run/iter1", INPUTS, mechanism)
    assert mechanism.draws == 1


def test_a_release_that_the_register_lost_is_charged_when_it_is_replayed(tmp_path):
    mechanism, entry = Mechanism(), tmp_path / "iter1.safetensors"
    register = tmp_path / "register.jsonl"
    first = release_once(entry, "run/iter1", INPUTS, mechanism)
    register.unlink()
    release_once(entry, "run/iter1", INPUTS, mechanism)
    (charge,) = Register(register).charges
    assert charge.release_id == first.release_id and charge.event == first.event
