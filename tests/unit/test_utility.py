"""Utility: the classifiers against scikit-learn, and blind to the labels that judge them."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from workflow_scripts.evaluation.utility import accuracy

LOGISTIC = {"kind": "logistic", "inverse_regularisation": 1.0, "max_iterations": 500}
CNN = {"kind": "cnn", "width": 16, "epochs": 12, "batch_size": 32, "learning_rate": 0.004}
QUICK = CNN | {"width": 8, "epochs": 6, "learning_rate": 0.02}


def part(images, labels) -> dict[str, np.ndarray]:
    return {"images": images, "labels": labels.astype(np.int64)}


DIGITS = load_digits()
SPLIT = train_test_split(
    np.round(DIGITS.images * 255 / 16).astype(np.uint8)[..., None],
    DIGITS.target,
    test_size=0.2,
    stratify=DIGITS.target,
    random_state=0,
)
TRAIN, TEST = part(SPLIT[0], SPLIT[2]), part(SPLIT[1], SPLIT[3])
FEW = {name: values[:200] for name, values in TRAIN.items()}


def measure(train, test, settings, seed=0) -> float:
    return accuracy(train, test, settings, classes=10, seed=seed)


@pytest.mark.parametrize("settings", [LOGISTIC, CNN], ids=["logistic", "cnn"])
def test_real_digits_teach_real_digits(settings):
    assert measure(TRAIN, TEST, settings) > 0.93


@pytest.mark.parametrize(("regularisation", "iterations"), [(1.0, 500), (0.01, 500), (1.0, 3)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_logistic_regression_is_that_of_scikit_learn(regularisation, iterations):
    model = LogisticRegression(C=regularisation, max_iter=iterations)
    flat = [x["images"].astype(float).reshape(len(x["labels"]), 64) / 255 for x in (FEW, TEST)]
    predicted = model.fit(flat[0], FEW["labels"]).predict(flat[1])
    settings = LOGISTIC | {"inverse_regularisation": regularisation, "max_iterations": iterations}
    expected = accuracy_score(TEST["labels"], predicted)
    assert measure(FEW, TEST, settings) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("settings", [LOGISTIC, QUICK], ids=["logistic", "cnn"])
def test_the_test_labels_change_the_value_and_nothing_else(settings):
    """What is predicted for an image depends on no label of the test set and no other image."""
    images, n = TEST["images"], len(TEST["labels"])
    # An image is predicted to be of one class: over the ten constant labellings, 1 in total.
    shares = [measure(FEW, part(images, np.full(n, c)), settings) for c in range(10)]
    assert sum(shares) == pytest.approx(1) and min(shares) > 0.01 and max(shares) < 0.4
    # Permuted labels: the value is put together from the ten classes, judged one by one.
    labels = np.random.default_rng(0).permutation(TEST["labels"])
    right = [
        np.sum(labels == c) * measure(FEW, part(images[labels == c], labels[labels == c]), settings)
        for c in range(10)
    ]
    assert measure(FEW, part(images, labels), settings) == pytest.approx(sum(right) / n)


def test_shuffled_training_labels_teach_nothing():
    shuffled = part(FEW["images"], np.random.default_rng(0).permutation(FEW["labels"]))
    # Chance is 0.1 ± 0.016 over 360 test images, and the classifier adds a little spread.
    assert measure(shuffled, TEST, LOGISTIC) < 0.3 < 0.7 < measure(FEW, TEST, LOGISTIC)


def test_a_class_that_is_missing_in_training_is_never_predicted():
    rows = TRAIN["labels"] != 9
    train = part(TRAIN["images"][rows], TRAIN["labels"][rows])
    nines = TEST["labels"] == 9
    assert measure(train, part(TEST["images"][nines], TEST["labels"][nines]), LOGISTIC) == 0
    assert measure(train, TEST, LOGISTIC) > 0.8


def test_the_seed_decides_the_network():
    values = [measure(FEW, TEST, QUICK | {"epochs": 2}, seed) for seed in (0, 0, 1, 2, 3)]
    assert values[0] == values[1] and len(set(values)) > 2


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="'forest'"):
        measure(FEW, TEST, {"kind": "forest"})


def test_a_release_with_one_class_predicts_that_class():
    """A joint histogram can lose all the others."""
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
    train = {"images": images, "labels": np.full(6, 2)}
    test = {"images": images, "labels": np.array([2, 2, 2, 0, 1, 1])}
    settings = {"kind": "logistic", "inverse_regularisation": 1.0, "max_iterations": 5}
    assert accuracy(train, test, settings, classes=3, seed=0) == 0.5
