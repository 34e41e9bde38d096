"""What a method says of the data set's classes: names, fractions, and how many images of each."""

from typing import Any

from workflow_scripts.configuration import ConfigurationProblem
from workflow_scripts.plan.catalogue import check_samples, unknown
from workflow_scripts.proportions import divide


def check_classes(settings: Any, classes: tuple[str, ...], where: str) -> None:
    """Refuse names of classes that the data set does not have."""
    for key in ("class_names", "class_fractions"):
        named = getattr(settings, key, None)
        for class_name in named if isinstance(named, dict) else ():
            if class_name not in classes:
                raise unknown(f"{where}.{key}", class_name, classes)


def fractions_of(declared: Any, classes: tuple[str, ...], where: str) -> tuple[float, ...]:
    """Weights of the classes, as declared: `uniform`, or a number for each."""
    if declared == "uniform":
        return (1.0,) * len(classes)
    for class_name in classes:
        if class_name not in declared:
            raise ConfigurationProblem(
                f"{where}.class_fractions.{class_name}: missing; every class needs a fraction"
            )
    return tuple(declared[class_name] for class_name in classes)


def counts_of(
    samples: int, fractions: tuple[float, ...], classes: tuple[str, ...], where: str
) -> tuple[int, ...]:
    """`samples` images, divided by the fractions, at least one of each class."""
    check_samples(samples, len(classes), f"{where}.samples")
    counts = divide(samples, fractions)
    if 0 in counts:
        empty = counts.index(0)
        raise ConfigurationProblem(
            f"{where}.class_fractions.{classes[empty]}: found {fractions[empty]}, which rounds "
            f"to no image of {samples}; allowed: a fraction that gives at least one"
        )
    return counts
