"""What every step does around its work: log, directory claims, one line for a user's mistake.

A step is a function of a `Job`; `run` calls it with the job that Snakemake started. All output
goes to the rule's log file; a known problem ends there in a line `cause: …`, which is repeated on
the terminal, unless the rule reads sensitive data: then only the log's path is.
"""

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.files import claim_directory
from workflow_scripts.privacy.journal import Entry
from workflow_scripts.privacy.zones import open_sensitive, zone_of
from workflow_scripts.problems import Problem


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
    def entry(self) -> Entry:
        """Where a mechanism's release is written down."""
        fields = dict(self.settings["entry"])
        return Entry(self.open(fields.pop("journal")), **fields)

    def claim(self, directory: str | Path) -> None:
        """Write or compare the `settings.json` of a stage's directory."""
        claim_directory(directory, self.settings["stage"])


def run(step: Callable[[Job], None]) -> None:
    """Run a step as the script of a Snakemake rule; exit 1 if it fails."""
    snakemake = sys.modules["__main__"].snakemake
    job = Job(
        rule=snakemake.rule,
        input=snakemake.input,
        output=snakemake.output,
        wildcards=snakemake.wildcards,
        settings=snakemake.params.get("settings", {}),
    )
    log = str(snakemake.log[0])
    terminal = os.dup(2)
    with open(log, "w", buffering=1, encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            step(job)
            return
        except Problem as problem:
            cause = str(problem)
        except Exception as error:
            traceback.print_exc()
            cause = f"{type(error).__name__}: {error}"
        sys.stderr.flush()
        print(f"cause: {cause}", file=sys.stderr, flush=True)
    if zone_of(log) == "sensitive":
        cause = "see the log, which lies in the sensitive zone"
    os.write(terminal, f"{job.rule}: {cause}\nlog: {log}\n".encode())
    sys.exit(1)
