"""The semantic query of PrivImage: the step that asks which public classes to learn from.

A public classifier names the k public classes that each sensitive image resembles most; a count of
them is released for every pair of a sensitive and a public class (Li et al., arXiv 2311.12850,
§ 4.1). One record adds 1 to k different cells, so the L2 sensitivity of the whole table is √k under
zero-out, however many classes there are. The published code, until November 2024, drew its noise
uniformly from [0, √k·σ), which is no Gaussian mechanism; this is one.
"""

import numpy as np

from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import DiscreteGaussianEvent
from workflow_scripts.privacy.noise import Noise
from workflow_scripts.progress import Progress
from workflow_scripts.semantic.classifier import Classifier
from workflow_scripts.shards import Shards


def semantic_histogram(
    private: Shards, classifier: Classifier, sensitive_classes: int, public_classes: int, k: int
) -> np.ndarray:
    """Clean counts. SENSITIVE: for `release_query` alone, never to be stored.

    Parameters
    ----------
    private : Shards
        `images` uint8 [N, H, W, C] and `labels` int64 [N] of the sensitive data set.
    classifier : callable
        What `open_classifier` returns.
    sensitive_classes, public_classes : int
        C and P.
    k : int
        How many public classes an image names, 1 to P.

    Returns
    -------
    int64 [C, P]
        A row for each sensitive class.

    Notes
    -----
    The sensitivity supposes that an image's logits are its own. A network's depend on the batch in
    their last bits (10⁻⁵), which matters to an image whose k-th and next logit are that close.
    """
    if not 1 <= k <= public_classes:
        raise ValueError(f"k: found {k}; allowed: 1 to {public_classes}, the public classes")
    counts = np.zeros(sensitive_classes * public_classes, dtype=np.int64)
    progress = Progress(len(private), "images")
    for block in private.blocks(None, "images", "labels"):
        labels = block["labels"]
        if not np.isin(labels, np.arange(sensitive_classes)).all():
            raise ValueError(f"labels: found others than 0 to {sensitive_classes - 1}")
        logits = classifier(block["images"])
        if logits.shape != (len(labels), public_classes):
            raise ValueError(
                f"logits: found {list(logits.shape)}; expected {[len(labels), public_classes]}"
            )
        cells = labels[:, None] * public_classes + most_alike(logits, k)
        counts += np.bincount(cells.ravel(), minlength=len(counts))
        progress.add(len(labels))
    return counts.reshape(sensitive_classes, public_classes)


def most_alike(logits: np.ndarray, k: int) -> np.ndarray:
    """int64 [N, k]: the columns of the k largest of each row's logits float32 [N, P].

    Always k different columns, whatever the numbers are: of equal ones the first, and NaN last.
    """
    return np.argsort(-logits, axis=1, kind="stable")[:, :k]


def release_query(
    private: Shards,
    classifier: Classifier,
    sensitive_classes: int,
    public_classes: int,
    mechanism: DiscreteGaussianMechanism,
    noise: Noise,
) -> tuple[np.ndarray, DiscreteGaussianEvent]:
    """The noisy counts and their privacy event: the mechanism of the query.

    Noise of scale σ√k falls on every count. Arguments are those of `semantic_histogram`; k is the
    number of counts that a record changes, by the mechanism.

    Returns
    -------
    (int64 [C, P], DiscreteGaussianEvent)
    """
    k = mechanism.counts
    counts = semantic_histogram(private, classifier, sensitive_classes, public_classes, k)
    return mechanism.release(counts, noise)
