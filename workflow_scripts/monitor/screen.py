"""Where the monitor's lines go: a terminal, with a live display below them, or a plain stream."""

import os
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

# Of a plain stream: how often it says how far things are, in seconds.
PAUSE = 60.0
REFRESH = 2  # per second


class PlainScreen:
    """Lines with the time of day, and a summary now and then."""

    def __init__(self, stream: TextIO, summary: Callable[[], list[str]]):
        self._stream = stream
        self._summary = summary
        self._next = 0.0

    def line(self, text: str, style: str = "") -> None:
        self._write(f"{time.strftime('%H:%M:%S')}  {text}")

    def pause(self) -> None:
        """A moment for a summary, if the last is long ago."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PAUSE
            self.line("; ".join(self._summary()))

    def close(self, lines: list[str]) -> None:
        self.line("; ".join(self._summary()))
        for line in lines:
            self._write(line)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads any more; the jobs go on


class LiveScreen:
    """Lines that scroll by above a display of a few lines."""

    def __init__(self, stream: TextIO, summary: Callable[[], list[str]], colour: bool = True):
        self._console = Console(file=stream, highlight=False, soft_wrap=True, no_color=not colour)
        self._summary = summary
        self._live = Live(
            get_renderable=self._display,
            console=self._console,
            refresh_per_second=REFRESH,
            transient=True,
            redirect_stdout=False,
        )
        self._live.start()

    def _display(self) -> Text:
        return Text("\n".join(["", *self._summary()]), overflow="ellipsis", no_wrap=True)

    def line(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style))

    def pause(self) -> None:
        """Nothing to do: the display is always there."""

    def close(self, lines: list[str]) -> None:
        self._live.stop()
        for line in [*self._summary(), *lines]:
            self._console.print(Text(line))


def open_screen(
    stream: TextIO, summary: Callable[[], list[str]], live: bool = True, colour: bool = True
) -> PlainScreen | LiveScreen:
    """A screen for a stream.

    Parameters
    ----------
    stream : text file
    summary : callable
        Returns lines that say how far things are.
    live : bool
        Whether a display is wanted, if the stream is a terminal that can show one.
    colour : bool
    """
    if live and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveScreen(stream, summary, colour)
    return PlainScreen(stream, summary)
