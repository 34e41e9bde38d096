"""RANDOM and VARIATION of any sampler: conditions, randomness and batches in one place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from workflow_scripts.generators.pipelines.batches import Batches
from workflow_scripts.generators.pipelines.loading import PipelineProblem
from workflow_scripts.generators.population import Population
from workflow_scripts.resizing import fit


@dataclass(frozen=True)
class Draws:
    """All the randomness of N images, drawn by NumPy before they are split into batches.

    A torch generator of the CPU takes in 32 bits of its seed only, too few for the noise that an
    image starts from; the seeds are for what is drawn later.

    Attributes
    ----------
    noise : float32 [N, …]
        Standard normal numbers, in the shape that the model denoises.
    seeds : int64 [N]
    """

    noise: np.ndarray
    seeds: np.ndarray

    def take(self, rows: slice) -> "Draws":
        return Draws(self.noise[rows], self.seeds[rows])

    def generators(self) -> list[torch.Generator]:
        """A generator for each image, so that none depends on its neighbours in the batch."""
        return [torch.Generator().manual_seed(seed) for seed in self.seeds.tolist()]


def draw(n: int, shape: tuple[int, ...], rng: np.random.Generator) -> Draws:
    """The randomness of n images: equal on every device."""
    noise = rng.standard_normal((n, *shape), dtype=np.float32)
    return Draws(noise, rng.integers(2**63, size=n))


@dataclass(frozen=True)
class Denoising:
    """How images are denoised.

    Attributes
    ----------
    steps : int
        From pure noise to an image.
    strength : float
        In (0, 1]: the share of the steps that is run, counted from the end.
    guidance : float or None
        Weight of classifier-free guidance (arXiv 2207.12598); None for a model without.
    """

    steps: int
    strength: float
    guidance: float | None

    @property
    def run(self) -> int:
        """The number of steps that is run; at least one."""
        return max(1, round(self.strength * self.steps))


class Sampler(Protocol):
    """A family of pipelines: how noise becomes images.

    Attributes
    ----------
    image : (int, int)
        Size and channels of the images.
    shape : tuple of int
        Of the noise of an image.
    conditions : int
        Conditions that the model knows; 1 if it is unconditional.
    guidance : float or None
        What is used if nothing else is said; None if the model knows no guidance.
    most_steps : int
        The largest number of sampling steps.
    """

    image: tuple[int, int]
    shape: tuple[int, ...]
    conditions: int
    guidance: float | None
    most_steps: int

    def sample(
        self,
        draws: Draws,
        conditions: np.ndarray,
        parents: np.ndarray | None,
        denoising: Denoising,
    ) -> np.ndarray:
        """Images uint8 [N, H, W, C] under their conditions (int64 [N]).

        From pure noise, or from `parents` (uint8 [N, H, W, C]) noised to the first step that is
        run.
        """
        ...


class PipelineGenerator:
    """A sampler as a generator; the state of a sample is its `condition`.

    Parameters
    ----------
    sampler : Sampler
    conditions : int64 [classes] or None
        The model's condition for every label; None draws any of the model's for each image.
    sampling_steps : int
        From pure noise to an image.
    guidance : float or None
        None takes the sampler's own.
    batch_size : int or None
        Images in a batch; None takes all of a call.
    """

    def __init__(
        self,
        sampler: Sampler,
        conditions: np.ndarray | None,
        sampling_steps: int,
        guidance: float | None = None,
        batch_size: int | None = None,
    ):
        self.sampler = sampler
        self.conditions = conditions
        self.settings = {"sampling_steps": sampling_steps}
        if guidance is not None:
            self.settings["guidance"] = guidance
        self.batches = Batches(batch_size)
        self._denoising({})  # says now what would otherwise be said in the first job

    def random(self, labels: np.ndarray, rng: np.random.Generator) -> Population:
        """RANDOM: one image per label (int64 [N])."""
        labels = np.asarray(labels, np.int64)
        return self._sample(labels, self._draw_conditions(labels, rng), None, {}, rng)

    def vary(
        self, population: Population, degree: Mapping[str, float], rng: np.random.Generator
    ) -> Population:
        """VARIATION: one image per sample, under its parent's condition.

        Parameters
        ----------
        degree : mapping
            `strength` in (0, 1]: the share of the sampling steps that is noised away and run
            again, at least one. 1 starts from the noise level of RANDOM. `sampling_steps` and
            `guidance`, if there, stand in for the settings'.
        """
        parents = self._fit(population.images)
        conditions = population.state["condition"]
        return self._sample(population.labels, conditions, parents, degree, rng)

    def adopt(self, population: Population, rng: np.random.Generator) -> Population:
        """The samples of another generator, in this one's shape and under its conditions."""
        conditions = self._draw_conditions(population.labels, rng)
        images = self._fit(population.images)
        return Population(images, population.labels, {"condition": conditions})

    def _draw_conditions(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.conditions is None:
            return rng.integers(self.sampler.conditions, size=len(labels))
        return self.conditions[labels]

    def _fit(self, images: np.ndarray) -> np.ndarray:
        return fit(images, *self.sampler.image)

    def _denoising(self, degree: Mapping[str, float]) -> Denoising:
        values = {"guidance": self.sampler.guidance} | self.settings | dict(degree)
        if self.sampler.guidance is None and values["guidance"] is not None:
            raise PipelineProblem(
                f"guidance: found {values['guidance']:g}; the model has none: leave it out"
            )
        steps, most = int(values["sampling_steps"]), self.sampler.most_steps
        if steps > most:
            raise PipelineProblem(f"sampling_steps: found {steps}; allowed: at most {most}")
        return Denoising(steps, values.get("strength", 1.0), values["guidance"])

    def _sample(
        self,
        labels: np.ndarray,
        conditions: np.ndarray,
        parents: np.ndarray | None,
        degree: Mapping[str, float],
        rng: np.random.Generator,
    ) -> Population:
        denoising = self._denoising(degree)
        draws = draw(len(labels), self.sampler.shape, rng)

        def compute(rows: slice) -> np.ndarray:
            of_rows = None if parents is None else parents[rows]
            return self.sampler.sample(draws.take(rows), conditions[rows], of_rows, denoising)

        if len(labels):
            images = self.batches.run(compute, len(labels))
        else:
            size, channels = self.sampler.image
            images = np.zeros((0, size, size, channels), dtype=np.uint8)
        return Population(images, labels, {"condition": conditions})
