"""MECHANISM. The noisy votes of one iteration, drawn once and for all."""

from dataclasses import asdict

import numpy as np

from workflow_scripts.evolution.votes import release_votes
from workflow_scripts.files import (
    FileProblem,
    digest,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)
from workflow_scripts.privacy.journal import release_once
from workflow_scripts.privacy.noise import noise_rng
from workflow_scripts.step import Job, run


def vote(job: Job) -> None:
    settings, budget = job.settings, read_json(job.input.budget)
    for name in ("epsilon", "delta", "iterations"):
        if budget[name] != settings[name]:
            raise FileProblem(
                f"{job.input.budget}: {name} is {budget[name]}, the run says {settings[name]}"
            )
    sigma, source = budget["noise_multiplier"], settings["noise_source"]
    identity = f"{settings['identity']}/iter{settings['iteration']}"
    private = read_arrays(job.open(job.input.embeddings))
    shards = [read_arrays(path) for path in job.input.lookahead]
    lookahead = np.concatenate([shard["embeddings"] for shard in shards])
    labels = np.concatenate([shard["labels"] for shard in shards])

    release = release_once(
        job.journal(f"{identity}.safetensors"),
        identity,
        inputs={
            "sensitive embeddings": digest(private["embeddings"], private["labels"]),
            "lookahead": digest(lookahead, labels),
            "noise_multiplier": str(sigma),
            "noise_source": source,
        },
        draw=lambda: release_votes(
            private["embeddings"],
            private["labels"],
            lookahead,
            labels,
            sigma,
            noise_rng(source, identity),
        ),
    )
    print("replayed from the journal" if release.replayed else "drawn")
    write_arrays(job.output.votes, {"votes": release.values, "labels": labels})
    write_json(
        job.output.ledger,
        {
            "mechanism": "vote",
            "iteration": settings["iteration"],
            "event": asdict(release.event),
            "noise_source": source,
            "release_id": release.release_id,
        },
    )


if __name__ == "__main__":
    run(vote)
