"""Fetch a file of a data set and verify its hash; a mirror is asked first."""

import os
from pathlib import Path

from workflow_scripts.fetch import fetch
from workflow_scripts.step import Job, run


def fetch_file(job: Job) -> None:
    settings = job.settings
    mirror = os.environ.get("DATA_MIRROR")
    job.claim(Path(job.output.file).parents[1])
    fetch(
        settings["url"],
        job.output.file,
        settings["hash"],
        mirror=f"{mirror}/{settings['name']}" if mirror else None,
    )


if __name__ == "__main__":
    run(fetch_file)
