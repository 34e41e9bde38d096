"""How far a long step is, as lines in its log: a bar, the rate and what is left.

Times and counts of steps that read sensitive data stay in the sensitive zone, where their logs lie.
"""

import time
from collections.abc import Callable

from tqdm import tqdm

# Between two lines.
SECONDS = 10.0
# Characters of a line; ASCII, because a log has the encoding of whatever machine wrote it.
WIDTH = 100
FORMAT = (
    "{l_bar}{bar}| {n_fmt}/{total_fmt}{unit} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
)


class Progress:
    """Counts what is done and prints a line every few seconds, and one at the end.

    Parameters
    ----------
    total : int
        Of all there is to do.
    unit : str
        What is counted: `images`, `steps`.
    done : int
        Before this process began: no part of the rate.
    images : float, optional
        In each unit, for images per second beside units per second.
    """

    def __init__(self, total: int, unit: str, done: int = 0, images: float | None = None):
        self.total, self.unit, self.images = total, unit, images
        self.begun = self.done = done
        self.start = self.shown = time.monotonic()

    def add(self, number: int, note: Callable[[], str] = str) -> None:
        """`number` more are done; what `note` returns ends the line, if there is one to print."""
        self.done += number
        now = time.monotonic()
        if self.done >= self.total or now - self.shown >= SECONDS:
            self.shown = now
            print(self.line(note()), flush=True)

    def line(self, note: str = "") -> str:
        """The line of this moment."""
        elapsed = time.monotonic() - self.start
        notes = [note] if note else []
        if self.images and elapsed:
            rate = self.images * (self.done - self.begun) / elapsed
            notes.insert(0, f"{rate:,.1f} images/s")
        return tqdm.format_meter(
            self.done,
            self.total,
            elapsed,
            ncols=WIDTH,
            ascii=True,
            unit=f" {self.unit}",
            bar_format=FORMAT,
            postfix=", ".join(notes),
            initial=self.begun,
        )
