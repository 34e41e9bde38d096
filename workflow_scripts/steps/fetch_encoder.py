"""Fetch or copy an encoder's weights, and verify their SHA-256."""

import os
from pathlib import Path

from workflow_scripts.fetch import fetch
from workflow_scripts.step import Job, run


def fetch_encoder(job: Job) -> None:
    weights = job.settings["weights"]
    url = weights["url"] or Path(weights["path"]).absolute().as_uri()
    job.claim(Path(job.output.weights).parent)
    mirror = os.environ.get("DATA_MIRROR")
    fetch(
        url,
        job.output.weights,
        f"sha256:{weights['sha256']}",
        mirror=f"{mirror}/{job.settings['name']}" if mirror else None,
    )


if __name__ == "__main__":
    run(fetch_encoder)
