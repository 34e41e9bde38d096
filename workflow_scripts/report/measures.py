"""What a metric is called, which way is better, and how its values are printed.

A metric is named ``measure`` or ``measure_where``: ``fid``, ``accuracy_cnn``,
``frechet_glyph-cnn``. `MEASURES` says how each measure is printed. Names of the same form,
``generated_glyph-cnn`` and ``reference_glyph-cnn``, carry the sample sizes of a fidelity
measurement: facts about it, not measures.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from statistics import median

DASH = "–"
SAMPLE_SIZE = re.compile(r"^(?P<side>generated|reference)_(?P<encoder>.+)$")

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Measure:
    """How a measure is printed.

    Attributes
    ----------
    title : str
        What a heading says.
    direction : int
        1 if higher is better, -1 if lower is better, 0 if neither (no arrow, nothing in bold).
    kind : str
        ``percent`` (a fraction printed in percent, one decimal), ``fraction`` (two decimals) or
        ``distance`` (three significant digits).
    where : str
        The encoder, if the measure implies it.
    """

    title: str
    direction: int = 0
    kind: str = "distance"
    where: str = ""

    @property
    def arrow(self) -> str:
        return {1: " ↑", -1: " ↓", 0: ""}[self.direction]


MEASURES = {
    "accuracy": Measure("Accuracy", 1, "percent"),
    "frechet": Measure("Fréchet", -1),
    "kernel": Measure("Kernel", -1),
    "fid": Measure("FID", -1, where="Inception"),
    "precision": Measure("Precision", 1, "fraction"),
    "recall": Measure("Recall", 1, "fraction"),
}
CLASSIFIERS = {"logistic": "logistic", "cnn": "CNN"}


def measure_of(metric: str) -> tuple[Measure, str]:
    """Split a metric's name into its measure and where it is measured.

    Parameters
    ----------
    metric : str
        For example ``accuracy_cnn``.

    Returns
    -------
    tuple of Measure and str
        The measure, and the classifier or the encoder (empty if the name has none). A measure
        that is not in ``MEASURES`` has no direction and keeps its whole name as title.
    """
    name, _, where = metric.partition("_")
    if name not in MEASURES:
        return Measure(metric), ""
    measure = MEASURES[name]
    if measure.kind == "percent":
        where = CLASSIFIERS.get(where, where)
    return measure, where or measure.where


def encoders(metrics: Iterable[str]) -> list[str]:
    """The encoders that metrics name, in order of first appearance; FID's goes without saying."""
    found = [measure_of(metric) for metric in metrics]
    named = [where for m, where in found if m.kind != "percent" and where != m.where]
    return list(dict.fromkeys(named))


@dataclass(frozen=True)
class Scale:
    """How the values of one column are printed: in one unit, with the same decimals."""

    decimals: int = 2
    factor: float = 1.0
    unit: str = ""

    def rounded(self, value: float) -> float:
        # Adding zero turns -0.0 into 0.0.
        return round(float(value) * self.factor, self.decimals) + 0.0

    def printed(self, value: float) -> str:
        if math.isnan(value):
            return DASH
        return f"{self.rounded(value):.{self.decimals}f}".replace("-", "−")


def scale_of(measure: Measure, values: Iterable[float]) -> Scale:
    """Choose unit and decimals for the values of one column.

    Parameters
    ----------
    measure : Measure
    values : iterable of float
        The values to print well; zero, NaN and infinity are ignored.

    Returns
    -------
    Scale
        For a distance, three significant digits of the smallest value (or, if that is far from
        the others, of a third of the middle one), at most five of the largest. If the largest is
        below 0.1 or has five digits before the point, the unit is a power of 1000.
    """
    if measure.kind == "percent":
        return Scale(1, 100.0, "%")
    sizes = [abs(v) for v in values if 0 < abs(v) < math.inf]
    if measure.kind == "fraction" or not sizes:
        return Scale()
    small, middle, large = (math.log10(v) for v in (min(sizes), median(sizes), max(sizes)))
    power = 0 if -1 <= large < 4 else 3 * math.floor(large / 3)
    decimals = 2 - math.floor(max(small, middle - 0.5) - power)
    decimals = max(min(decimals, 4 - math.floor(large - power)), 0)
    return Scale(decimals, 10.0**-power, f"10{superscript(power)}" if power else "")


def superscript(number: int) -> str:
    return str(number).translate(_SUPERSCRIPTS)


# Numbers of the privacy statement, rounded up: what was spent is never understated.


def printed_epsilon(epsilon: float) -> str:
    """ε as asked for."""
    return "∞" if math.isinf(epsilon) else f"{epsilon:g}"


def printed_epsilon_spent(epsilon: float) -> str:
    """ε as spent, to four significant digits."""
    if math.isnan(epsilon):
        return DASH
    if epsilon == 0 or math.isinf(epsilon):
        return printed_epsilon(epsilon)
    # The accountant's tolerance, 1e-6, must not turn 1 into 1.001.
    return f"{_round_up(epsilon * (1 - 1e-6), 4):f}"


def printed_delta(delta: float) -> str:
    """δ to two significant digits, such as 1.1×10⁻⁴."""
    if math.isnan(delta):
        return DASH
    if delta == 0:
        return "0"
    digits, power = f"{_round_up(delta, 2):.1e}".split("e")
    return f"{digits}×10{superscript(int(power))}"


def _round_up(value: float, digits: int) -> Decimal:
    return Context(prec=digits, rounding=ROUND_CEILING).plus(Decimal(repr(float(value))))
