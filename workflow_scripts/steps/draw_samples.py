"""Draw one released image of each class, for every method, ε and iteration."""

import numpy as np

from workflow_scripts.generators.population import StoredPopulation
from workflow_scripts.report import figures
from workflow_scripts.resizing import fit
from workflow_scripts.step import Job, run


def draw_samples(job: Job) -> None:
    classes, image = job.settings["classes"], job.settings["image"]
    rows = []
    for label, folder in job.settings["rows"]:
        population = StoredPopulation.within(folder, job.input.populations)
        # A joint histogram can lose a class, which is then an empty picture.
        first = [np.flatnonzero(population.labels == c)[:1] for c in range(len(classes))]
        images = np.zeros((len(classes), image["size"], image["size"], image["channels"]), np.uint8)
        for c, found in enumerate(first):
            images[c : c + len(found)] = fit(population.take(found).images, **image)
        rows.append((label, images))
    figures.save(figures.sample_grid(rows, classes), job.output.figure)


if __name__ == "__main__":
    run(draw_samples)
