"""The parents of the next population, chosen by their noisy votes, and what those votes say."""

import math

import numpy as np

from workflow_scripts.evolution.class_counts import sizes_of
from workflow_scripts.evolution.diagnostics import diagnose
from workflow_scripts.evolution.selection import (
    ballots,
    check_candidates,
    select_parents,
    threshold_in_votes,
)
from workflow_scripts.files import read_arrays, read_json, write_json
from workflow_scripts.generators.population import StoredPopulation, save_population
from workflow_scripts.randomness import rng_of
from workflow_scripts.step import Job, run


def select(job: Job) -> None:
    settings = job.settings
    released = read_arrays(job.input.votes)
    population = StoredPopulation(*job.input.population)
    found = [block.brightness for block in population.blocks()]
    check_candidates(released["brightness"], np.concatenate(found))
    votes, sizes = released["votes"] / math.sqrt(settings["neighbours"]), settings["selected"]
    sigma = read_json(job.input.budget)["noise_multiplier"]
    threshold = threshold_in_votes(settings["threshold"], sigma)
    if counts := job.input.get("class_counts"):
        sizes = sizes_of(read_arrays(counts)["counts"], sizes)
    competing = ballots(released["labels"], sizes)
    rng = rng_of(*settings["identity"], "select")
    parents = select_parents(votes, competing, threshold, settings["selection"], rng)
    save_population(job.output.parents, population.blocks(parents), len(parents))
    write_json(job.output.diagnostics, diagnose(votes, competing, parents, threshold, sigma))


if __name__ == "__main__":
    run(select)
