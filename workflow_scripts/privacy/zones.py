"""The privacy boundary: which rule may read which files, by path.

Files live in zones. Only a *mechanism* (which adds noise and writes a ledger) and an *evaluation*
may read the sensitive zone and write outside it; evaluation results are terminal. The boundary is
checked over every rule when the workflow is parsed, before a job runs, and once more at run time
by the one function that opens the sensitive zone.
"""

import inspect
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from workflow_scripts.problems import Problem

ZONES = {
    "sensitive": "results/sensitive/",
    "public": "results/public/",
    "released": "results/runs/",
    "evaluation": "results/evaluation/",
    "report": "results/reports/",
    "logs": "results/logs/",
    "benchmarks": "results/benchmarks/",
    "accounts": "results/accounts/",
    "audits": "results/audits/",
}

# Where mechanisms write down what they are about to release, and that they do.
JOURNAL, ACCOUNTS = "results/sensitive/journal", "results/accounts"

# Rules that read the sensitive zone and release something noisy, with a ledger.
MECHANISMS = frozenset(
    {
        "count_classes",
        "vote",
        "choose_iteration",
        "query_classes",
        "release_central_images",
        "finetune",
    }
)
# Rules that measure against sensitive data and write into the evaluation zone alone.
EVALUATIONS = frozenset(
    {
        "evaluate_utility",
        "evaluate_fidelity",
        "evaluate_iterations",
        "evaluate_real_utility",
        "evaluate_real_fidelity",
    }
)
# Rules that stay inside the sensitive zone.
PREPARATIONS = frozenset({"fetch_sensitive", "prepare_sensitive", "embed_sensitive", "scan"})
# Rules that read files from outside the zones: the private ones, and what the catalogue calls
# public.
SOURCE_READERS = frozenset(
    {"prepare_sensitive", "prepare_public", "fetch_encoder", "fetch_generator"}
)
# Rules that turn metrics into tables: the only readers of the evaluation zone.
REPORTS = frozenset({"collect_metrics", "collect_iterations"})


class BoundaryViolation(Problem):
    """A rule that would carry sensitive data across the boundary; the message says how."""


def zone_of(path: str) -> str | None:
    """The zone of a path or path pattern, None outside all of them.

    The zone must stand in the literal beginning of a pattern: a wildcard there is a violation,
    because it could become any zone.
    """
    path = str(path)
    if ".." not in path:
        # Most are written plainly, and there are many: what follows would find the same.
        for zone, prefix in ZONES.items():
            if path.startswith(prefix):
                return zone
    if ".." in Path(path).parts:
        raise BoundaryViolation(f"{path}: '..' hides where a path leads")
    # `./x`, `a//b` and absolute paths below the working directory are the same files.
    plain = os.path.normpath(path)
    if plain.startswith(os.getcwd() + "/"):
        plain = os.path.relpath(plain)
    for zone, prefix in ZONES.items():
        if plain.startswith(prefix) or plain + "/" == prefix:
            return zone
    first, second, *_ = *Path(plain).parts, "", ""
    if (
        "{" in first
        or (first == "results" and "{" in second)
        or (os.path.isabs(plain) and "{" in path)
    ):
        raise BoundaryViolation(f"{path}: the zone must be literal, not a wildcard")
    if first == "results":
        raise BoundaryViolation(f"{path}: below results, but in no zone ({', '.join(ZONES)})")
    if "{" not in path:
        # Another name of the sensitive zone, through a link, is that zone.
        zone, real = os.path.realpath(ZONES["sensitive"]), os.path.realpath(plain)
        if real == zone or real.startswith(zone + os.sep):
            return "sensitive"
    return None


def is_apart(path: str | Path) -> bool:
    """Whether a path leads neither into the workflow's results nor to a folder above them.

    Each zone may be a link to another place.
    """
    found = Path(os.path.realpath(path))
    for folder in map(Path, map(os.path.realpath, ("results", *ZONES.values()))):
        if folder == found or folder in found.parents or found in folder.parents:
            return False
    return True


def within(*zones: str) -> Callable:
    """Declare the zones that an input function's paths lie in, and hold it to them.

    Snakemake cannot show, when it parses, what an input function will return. A function with
    this decorator says it: the declaration is what the boundary check reads, and a path outside
    the declared zones is an error when the function is called.
    """
    unknown = [zone for zone in zones if zone not in (*ZONES, "source")]
    if unknown or not zones:
        raise ValueError(f"zones are {', '.join(ZONES)} and source, found {unknown}")

    def declare(function: Callable) -> Callable:
        def located(wildcards):
            found = function(wildcards)
            for path in [found] if isinstance(found, str) else found:
                if (zone_of(path) or "source") not in zones:
                    raise BoundaryViolation(
                        f"{function.__name__}: {path} lies outside the declared {zones}"
                    )
            return found

        located.__name__ = function.__name__
        # Snakemake looks at it for every job, and to work it out each time would take longer than
        # the function.
        located.__signature__ = inspect.signature(located)
        located.zones = zones
        return located

    return declare


