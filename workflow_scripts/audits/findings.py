"""What an audit found, and what was allowed."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

# Of each check of chance, on correct code. All audits together make fewer than 60 of them, so that
# fewer than 0.6 % of all runs of `snakemake audit` raise a false alarm.
FALSE_ALARM = 1e-4


@dataclass(frozen=True)
class Finding:
    """A number that a check found, and between which it may lie.

    Attributes
    ----------
    mechanism : str
    check : str
        What the number is, in its unit.
    found : float
    highest : float
    lowest : float
        Both included.
    claimed : float or None
        The ε that the mechanism claims, where the check depends on it.
    false_alarm : float
        The probability of a finding that does not pass although the code is right; 0 for a check
        without chance.
    """

    mechanism: str
    check: str
    found: float
    highest: float
    lowest: float = -math.inf
    claimed: float | None = None
    false_alarm: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the number is allowed; one that is not a number is not."""
        return self.lowest <= self.found <= self.highest

    @property
    def allowed(self) -> str:
        """The range in words."""
        if self.lowest == self.highest:
            return f"{self.highest:.6g}"
        if math.isinf(self.lowest):
            return f"at most {self.highest:.6g}"
        low, high = f"{self.lowest:.6g}", f"{self.highest:.6g}"
        return f"{high} ± {self.highest - float(high):.1g}" if low == high else f"{low} to {high}"


def as_json(findings: Iterable[Finding]) -> list[dict]:
    """Findings for a JSON file, which knows no numbers that are not finite."""
    return [{name: _finite(value) for name, value in asdict(f).items()} for f in findings]


def from_json(rows: Iterable[Mapping]) -> list[Finding]:
    """The findings that `as_json` made these rows of."""
    return [
        Finding(
            **{
                **row,
                "found": _number(row["found"]),
                "highest": _number(row["highest"]),
                "lowest": _number(row["lowest"]),
            }
        )
        for row in rows
    ]


def _finite(value):
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | str) -> float:
    return float(value)
