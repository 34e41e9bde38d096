"""VARIATION: a shard of the next population, and its lookahead unless it is the last.

Both are post-processing of released votes. They share a job because starting a foundation model
costs more than running it on a small shard. Where the next iteration has another generator, the
population is handed over to it.
"""

from pathlib import Path

from workflow_scripts.encoders import open_encoder
from workflow_scripts.evolution.blocks import blocks_of, hand_over, look_ahead, rows_of, vary
from workflow_scripts.files import write_rows
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.population import StoredPopulation, save_population
from workflow_scripts.step import Job, run


def vary_shard(job: Job) -> None:
    settings = job.settings
    answers = Path(job.output.population).parent / "answers"
    generator = open_generator(settings["generator"], settings["classes"], job.input.model, answers)
    blocks = blocks_of(settings["selected"], settings["block_size"], job.wildcards.scatteritem)
    copies = settings["fold"] + settings["keep_selected"]
    rows, identity = rows_of(blocks, copies), settings["identity"]
    parents = StoredPopulation(job.input.parents)
    members = vary(
        generator,
        parents,
        settings["degree"],
        settings["fold"],
        settings["keep_selected"],
        blocks,
        identity,
    )
    if settings.get("follower"):
        follower = settings["follower"]
        generator = open_generator(
            follower["generator"], follower["classes"], job.input.next_model, answers
        )
        members = hand_over(members, generator, settings["follower_image"], blocks, identity)
    save_population(job.output.population, members, rows.stop - rows.start)
    if "lookahead" not in settings:
        return
    embeddings = look_ahead(
        generator,
        open_encoder(settings["encoder"], job.input.get("weights")),
        StoredPopulation(job.output.population),
        copies,
        settings["next_degree"],
        settings["lookahead"],
        settings["image"],
        blocks,
        identity,
        offset=rows.start,
    )
    write_rows(job.output.lookahead, embeddings, rows.stop - rows.start)


if __name__ == "__main__":
    run(vary_shard)