def check_rule(
    name: str,
    file: str,
    inputs: Iterable,
    outputs: dict[str, str],
    records: Iterable[str],
) -> None:
    """Refuse a rule that could carry sensitive data out.

    Parameters
    ----------
    name, file : str
        Of the rule, for the message.
    inputs : iterable
        Path patterns, and input functions made with `within`.
    outputs : dict
        Output name (or position) → path pattern.
    records : iterable of str
        Patterns of the rule's log and benchmark files.

    Raises
    ------
    BoundaryViolation
    """

    def refuse(reason: str) -> NoReturn:
        raise BoundaryViolation(f"rule {name} ({file}): {reason}")

    def zone(path: str) -> str:
        try:
            return zone_of(path) or "source"
        except BoundaryViolation as violation:
            refuse(str(violation))

    read = set()
    for item in inputs:
        if not callable(item):
            read.add(zone(item))
        elif hasattr(item, "zones"):
            read.update(item.zones)
        else:
            refuse(
                f"input function {getattr(item, '__name__', item)} does not declare its zones; "
                "decorate it with @within(...)"
            )
    written = {zone(path) for path in outputs.values()}
    recorded = {zone(path) for path in records}
    if "evaluation" in read and not (name in REPORTS and written == {"report"}):
        refuse("reads the evaluation zone; only reports may be made from metrics")
    if "report" in read and not written <= {"report"}:
        refuse("reads a report, which is made from metrics; only other reports may")
    if "source" in read and name not in SOURCE_READERS:
        readers = ", ".join(sorted(SOURCE_READERS))
        refuse(f"reads files outside the zones; only {readers} may, as they can be private")
    if "source" in read and name not in PREPARATIONS and written != {"public"}:
        refuse(f"reads public files from outside the zones, so it must write to {ZONES['public']}")
    if name in PREPARATIONS and (written | recorded) != {"sensitive"}:
        refuse("prepares sensitive data, so it must write (log and benchmark too) only there")
    if "sensitive" not in read:
        return
    if recorded != {"sensitive"}:
        refuse("reads the sensitive zone, so its log and benchmark must lie in it")
    # What `scan` finds is in its log: it has no outputs, so nothing can be made from it.
    if written == {"sensitive"} or name in PREPARATIONS:
        return
    if name in MECHANISMS:
        if written != {"released"}:
            refuse(f"is a mechanism, so it must write to {ZONES['released']} alone")
        if "ledger" not in outputs:
            refuse("is a mechanism, so it must have an output named ledger")
    elif name in EVALUATIONS:
        if written != {"evaluation"}:
            refuse(f"is an evaluation, so it must write to {ZONES['evaluation']} alone")
    else:
        refuse(
            "reads the sensitive zone and writes outside it, but is declared neither a mechanism "
            "nor an evaluation"
        )


def check_rules(rules: Iterable) -> None:
    """Check every rule of a Snakemake workflow; to be called after the last include."""
    for rule in rules:
        outputs = {str(i): path for i, path in enumerate(rule.output)}
        outputs |= {name: str(path) for name, path in rule.output.items()}
        benchmark = [rule.benchmark] if rule.benchmark else []
        check_rule(rule.name, rule.snakefile, rule.input, outputs, [*rule.log, *benchmark])


def secure_zone(root: str | Path = ".") -> Path:
    """Create the sensitive zone, readable by its owner alone (mode 0700), and return its path.

    Snakemake's own folder is closed too: it remembers when every job ran and, with other settings
    than ours, checksums of small inputs.
    """
    zone = Path(root) / ZONES["sensitive"]
    for folder in (zone, Path(root) / ".snakemake"):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(stat.S_IRWXU)
    return zone


def open_sensitive(path: str | Path, rule: str) -> Path:
    """The one door to sensitive files at run time.

    Raises
    ------
    BoundaryViolation
        If the rule has not declared that it reads sensitive data, the path lies outside the zone,
        or the zone can be read by others.
    """
    if rule not in MECHANISMS | EVALUATIONS | PREPARATIONS:
        raise BoundaryViolation(f"rule {rule} has not declared that it reads sensitive data")
    if zone_of(path) != "sensitive":
        raise BoundaryViolation(f"rule {rule}: {path} is not in {ZONES['sensitive']}")
    mode = stat.S_IMODE(Path(ZONES["sensitive"]).stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BoundaryViolation(
            f"{ZONES['sensitive']} has mode {mode:o}; it must be 700 (chmod 700 it)"
        )
    return Path(path)
