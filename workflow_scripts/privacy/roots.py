"""Roots of functions of one number."""

from collections.abc import Callable


def root(function: Callable[[float], float], low: float, high: float, **tolerances) -> float:
    """Where a function is 0 between two numbers at which it has different signs (Brent).

    `xtol` and `rtol` are those of `scipy.optimize.brentq`.
    """
    # Here, because it takes half a second to import, and few of the jobs that account need it.
    from scipy.optimize import brentq

    return brentq(function, low, high, **tolerances)
