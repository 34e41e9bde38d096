"""All findings as one table, and the verdict."""

from collections.abc import Sequence

import pandas as pd

from workflow_scripts.audits.findings import Finding
from workflow_scripts.problems import Problem

PASSED, FAILED = "pass", "FAIL"


class AuditFailed(Problem):
    """A mechanism does something else than it claims; the message names the checks."""


def as_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """A row for each finding: mechanism, check, claimed ε, found, allowed, verdict, false alarm."""
    return pd.DataFrame(
        {
            "mechanism": finding.mechanism,
            "check": finding.check,
            "claimed_epsilon": "" if finding.claimed is None else f"{finding.claimed:.4g}",
            "found": f"{finding.found:.6g}",
            "allowed": finding.allowed,
            "verdict": PASSED if finding.passed else FAILED,
            "false_alarm": f"{finding.false_alarm:g}",
        }
        for finding in findings
    )


def as_markdown(findings: Sequence[Finding]) -> str:
    """The table for people, and how far to trust it."""
    rows = as_table(findings)
    alarms = sum(finding.false_alarm for finding in findings)
    failed = sum(not finding.passed for finding in findings)
    lines = [
        "# Audits of the privacy mechanisms",
        "",
        f"{len(findings)} checks, {failed} failed. Correct code fails one of them with a "
        f"probability of {alarms:.2g} at most.",
        "",
        "| mechanism | check | claimed ε | found | allowed | verdict |",
        "|---|---|---|---|---|---|",
        *("| " + " | ".join(row[:6]) + " |" for row in rows.itertuples(index=False)),
        "",
    ]
    return "\n".join(lines)


def check_verdicts(findings: Sequence[Finding]) -> None:
    """Refuse findings of which some do not pass.

    Raises
    ------
    AuditFailed
    """
    failed = [finding for finding in findings if not finding.passed]
    if failed:
        named = (
            f"{f.mechanism}: {f.check}: found {f.found:.6g}; allowed: {f.allowed}" for f in failed
        )
        raise AuditFailed("\n".join(["audits failed", *named]))
