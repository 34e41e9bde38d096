"""The first lookahead: mean embeddings of variations of a shard of the initial population."""

from pathlib import Path

from workflow_scripts.encoders import open_encoder
from workflow_scripts.evolution.blocks import blocks_of, look_ahead
from workflow_scripts.files import write_arrays
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.population import load_population
from workflow_scripts.step import Job, run


def look_ahead_shard(job: Job) -> None:
    settings = job.settings
    candidates = load_population(job.input.population)
    embeddings = look_ahead(
        open_generator(settings["generator"], settings["classes"], job.input.get("pipeline")),
        open_encoder(settings["encoder"], job.input.get("weights")),
        candidates,
        settings["degree"],
        settings["lookahead"],
        blocks_of(settings["size"], settings["block_size"], job.wildcards.scatteritem),
        settings["identity"],
    )
    job.claim(Path(job.output.lookahead).parent)
    write_arrays(job.output.lookahead, {"embeddings": embeddings, "labels": candidates.labels})


if __name__ == "__main__":
    run(look_ahead_shard)
