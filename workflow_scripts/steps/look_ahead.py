"""The first lookahead: mean embeddings of variations of a shard of the initial population."""

from pathlib import Path

from workflow_scripts.encoders import open_encoder
from workflow_scripts.evolution.blocks import blocks_of, look_ahead, rows_of
from workflow_scripts.files import write_rows
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.population import StoredPopulation
from workflow_scripts.step import Job, run


def look_ahead_shard(job: Job) -> None:
    settings = job.settings
    folder = Path(job.output.lookahead).parent
    generator = None
    if settings["lookahead"]:
        generator = open_generator(
            settings["generator"], settings["classes"], job.input.model, folder / "answers"
        )
    blocks = blocks_of(settings["size"], settings["block_size"], job.wildcards.scatteritem)
    rows = rows_of(blocks, settings["copies"])
    embeddings = look_ahead(
        generator,
        open_encoder(settings["encoder"], job.input.get("weights")),
        StoredPopulation(*job.input.population),
        settings["copies"],
        settings["degree"],
        settings["lookahead"],
        settings["image"],
        blocks,
        settings["identity"],
    )
    job.claim(folder)
    write_rows(job.output.lookahead, embeddings, rows.stop - rows.start)


if __name__ == "__main__":
    run(look_ahead_shard)
