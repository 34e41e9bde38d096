"""What every step does around its work: log, directory claims, one line for a user's mistake.

A step is a function of a `Job`; `run` calls it with the job that Snakemake started. All output
goes to the rule's log file; a known problem ends there in a line `cause: …`, which is repeated on
the terminal, unless the rule reads sensitive data: then only the log's path is. A step that was
interrupted ends in the same way, with an exit status of its own.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from workflow_scripts.files import FULL, FullDisk, claim_directory, digest, room_for
from workflow_scripts.interruption import EXIT_STATUS, Interrupted, requeue
from workflow_scripts.privacy.zones import open_sensitive, zone_of
from workflow_scripts.problems import Problem

if TYPE_CHECKING:
    from workflow_scripts.privacy.journal import Entry

# Set by a Snakemake that says itself why a job failed (`workflow_scripts.monitor`).
MONITORED = "DP_IMAGE_SYNTHESIS_MONITORED"
# "Input/output error": the exit status of a step that found no space on the disk.
FULL_DISK_STATUS = os.EX_IOERR


@dataclass(frozen=True)
class Job:
    """What Snakemake hands to a script, with the settings at hand.

    Attributes
    ----------
    rule : str
    input, output, wildcards
        As in Snakemake.
    settings : dict
        The rule's one `params` entry.
    """

    rule: str
    input: object
    output: object
    wildcards: object
    settings: dict

    def open(self, path: str) -> Path:
        """A file's path; a sensitive one goes through the zone's one door."""
        return open_sensitive(path, self.rule) if zone_of(path) == "sensitive" else Path(path)

    @property
    def entry(self) -> "Entry":
        """Where a mechanism's release is written down."""
        # Here, because the accountant behind it takes most of a second to import: mechanisms alone
        # need it.
        from workflow_scripts.privacy.journal import Entry

        fields = dict(self.settings["entry"])
        return Entry(self.open(fields.pop("journal")), **fields)

    @property
    def key(self) -> str:
        """A digest of the settings, and of all input files' names, sizes and times of change.

        What an interrupted job has kept is used by a job of the same key alone.
        """
        files = []
        for path in map(self.open, self.input):
            files += sorted(path.rglob("*")) if path.is_dir() else [path]
        stats = [(str(file), file.stat()) for file in files]
        inputs = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
        return digest(json.dumps([self.settings, inputs], sort_keys=True))

    def claim(self, directory: str | Path) -> None:
        """Write or compare the `settings.json` of a stage's directory."""
        claim_directory(directory, self.settings["stage"])


def run(step: Callable[[Job], None]) -> None:
    """Run a step as the script of a Snakemake rule.

    The exit status is 1 if it fails, `interruption.EXIT_STATUS` if it was interrupted,
    `FULL_DISK_STATUS` if there was no space.
    """
    snakemake = sys.modules["__main__"].snakemake
    job = Job(
        rule=snakemake.rule,
        input=snakemake.input,
        output=snakemake.output,
        wildcards=snakemake.wildcards,
        settings=snakemake.params.get("settings", {}),
    )
    log = str(snakemake.log[0])
    terminal, status, public = os.dup(2), 1, ""
    with _opened(log, job.rule) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            # Of what is not written by `files`: the log itself, say.
            with room_for(log):
                step(job)
                sys.stdout.flush()
            return
        except Interrupted as interrupted:
            requeue(interrupted)
            cause, status = str(interrupted), EXIT_STATUS
            public = f"interrupted by {interrupted.signal}; "
        except FullDisk as full:
            cause, status, public = str(full), FULL_DISK_STATUS, "no space left on the disk; "
        except Problem as problem:
            cause = str(problem)
        except Exception as error:
            with suppress(OSError):
                traceback.print_exc()
            cause = f"{type(error).__name__}: {error}"
        logged = _print_cause(cause)
    if zone_of(log) == "sensitive":
        cause = f"{public}see the log, which lies in the sensitive zone"
    if MONITORED not in os.environ or not logged:
        os.write(terminal, f"{job.rule}: {cause}\nlog: {log}\n".encode())
    sys.exit(status)


def _opened(log: str, rule: str) -> TextIO:
    try:
        return open(log, "w", buffering=1, encoding="utf-8")
    except OSError as error:
        print(f"{rule}: {log}: cannot be written ({error.strerror})", file=sys.stderr)
        sys.exit(FULL_DISK_STATUS if error.errno in FULL else 1)


def _print_cause(cause: str) -> bool:
    """End the log with the cause; whether there was space for it."""
    try:
        sys.stderr.flush()
        print(f"cause: {cause}", file=sys.stderr, flush=True)
    except OSError:
        # What Python still has to write as it ends would change the exit status.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        return False
    return True
