"""Build the index in which an image pool's neighbours are looked up."""

from workflow_scripts.generators.pool import build_index
from workflow_scripts.step import Job, run


def index_pool(job: Job) -> None:
    build_index(job.input.embeddings, job.output.index)


if __name__ == "__main__":
    run(index_pool)
