"""Generators: black boxes with RANDOM and VARIATION (arXiv 2305.15560).

A generator takes and returns populations in one order:

- `random(labels, rng) -> Population`
- `vary(population, degree, rng) -> Population`, where `degree` maps the generator's own names
  (`strength`, `rotation`, …) to numbers; a larger number is a stronger variation.
- `adopt(population, rng) -> Population`, for generators that can continue from another one's
  images (in a schedule of generators): the same samples with this generator's state.

Nothing else is asked of it, so a simulator and a foundation model are the same to the workflow.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from workflow_scripts.generators.population import Population


class Generator(Protocol):
    """What Private Evolution needs of a generator."""

    def random(self, labels: np.ndarray, rng: np.random.Generator) -> Population: ...

    def vary(
        self, population: Population, degree: Mapping[str, float], rng: np.random.Generator
    ) -> Population: ...


def open_generator(
    settings: Mapping,
    classes: Sequence[str],
    files: Sequence[str] = (),
    cache: str | None = None,
) -> Generator:
    """The generator of a catalogue entry.

    Modules are imported where they are needed: torch and diffusers take ten seconds.

    Parameters
    ----------
    settings : mapping
        The entry's settings.
    classes : sequence of str
        The generator's class for every label of the sensitive data set.
    files : sequence of path
        What the workflow made or fetched for it: a pipeline's folder, a pool's images and index.
    cache : path, optional
        A folder for answers of a remote model, so that none is paid for twice.
    """
    match settings["kind"]:
        case "text":
            from workflow_scripts.generators.text import TextSimulator

            return TextSimulator(classes, settings)
        case "avatar":
            from workflow_scripts.generators.avatar import AvatarSimulator

            return AvatarSimulator(settings)
        case "pool":
            from workflow_scripts.generators.pool import ImagePool

            return ImagePool(classes, settings, *files)
        case "diffusion" | "edm" | "diffusers":
            from workflow_scripts.generators.pipelines import open_pipeline

            return open_pipeline(*files, classes, settings)
        case "api":
            from workflow_scripts.generators.api import RemoteModel

            return RemoteModel(classes, settings, cache)
        case "python":
            from workflow_scripts.generators.plugin import open_user_generator

            return open_user_generator(settings, classes)
    raise ValueError(f"generator kind: found {settings['kind']!r}")
