"""Draw one released image of each class, for every method, ε and iteration."""

import numpy as np

from workflow_scripts.generators.population import load_population
from workflow_scripts.report import figures
from workflow_scripts.step import Job, run


def draw_samples(job: Job) -> None:
    labels, classes, files = job.settings["rows"], job.settings["classes"], job.input.populations
    shards = len(files) // len(labels)
    rows = []
    for i, label in enumerate(labels):
        population = load_population(*files[i * shards : (i + 1) * shards])
        first = [np.flatnonzero(population.labels == c)[0] for c in range(len(classes))]
        rows.append((label, population.images[first]))
    figures.save(figures.sample_grid(rows, classes), job.output.figure)


if __name__ == "__main__":
    run(draw_samples)
