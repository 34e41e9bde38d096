"""Which iteration's population is released, where the sensitive images choose it.

A classifier is trained on every candidate population and asked for the labels of the sensitive
training images; of how many it labels rightly nothing is read but which number is the largest, by
report-noisy-max. One record adds 0 or 1 to each number, so under zero-out no number moves by more
than 1 and all move in the same direction. Exponential noise of scale 1 / ε on each then makes the
index of the largest (ε, 0)-DP: it is permute-and-flip (McKenna and Sheldon, arXiv 2010.12603), by
its equivalence with exponential noise (Ding et al., arXiv 2105.07260).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workflow_scripts.evaluation.utility import accuracy
from workflow_scripts.privacy.events import SelectionEvent
from workflow_scripts.privacy.noise import Noise


@dataclass(frozen=True)
class NoisyMaximum:
    """Reads which of some scores is the largest, where a record adds 0 or 1 to each.

    Attributes
    ----------
    epsilon : float
        What it costs; positive. The noise on every score has scale 1 / ε.
    candidates : int
        How many scores there are, at least 2.
    """

    epsilon: float
    candidates: int

    def __post_init__(self):
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"epsilon must be a positive number, found {self.epsilon}")
        if self.candidates < 2:
            raise ValueError(f"candidates must be at least 2, found {self.candidates}")

    @property
    def event(self) -> SelectionEvent:
        """What a release costs."""
        return SelectionEvent(self.epsilon, sensitivity=1.0, candidates=self.candidates)

    def release(self, scores: np.ndarray, noise: Noise) -> tuple[np.ndarray, SelectionEvent]:
        """The index of the noisy maximum (int64 [1]) and what it costs, together."""
        if scores.dtype != np.int64 or scores.shape != (self.candidates,):
            raise ValueError(
                f"scores must be int64 [{self.candidates}], found {scores.dtype} "
                f"{list(scores.shape)}"
            )
        return np.array([noise.largest(scores, 1 / self.epsilon)], dtype=np.int64), self.event


def right_answers(
    private: Mapping[str, np.ndarray],
    populations: Iterable[Mapping[str, np.ndarray]],
    classifier: Mapping,
    classes: int,
    seeds: Sequence[int],
) -> np.ndarray:
    """Clean scores. SENSITIVE: for `choose` alone, never to be stored.

    Parameters
    ----------
    private : mapping
        `images` uint8 [N, H, W, C] and `labels` int64 [N] of the sensitive training set.
    populations : iterable of mappings
        The same of every candidate, in the shape of the sensitive images; one is held at a time.
    classifier : mapping
        A classifier of evaluation.yaml.
    classes : int
    seeds : sequence of int
        Of the training on each candidate.

    Returns
    -------
    int64 [n]
        For each candidate, how many sensitive images its classifier labels rightly.

    Notes
    -----
    The sensitivity supposes that an image's answer is its own. Sums of floating-point numbers
    depend on the batch in their last bits, which matters to an image between two classes that are
    that close.
    """
    shares = [
        accuracy(population, private, classifier, classes=classes, seed=seed)
        for population, seed in zip(populations, seeds, strict=True)
    ]
    # A share is a number of images over N; rounding takes back what the division lost.
    return np.rint(np.array(shares) * len(private["labels"])).astype(np.int64)


def choose(
    private: Mapping[str, np.ndarray],
    populations: Iterable[Mapping[str, np.ndarray]],
    mechanism: NoisyMaximum,
    noise: Noise,
    classifier: Mapping,
    classes: int,
    seeds: Sequence[int],
) -> tuple[np.ndarray, SelectionEvent]:
    """The index of the best population and its privacy event: the mechanism of the choice.

    Arguments are those of `right_answers`.

    Returns
    -------
    (int64 [1], SelectionEvent)
    """
    scores = right_answers(private, populations, classifier, classes, seeds)
    return mechanism.release(scores, noise)
