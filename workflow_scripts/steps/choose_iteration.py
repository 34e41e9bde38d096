"""MECHANISM. Which iteration's population is released, chosen once and for all."""

import numpy as np

from workflow_scripts.evolution.choice import NoisyMaximum, choose
from workflow_scripts.files import digest, read_arrays, write_json
from workflow_scripts.generators.population import StoredPopulation
from workflow_scripts.privacy.budget import read_budget
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.randomness import seed_of
from workflow_scripts.resizing import fit
from workflow_scripts.step import Job, run


def choose_iteration(job: Job) -> None:
    settings, entry = job.settings, job.entry
    read_budget(job.input.budget, settings)
    iterations = [t for t, _ in settings["candidates"]]
    mechanism = NoisyMaximum(settings["choice_epsilon"], len(iterations))
    private = read_arrays(job.open(job.input.train))

    def draw():
        populations = (_fitted(job, folder) for _, folder in settings["candidates"])
        chosen = choose(
            private,
            populations,
            mechanism,
            noise_of(entry.noise_source, entry.identity),
            settings["classifier"],
            settings["classes"],
            [seed_of("choice", entry.identity, t) for t in iterations],
        )
        return *chosen, {}

    release = entry.release_once(
        mechanism.event,
        inputs={
            "sensitive images": digest(private["images"], private["labels"]),
            "iterations": str(iterations),
            "classifier": str(settings["classifier"]),
            "epsilon": str(mechanism.epsilon),
        },
        draw=draw,
    )
    print("replayed from the journal" if release.replayed else "drawn")
    (best,) = release.values
    write_json(job.output.choice, {"iteration": iterations[best], "candidates": iterations})
    write_json(job.output.ledger, release.ledger("choose_iteration"))


def _fitted(job: Job, folder: str) -> dict[str, np.ndarray]:
    """The population in a folder, in the shape of the sensitive images."""
    population = StoredPopulation.within(folder, job.input.populations)
    images = [fit(block.images, **job.settings["image"]) for block in population.blocks()]
    return {"images": np.concatenate(images), "labels": population.labels}


if __name__ == "__main__":
    run(choose_iteration)
