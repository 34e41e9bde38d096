"""EVALUATION. The accuracy of a classifier trained on every population of a run, t = 0 … T."""

from workflow_scripts.evaluation.utility import accuracy
from workflow_scripts.files import read_arrays, write_json
from workflow_scripts.generators.population import load_population
from workflow_scripts.step import Job, run


def evaluate_iterations(job: Job) -> None:
    settings = job.settings
    test = read_arrays(job.open(job.input.test))
    # The shards of all populations in one list, population after population.
    shards = len(job.input.populations) // (settings["iterations"] + 1)
    values = []
    for first in range(0, len(job.input.populations), shards):
        population = load_population(*job.input.populations[first : first + shards])
        train = {"images": population.images, "labels": population.labels}
        values.append(
            accuracy(
                train,
                test,
                settings["classifier"],
                classes=settings["classes"],
                seed=settings["seed"],
            )
        )
    write_json(job.output.metrics, {f"accuracy_{settings['name']}": values})


if __name__ == "__main__":
    run(evaluate_iterations)
