"""Utility: what a classifier trained on synthetic images knows about real ones.

The classifier, its settings and its seed are fixed in advance; nothing is chosen by looking at the
test set.
"""

from collections.abc import Mapping

import numpy as np

# Width of the layer below the head of the convolutional classifier.
EMBEDDING = 64


def accuracy(
    train: Mapping[str, np.ndarray],
    test: Mapping[str, np.ndarray],
    settings: Mapping,
    *,
    classes: int,
    seed: int,
) -> float:
    """Accuracy on `test` of a classifier trained on `train`.

    Parameters
    ----------
    train, test : mapping
        `images` uint8 [N, H, W, C] and `labels` int64 [N].
    settings : mapping
        A classifier of evaluation.yaml.
    classes : int
    seed : int
    """
    if settings["kind"] == "logistic":
        predicted = _logistic(train, test["images"], settings)
    elif settings["kind"] == "cnn":
        predicted = _cnn(train, test["images"], settings, classes, seed)
    else:
        raise ValueError(f"classifier kind: found {settings['kind']!r}")
    return float(np.mean(predicted == test["labels"]))


def _logistic(train: Mapping, images: np.ndarray, settings: Mapping) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    def flat(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1).astype(np.float32) / 255

    found = np.unique(train["labels"])
    if len(found) == 1:
        # A joint histogram can lose all classes but one.
        return np.full(len(images), found[0])
    model = LogisticRegression(
        C=settings["inverse_regularisation"], max_iter=settings["max_iterations"]
    )
    return model.fit(flat(train["images"]), train["labels"]).predict(flat(images))


def _cnn(
    train: Mapping, images: np.ndarray, settings: Mapping, classes: int, seed: int
) -> np.ndarray:
    from workflow_scripts.cnn import apply, train_classifier

    names = ("width", "epochs", "batch_size", "learning_rate")
    network = train_classifier(
        train["images"],
        train["labels"],
        classes,
        dimension=EMBEDDING,
        seed=seed,
        **{name: settings[name] for name in names},
    )
    return apply(network, images).argmax(1)
