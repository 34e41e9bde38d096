"""Write-once releases: a mechanism never answers the same question with fresh noise twice.

Snakemake re-runs rules for many reasons, and a second draw is a second release. So a mechanism
writes what it is about to release into a journal in the sensitive zone, with digests of its inputs,
before it writes its output. Run again on the same inputs, it copies the journalled values and
nothing is charged; run on other inputs in the same place, it refuses and says which changed.
"""

import fcntl
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from workflow_scripts.files import FileProblem, digest, read_arrays, read_metadata, write_arrays
from workflow_scripts.privacy.gaussian import Event, event_of
from workflow_scripts.problems import Problem


class JournalMismatch(Problem):
    """A release was journalled here for other inputs; nothing has been drawn."""


@dataclass(frozen=True)
class Release:
    """Noisy values with what they cost.

    Attributes
    ----------
    values : array
    event : Event
    release_id : str
        Names this draw wherever it is charged. A digest of released values only.
    about : dict of arrays
        What each value is about, as far as it is not sensitive.
    replayed : bool
        True if the values came from the journal.
    """

    values: np.ndarray
    event: Event
    release_id: str
    about: dict[str, np.ndarray]
    replayed: bool

    def ledger(self, mechanism: str, iteration: int, noise_source: str) -> dict:
        """What the release's ledger file says: what was executed, and so what is charged.

        `iteration` is 0 for a mechanism outside the iterations.
        """
        return {
            "mechanism": mechanism,
            "iteration": iteration,
            "event": asdict(self.event),
            "noise_source": noise_source,
            "release_id": self.release_id,
        }


def release_once(
    entry: str | Path,
    identity: str,
    inputs: Mapping[str, str],
    draw: Callable[[], tuple[np.ndarray, Event, dict[str, np.ndarray]]],
) -> Release:
    """Release through a journal entry: draw the first time, replay ever after.

    Parameters
    ----------
    entry : path
        The entry's file, in the sensitive zone. It is no declared output, so Snakemake never
        deletes it.
    identity : str
        What is released: data set, method, ε, seed, iteration.
    inputs : mapping
        Digests of the sensitive data, and settings. What else a release depends on is named by the
        keys in `identity`. SENSITIVE: a digest of private data identifies it, so digests stay in
        the journal.
    draw : callable
        The mechanism: noisy values, what they cost, and what they are about. Called at most once
        for an entry; whatever it reads is not needed for a replay.

    Raises
    ------
    JournalMismatch
        If the entry was made from other inputs.
    """
    entry = Path(entry)
    entry.parent.mkdir(parents=True, exist_ok=True)
    with open(entry.parent / ".lock", "w") as lock:
        # Two jobs of two Snakemakes on one release: the second waits, then replays.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if entry.exists():
            return _replay(entry, inputs)
        values, event, about = draw()
        release_id = _release_id(identity, values)
        metadata = {
            "identity": identity,
            "event": asdict(event),
            "inputs": dict(inputs),
            "release_id": release_id,
        }
        write_arrays(entry, {"values": values, **about}, metadata)
        return Release(values, event, release_id, about, replayed=False)


def changed_inputs(begun: Mapping[str, str], inputs: Mapping[str, str]) -> str:
    """The names of inputs that are not what a release was begun with; empty if all are."""
    names = {*begun, *inputs}
    return ", ".join(sorted(name for name in names if begun.get(name) != inputs.get(name)))


def _replay(entry: Path, inputs: Mapping[str, str]) -> Release:
    metadata = read_metadata(entry)
    if changed := changed_inputs(metadata["inputs"], inputs):
        raise JournalMismatch(
            f"{entry}: a release was already drawn here from other inputs (changed: {changed}). "
            "Drawing again would be a second release. Undo the change, or make it a setting (for "
            "a data set: raise its version) so that it gets a new directory."
        )
    about = read_arrays(entry)
    values, release_id = about.pop("values"), metadata["release_id"]
    if _release_id(metadata["identity"], values) != release_id:
        raise FileProblem(f"{entry}: damaged: the values are not those that were released")
    return Release(values, event_of(metadata["event"]), release_id, about, replayed=True)


def _release_id(identity: str, values: np.ndarray) -> str:
    return digest(identity, values)[:32]
