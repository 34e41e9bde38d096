"""EVALUATION. The accuracy of a classifier trained on the populations of a run, by iteration."""

import numpy as np

from workflow_scripts.evaluation.utility import accuracy
from workflow_scripts.files import read_arrays, write_json
from workflow_scripts.generators.population import StoredPopulation
from workflow_scripts.resizing import fit
from workflow_scripts.step import Job, run


def evaluate_iterations(job: Job) -> None:
    settings, files = job.settings, job.input.populations
    test = read_arrays(job.open(job.input.test))
    values = {}
    for t, folder in settings["populations"].items():
        population = StoredPopulation.within(folder, files)
        images = [fit(block.images, **settings["image"]) for block in population.blocks()]
        values[t] = accuracy(
            {"images": np.concatenate(images), "labels": population.labels},
            test,
            settings["classifier"],
            classes=settings["classes"],
            seed=settings["seed"],
        )
    write_json(job.output.metrics, {f"accuracy_{settings['name']}": values})


if __name__ == "__main__":
    run(evaluate_iterations)
