"""Whole numbers in given proportions."""

import math
from collections.abc import Sequence


def divide(total: int, weights: Sequence[float]) -> tuple[int, ...]:
    """`total` in proportion to `weights`, in whole numbers, by largest remainders."""
    shares = [total * weight / sum(weights) for weight in weights]
    counts = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - shares[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return tuple(counts)
