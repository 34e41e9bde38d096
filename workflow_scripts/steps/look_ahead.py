"""The first lookahead: mean embeddings of variations of a shard of the initial population."""

from pathlib import Path

from workflow_scripts.encoders import open_encoder
from workflow_scripts.evolution.blocks import blocks_of, look_ahead
from workflow_scripts.files import write_rows
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.population import StoredPopulation
from workflow_scripts.step import Job, run


def look_ahead_shard(job: Job) -> None:
    settings = job.settings
    candidates = StoredPopulation(job.input.population)
    folder = Path(job.output.lookahead).parent
    generator = None
    if settings["lookahead"]:
        generator = open_generator(
            settings["generator"], settings["classes"], job.input.model, folder / "answers"
        )
    embeddings = look_ahead(
        generator,
        open_encoder(settings["encoder"], job.input.get("weights")),
        candidates,
        settings["copies"],
        settings["degree"],
        settings["lookahead"],
        settings["image"],
        blocks_of(settings["size"], settings["block_size"], job.wildcards.scatteritem),
        settings["identity"],
    )
    job.claim(folder)
    write_rows(job.output.lookahead, embeddings, len(candidates))


if __name__ == "__main__":
    run(look_ahead_shard)
