"""What the configuration files may say, and one message when they say something else.

Named things are defined once, in catalogue files (`datasets.yaml`, `generators.yaml`,
`encoders.yaml`, `methods.yaml`, `evaluation.yaml`), each with a module here; an experiment is a
grid over those names. Everything is validated here, before Snakemake builds a single job; the
errors name the file, the key, what was found and what is allowed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow_scripts.configuration.datasets import Datasets
from workflow_scripts.configuration.encoders import Encoder
from workflow_scripts.configuration.evaluation import Evaluation
from workflow_scripts.configuration.experiment import Experiment
from workflow_scripts.configuration.generators import Generator
from workflow_scripts.configuration.model import Name
from workflow_scripts.configuration.reading import ConfigurationProblem, read_yaml, validate


@dataclass(frozen=True)
class Configuration:
    """The catalogue and the experiment, each validated on its own."""

    experiment: Experiment
    source: str
    datasets: Datasets
    generators: dict[str, Generator]
    encoders: dict[str, Encoder]
    methods: dict[str, dict[str, Any]]
    evaluation: Evaluation
    files: dict[str, str] = field(default_factory=dict)


def load_configuration(folder: str | Path, experiment: Mapping, source: str) -> Configuration:
    """Read the catalogue in `folder` and validate it and the experiment.

    Parameters
    ----------
    folder : path
        Where the catalogue files lie.
    experiment : mapping
        The experiment's keys, as Snakemake holds them.
    source : str
        The file that the experiment came from, for messages.

    Raises
    ------
    ConfigurationProblem
        For the first file with errors, one line an error.
    """
    folder = Path(folder)
    files = {
        name: str(folder / f"{name}.yaml")
        for name in ("datasets", "generators", "encoders", "methods", "evaluation")
    }
    content = {name: read_yaml(path) for name, path in files.items()}
    methods = content["methods"]
    for name, entry in methods.items():
        if not isinstance(entry, dict):
            raise ConfigurationProblem(
                f"{files['methods']}, {name}: found {entry!r}; allowed: a mapping of settings"
            )
    return Configuration(
        experiment=validate(Experiment, dict(experiment), source),
        source=source,
        datasets=validate(Datasets, content["datasets"], files["datasets"]),
        generators=validate(dict[Name, Generator], content["generators"], files["generators"]),
        encoders=validate(dict[Name, Encoder], content["encoders"], files["encoders"]),
        methods=methods,
        evaluation=validate(Evaluation, content["evaluation"], files["evaluation"]),
        files=files,
    )
