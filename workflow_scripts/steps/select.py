"""The parents of the next population, chosen by their noisy votes."""

from workflow_scripts.evolution.selection import select_parents, threshold_in_votes
from workflow_scripts.files import read_arrays, read_json
from workflow_scripts.generators.population import load_population, save_population
from workflow_scripts.randomness import rng_of
from workflow_scripts.step import Job, run


def select(job: Job) -> None:
    settings = job.settings
    released = read_arrays(job.input.votes)
    sigma = read_json(job.input.budget)["noise_multiplier"]
    parents = select_parents(
        released["votes"],
        released["labels"],
        threshold_in_votes(settings["threshold"], sigma),
        settings["selection"],
        rng_of(*settings["identity"], "select"),
    )
    save_population(job.output.parents, load_population(*job.input.population).take(parents))


if __name__ == "__main__":
    run(select)
