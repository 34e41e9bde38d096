"""What has been released of a sensitive data set, over all runs and experiments.

A line for every release, written before its noise is drawn and again when it is there. Runs and
their directories come and go; the register keeps what they cost. A cap on the total is enforced
here, under a lock, because jobs race for what is left of it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from workflow_scripts.files import FileProblem, locked, room_for
from workflow_scripts.privacy.accountant import COARSE, TOLERANCE, compose
from workflow_scripts.privacy.events import Event, event_of
from workflow_scripts.privacy.noise import NoiseSource
from workflow_scripts.problems import Problem


class CapExceeded(Problem):
    """A release would take a data set's total over its cap; nothing has been drawn."""


@dataclass(frozen=True)
class Charge:
    """One release of a data set.

    Attributes
    ----------
    identity : str
        What is released, by its place in the results.
    event : Event
    noise_source : {'os', 'seeded'}
    release_id : str or None
        None as long as its noise may not have been drawn.
    """

    identity: str
    event: Event
    noise_source: NoiseSource
    release_id: str | None


class Register:
    """The register of one sensitive data set.

    Parameters
    ----------
    path : path
        A file of JSON lines. It names releases and their events, which are no secrets.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def limit(self, cap: dict | None) -> None:
        """Declare the data set's cap (`epsilon`, `delta`), or that it has none."""
        with self._locked():
            if self._read()[1] != cap:
                self._append({"cap": cap})

    @property
    def cap(self) -> dict | None:
        return self._read()[1]

    @property
    def charges(self) -> list[Charge]:
        """Every release, each once, in order; those whose noise may be drawn at this moment too."""
        return list(self._read()[0].values())

    def reserve(self, identity: str, event: Event, noise_source: NoiseSource) -> None:
        """Make room for a release that is about to be drawn.

        Raises
        ------
        CapExceeded
            If the data set's total would exceed its cap.
        FileProblem
            If this release was drawn before: its journal entry has been removed.
        """
        with self._locked():
            charges, cap = self._read()
            charge = Charge(identity, event, noise_source, None)
            drawn = [c for c in charges.values() if c.identity == identity and c.release_id]
            if drawn:
                raise FileProblem(
                    f"{self.path}: {identity} was released before ({drawn[0].release_id}), but "
                    "its journal entry is gone. Drawing again would be a second release. Put "
                    f"results/sensitive/journal/{identity}.safetensors back, or use another seed"
                )
            if charge in charges.values():
                return
            if cap:
                self._check(cap, [*charges.values(), charge])
            self._append(_line(charge))

    def commit(
        self, identity: str, event: Event, noise_source: NoiseSource, release_id: str
    ) -> None:
        """Write down a release that was drawn; once, however often it is said."""
        with self._locked():
            charge = Charge(identity, event, noise_source, release_id)
            if charge not in self._read()[0].values():
                self._append(_line(charge))

    def withdraw(self, identity: str, event: Event, noise_source: NoiseSource) -> None:
        """Give back the room of a release that failed before it was written down anywhere."""
        with self._locked():
            charge = Charge(identity, event, noise_source, None)
            if charge in self._read()[0].values():
                self._append({**_line(charge), "withdrawn": True})

    def _check(self, cap: dict, charges: list[Charge]) -> None:
        composition = compose([c.event for c in charges], cap["delta"], grid=COARSE)
        if not composition.epsilon <= cap["epsilon"] * (1 + TOLERANCE):
            raise CapExceeded(
                f"{charges[-1].identity}: with this release all {len(charges)} of the data set "
                f"would cost ε = {composition.epsilon:.6g} at δ = {cap['delta']:.3g}, more than "
                f"its cap ε = {cap['epsilon']:g} (cap, in datasets.yaml); nothing is drawn"
            )

    def _read(self) -> tuple[dict[tuple, Charge], dict | None]:
        """The charges, each under its name, and the cap."""
        charges: dict[tuple, Charge] = {}
        cap = None
        for line in self._lines():
            if "cap" in line:
                cap = line["cap"]
                continue
            event, identity = event_of(line["event"]), line["identity"]
            charge = Charge(identity, event, line["noise_source"], line["release_id"])
            # A release takes the place of its reservation.
            charges.pop((identity, event, None), None)
            if not line.get("withdrawn"):
                charges[identity, event, charge.release_id] = charge
        return charges, cap

    def _lines(self) -> Iterator[dict]:
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        # What follows the last line end was being written when its writer was killed.
        for number, line in enumerate(text.split("\n")[:-1], start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise FileProblem(f"{self.path}, line {number}: damaged ({error})") from error

    def _append(self, line: dict) -> None:
        # What of a line a full disk takes has no end of line, and counts for nothing.
        with room_for(self.path), open(self.path, "ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(0)
                whole = file.read().rfind(b"\n") + 1
                if whole != end:
                    file.truncate(whole)
            file.write((json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.path.with_suffix(".lock"))


def _line(charge: Charge) -> dict:
    return {**asdict(charge), "event": asdict(charge.event)}
