"""Write-once releases: a mechanism never answers the same question with fresh noise twice.

Snakemake re-runs rules for many reasons, and a second draw is a second release. So a mechanism
writes what it is about to release into a journal in the sensitive zone, with digests of its inputs,
before it writes its output. Run again on the same inputs, it copies the journalled values and
nothing is charged; run on other inputs in the same place, it refuses and says which changed. The
data set's register learns of a release before it is drawn.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from workflow_scripts.files import (
    FileProblem,
    digest,
    locked,
    read_arrays,
    read_metadata,
    write_arrays,
)
from workflow_scripts.interruption import Interrupted
from workflow_scripts.privacy.events import Event, event_of
from workflow_scripts.privacy.noise import NoiseSource
from workflow_scripts.privacy.register import Register
from workflow_scripts.problems import Problem


class JournalMismatch(Problem):
    """A release was journalled here for other inputs; nothing has been drawn."""


@dataclass(frozen=True)
class Release:
    """Released values with what they cost.

    Attributes
    ----------
    values : array
    event : Event
    noise_source : {'os', 'seeded'}
    release_id : str
        Names this draw wherever it is charged. A digest of released values only.
    about : dict of arrays
        What each value is about, as far as it is not sensitive.
    replayed : bool
        True if the values came from the journal.
    """

    values: np.ndarray
    event: Event
    noise_source: NoiseSource
    release_id: str
    about: dict[str, np.ndarray]
    replayed: bool

    def ledger(self, mechanism: str, iteration: int = 0) -> dict:
        """What the release's ledger file says: what was executed, and so what is charged.

        `iteration` is 0 for a mechanism outside the iterations.
        """
        return {
            "mechanism": mechanism,
            "iteration": iteration,
            "event": asdict(self.event),
            "noise_source": self.noise_source,
            "release_id": self.release_id,
        }


@dataclass(frozen=True)
class Entry:
    """Where one release is written down, before anything of it leaves the sensitive zone.

    Attributes
    ----------
    path : Path
        Of the entry, in the sensitive zone. It is no declared output, so Snakemake never deletes
        it.
    register : path
        Of everything that was released of the data set.
    identity : str
        What is released: data set, method, ε, seed, iteration.
    noise_source : {'os', 'seeded'}
    """

    path: Path
    register: str | Path
    identity: str
    noise_source: NoiseSource

    def release_once(
        self,
        event: Event,
        inputs: Mapping[str, str],
        draw: Callable[[], tuple[np.ndarray, Event, dict[str, np.ndarray]]],
        after: Path | None = None,
    ) -> Release:
        """Draw the first time, replay ever after.

        Parameters
        ----------
        event : Event
            What the release will cost. It is reserved before the draw; what counts afterwards is
            the event that the mechanism returns, which must not be another.
        inputs : mapping
            Digests of the sensitive data, and settings. What else a release depends on is named by
            the keys in the identity. SENSITIVE: a digest of private data identifies it, so digests
            stay in the journal.
        draw : callable
            The mechanism: released values, what they cost, and what they are about. Called at most
            once for an entry; whatever it reads is not needed for a replay.
        after : Path, optional
            The entry of the same run's release before this one. It must be there, with the same
            event.

        Raises
        ------
        JournalMismatch
            If the entry, or the one before, was made from other inputs.
        CapExceeded
            If the data set's total would exceed its cap.
        """
        inputs = {**inputs, "noise_source": self.noise_source}
        register = Register(self.register)
        charged = (self.identity, event, self.noise_source)
        # Two jobs of two Snakemakes on one release: the second waits, then replays.
        with locked(self.path.parent / ".lock"):
            if self.path.exists():
                release = self._replay(inputs)
                # Killed between journal and register, or the register was lost: charged now.
                register.commit(self.identity, release.event, self.noise_source, release.release_id)
                return release
            if after is not None:
                _check_before(after, event)
            register.reserve(*charged)
            try:
                values, executed, about = draw()
                if executed != event:
                    raise ValueError(f"{self.identity}: executed {executed}, reserved {event}")
                release_id = _release_id(self.identity, values)
                metadata = {
                    "identity": self.identity,
                    "event": asdict(executed),
                    "inputs": inputs,
                    "release_id": release_id,
                }
                write_arrays(self.path, {"values": values, **about}, metadata)
            except Interrupted:
                raise  # it will go on: what it costs stays reserved
            except BaseException:
                if not self.path.exists():
                    register.withdraw(*charged)
                raise
            register.commit(*charged, release_id)
            return Release(values, executed, self.noise_source, release_id, about, replayed=False)

    def _replay(self, inputs: Mapping[str, str]) -> Release:
        metadata = read_metadata(self.path)
        if changed := changed_inputs(metadata["inputs"], inputs):
            raise JournalMismatch(
                f"{self.path}: a release was already drawn here from other inputs (changed: "
                f"{changed}). Drawing again would be a second release. Undo the change, or make it "
                "a setting (for a data set: raise its version) so that it gets a new directory."
            )
        about = read_arrays(self.path)
        values, release_id = about.pop("values"), metadata["release_id"]
        if _release_id(metadata["identity"], values) != release_id:
            raise FileProblem(f"{self.path}: damaged: the values are not those that were released")
        event = event_of(metadata["event"])
        return Release(values, event, self.noise_source, release_id, about, replayed=True)


def _check_before(entry: Path, event: Event) -> None:
    """Refuse to go on with a run whose earlier release is missing, or had another event."""
    if not entry.exists():
        raise JournalMismatch(f"{entry}: missing; a run's releases follow one another")
    if (found := event_of(read_metadata(entry)["event"])) != event:
        raise JournalMismatch(
            f"{entry}: the run began with {found}; the settings now say {event}. Nothing is drawn. "
            "Undo the change, or give the run another seed"
        )


def changed_inputs(begun: Mapping[str, str], inputs: Mapping[str, str]) -> str:
    """The names of inputs that are not what a release was begun with; empty if all are."""
    names = {*begun, *inputs}
    return ", ".join(sorted(name for name in names if begun.get(name) != inputs.get(name)))


def _release_id(identity: str, values: np.ndarray) -> str:
    return digest(identity, values)[:32]
