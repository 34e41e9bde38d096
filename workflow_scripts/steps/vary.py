"""VARIATION: a shard of the next population, and its lookahead unless it is the last.

Both are post-processing of released votes. They share a job because starting a foundation model
costs more than running it on a small shard.
"""

from workflow_scripts.encoders import open_encoder
from workflow_scripts.evolution.blocks import blocks_of, look_ahead, vary
from workflow_scripts.files import write_arrays
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.population import load_population, save_population
from workflow_scripts.step import Job, run


def vary_shard(job: Job) -> None:
    settings = job.settings
    generator = open_generator(
        settings["generator"], settings["classes"], job.input.get("pipeline")
    )
    blocks = blocks_of(settings["size"], settings["block_size"], job.wildcards.scatteritem)
    parents = load_population(job.input.parents)
    population = vary(generator, parents, settings["degree"], blocks, settings["identity"])
    save_population(job.output.population, population)
    if "lookahead" in settings:
        embeddings = look_ahead(
            generator,
            open_encoder(settings["encoder"], job.input.get("weights")),
            population,
            settings["next_degree"],
            settings["lookahead"],
            blocks,
            settings["identity"],
        )
        write_arrays(job.output.lookahead, {"embeddings": embeddings, "labels": population.labels})


if __name__ == "__main__":
    run(vary_shard)
