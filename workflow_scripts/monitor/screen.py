"""Where the monitor's lines go: a terminal, with a live display below them, or a plain stream."""

import os
import textwrap
import threading
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
    """Lines with the time of day, and a summary now and then, whether anything happens or not."""

    def __init__(self, stream: TextIO, summary: Callable[[], list[str]], pause: float = PAUSE):
        self._stream = stream
        self._summary = summary
        self._pause = pause
        self._writes = threading.Lock()
        self._closed = threading.Event()
        self._say_how_far()
        # A daemon, so that it keeps no Snakemake alive that ends without closing its handlers.
        self._timer = threading.Thread(target=self._summarise, daemon=True)
        self._timer.start()

    def line(self, text: str, style: str = "") -> None:
        self._write(f"{time.strftime('%H:%M:%S')}  {text}")

    def close(self, lines: list[str]) -> None:
        self._closed.set()
        self._timer.join()
        self._say_how_far()
        for line in lines:
            self._write(line)

    def _summarise(self) -> None:
        while not self._closed.wait(self._pause):
            self._say_how_far()

    def _say_how_far(self) -> None:
        self.line("; ".join(self._summary()))

    def _write(self, text: str) -> None:
        try:
            with self._writes:
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
        for part in text.split("\n"):
            self._console.print(Text(_folded(part, self._console.width), style=style))

    def close(self, lines: list[str]) -> None:
        self._live.stop()
        for line in [*self._summary(), *lines]:
            self.line(line)


def _folded(line: str, width: int) -> str:
    """A line broken between words; one with a long path is left to the terminal, to be copied."""
    if any(len(word) > width / 2 for word in line.split()):
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False)


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
