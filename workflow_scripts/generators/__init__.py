"""Generators: black boxes with RANDOM and VARIATION (arXiv 2305.15560).

A generator has two methods, which take and return populations in one order:

- `random(labels, rng) -> Population`
- `vary(population, degree, rng) -> Population`, where `degree` maps the generator's own names
  (`strength`, `rotation`, …) to numbers; a larger number is a stronger variation.

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
    settings: Mapping, classes: Sequence[str], model: str | None = None
) -> Generator:
    """The generator of a catalogue entry.

    Parameters
    ----------
    settings : mapping
        The entry's settings.
    classes : sequence of str
        The generator's class for every label of the sensitive data set.
    model : path, optional
        The trained model's folder, for the kinds that have one.
    """
    match settings["kind"]:
        case "text":
            from workflow_scripts.generators.text import TextSimulator

            names = ("image_size", "supersampling", "fonts", "size", "rotation", "stroke", "shift")
            return TextSimulator(classes, **{name: settings[name] for name in names})
        case "diffusion":
            # torch and diffusers take ten seconds to import: only where a model runs.
            from workflow_scripts.generators.diffusion import DiffusionGenerator

            return DiffusionGenerator(model, classes, settings["sampling_steps"])
    raise ValueError(f"generator kind: found {settings['kind']!r}")
