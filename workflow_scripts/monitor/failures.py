"""Why a job failed, in a few lines: the step's own cause, else the signal that ended it.

What lies in the sensitive zone is never read here: of a rule that reads private data only the path
of the log is shown.
"""

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.files import NO_SPACE
from workflow_scripts.interruption import EXIT_STATUS
from workflow_scripts.privacy.zones import zone_of
from workflow_scripts.step import FULL_DISK_STATUS

# Failures that are shown whole, and names where there are many.
SHOWN, NAMED = 10, 3
# Lines of a cause.
LINES = 20
# A log that is this much older than its job is an earlier one's (clocks of machines differ).
STALE = 5.0
TAIL = 64 * 1024

# What a step says with its exit status, for where its log is not read.
STATUSES = {EXIT_STATUS: "interrupted", FULL_DISK_STATUS: "no space left on the disk"}
SEE_LOG = "see the log, which lies in the sensitive zone"
_SIGNAL = re.compile(r"died with <Signals\.(\w+): \d+>")
_STATUS = re.compile(r"non-zero exit status (\d+)")
_SCHEDULER = re.compile(r"status is: '?(\w+)")
# What the Slurm executor says of a job that never became one.
_REFUSED = (
    re.compile(r"sbatch failed\. The error message was '(.*?)'\.$", re.DOTALL | re.MULTILINE),
    re.compile(
        r"submission failed with exception: (.*?)(?:For further error details|$)", re.DOTALL
    ),
)


@dataclass(frozen=True)
class Failure:
    """One job that failed.

    Attributes
    ----------
    rule, about : str
        Of the job, as in `tally.Job`.
    cause : str
    log : str
        Its path; empty if the job has none.
    """

    rule: str
    about: str
    cause: str
    log: str

    @property
    def title(self) -> str:
        return f"{self.rule}  {self.about}".rstrip()


def cause_of(log: str, began: float, said: str) -> str:
    """Why a job failed.

    Parameters
    ----------
    log : str
        Path of the rule's log; empty if there is none.
    began : float
        When the job began, in seconds since 1970. An older log is not this job's.
    said : str
        What Snakemake or the scheduler said of the failure.
    """
    if log and zone_of(log) == "sensitive":
        found = SEE_LOG if _is_recent(log, began) else ""
        ended = _ended_by(said)
        return f"{ended}; {SEE_LOG}" if ended and found else ended or found or _wordless(said)
    return _logged_cause(log, began) or _ended_by(said) or _wordless(said)


def refused(said: str) -> str:
    """The cause if Slurm did not take a job, which then wrote no log; else empty."""
    for pattern in _REFUSED:
        if found := pattern.search(said):
            return f"not submitted: {found[1].strip()}"
    return ""


def was_interrupted(said: str) -> bool:
    """Whether Ctrl-C ended a job: the terminal sends it to jobs too, not to Snakemake alone."""
    return _ended_by(said).endswith("(SIGINT)")


def _is_recent(log: str, began: float) -> bool:
    try:
        return Path(log).stat().st_mtime >= began - STALE
    except OSError:
        return False


def _logged_cause(log: str, began: float) -> str:
    """The `cause: …` with which a step's log ends; it may have several lines."""
    if not log or not _is_recent(log, began):
        return ""
    try:
        with open(log, "rb") as file:
            file.seek(max(Path(log).stat().st_size - TAIL, 0))
            text = "\n" + file.read().decode(errors="replace")
    except OSError:
        return ""
    _, found, cause = text.rpartition("\ncause: ")
    return cause.strip() if found else ""


def _ended_by(said: str) -> str:
    """The signal, or the scheduler's word, that ended a job without one of its own."""
    if re.search(NO_SPACE, said):
        return STATUSES[FULL_DISK_STATUS]
    if found := _SCHEDULER.search(said):
        return "" if found[1] == "FAILED" else f"the scheduler says {found[1]}"
    name = ""
    if found := _SIGNAL.search(said):
        name = found[1]
    elif (found := _STATUS.search(said)) and int(found[1]) in STATUSES:
        return STATUSES[int(found[1])]
    elif (found := _STATUS.search(said)) and int(found[1]) > 128:
        try:
            name = signal.Signals(int(found[1]) - 128).name
        except ValueError:
            return ""
    if name == "SIGKILL":
        return "killed (SIGKILL) without a word, as the kernel does where memory is short"
    return f"ended by a signal ({name})" if name else ""


def _wordless(said: str) -> str:
    if "missing" in said.lower() and "output" in said.lower():
        return "it ended well, but files that it should have written are not there"
    return "it ended without a word; what it printed before, if anything, is above"


def first_few(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return "; ".join(name for name in names[:NAMED] if name) + more


def report(failures: Iterable[Failure]) -> list[str]:
    """What stands last on the screen: a block for each failure, like ones together."""
    alike: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        # Causes of sensitive logs are all alike, but their logs differ.
        key = (failure.rule, failure.log if SEE_LOG in failure.cause else failure.cause)
        alike.setdefault(key, []).append(failure)
    lines = []
    for (rule, _), group in list(alike.items())[:SHOWN]:
        first = group[0]
        lines += ["", f"{rule}  {first_few([failure.about for failure in group])}".rstrip()]
        cause, *rest = [line.rstrip() for line in first.cause.splitlines()]
        if len(rest) > LINES:
            rest[LINES:] = ["… the log has the rest"]
        lines += [f"  cause: {cause}", *(f"         {line}" for line in rest)]
        lines += [f"  log:   {failure.log}" for failure in group[:NAMED] if failure.log]
    if len(alike) > SHOWN:
        lines += ["", f"and {len(alike) - SHOWN} more kinds of failures"]
    return lines
