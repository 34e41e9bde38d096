"""evaluation.yaml: how releases are measured against the sensitive data."""

from typing import Annotated, Literal

from pydantic import Field

from workflow_scripts.configuration.model import Count, Model, Name, Positive


class LogisticClassifier(Model):
    """Multinomial logistic regression on pixels in [0, 1]."""

    kind: Literal["logistic"]
    inverse_regularisation: Positive = 1.0
    max_iterations: Count = 500


class CnnClassifier(Model):
    """A small convolutional network."""

    kind: Literal["cnn"]
    width: Count
    epochs: Count
    batch_size: Count
    learning_rate: Positive


Classifier = Annotated[LogisticClassifier | CnnClassifier, Field(discriminator="kind")]


class Fidelity(Model):
    """How fidelity is measured in an encoder's space."""

    neighbours: Count = 3


class Evaluation(Model):
    """evaluation.yaml"""

    classifiers: dict[Name, Classifier]
    fidelity: Fidelity = Fidelity()
