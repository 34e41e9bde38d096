"""Render a public data set with a simulator: RANDOM, the same number for every class."""

from pathlib import Path

import numpy as np

from workflow_scripts.files import write_arrays
from workflow_scripts.generators import open_generator
from workflow_scripts.proportions import divide
from workflow_scripts.randomness import rng_of
from workflow_scripts.resizing import fit
from workflow_scripts.step import Job, run


def render_public(job: Job) -> None:
    classes, source = job.settings["classes"], job.settings["source"]
    simulator = open_generator(job.settings["generator"], classes)
    counts = divide(source["samples"], [1.0] * len(classes))
    labels = np.repeat(np.arange(len(classes)), counts)
    rendered = simulator.random(labels, rng_of(*job.settings["identity"], "render"))
    job.claim(Path(job.output.images).parent)
    arrays = {"images": fit(rendered.images, **job.settings["image"]), "labels": rendered.labels}
    write_arrays(job.output.images, arrays, {"classes": classes})


if __name__ == "__main__":
    run(render_public)
