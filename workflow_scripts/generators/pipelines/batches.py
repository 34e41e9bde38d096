"""Batches of the size that the GPU's memory holds, found by trying."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")


class Batches:
    """Runs a function over rows in batches; a batch that does not fit is halved, for good.

    Results must not depend on the batches, so randomness is drawn before.

    Parameters
    ----------
    size : int or None
        Rows in the first attempt; None takes all.
    """

    def __init__(self, size: int | None):
        self.size = size

    def run(self, compute: Callable[[slice], np.ndarray], n: int) -> np.ndarray:
        """`compute` of all n ≥ 1 rows, concatenated.

        Parameters
        ----------
        compute : function of a slice of rows
        """
        return np.concatenate(list(self.parts(compute, n)))

    def parts(self, compute: Callable[[slice], T], n: int) -> Iterator[T]:
        """`compute` of one batch after the other, for what is not concatenated."""
        start = 0
        while start < n:
            size = min(self.size or n, n - start)
            try:
                part = compute(slice(start, start + size))
            except torch.cuda.OutOfMemoryError:
                if size == 1:
                    raise
            else:
                yield part
                start += size
                continue
            # After the handler: the error held what the attempt had allocated.
            self.size = size // 2
            torch.cuda.empty_cache()
            print(f"out of GPU memory with a batch of {size}; now {self.size}", flush=True)
