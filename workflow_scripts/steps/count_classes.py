"""MECHANISM. Noisy counts of the sensitive classes, drawn once and for all."""

from workflow_scripts.evolution.class_counts import release_class_counts
from workflow_scripts.files import digest, open_arrays, write_arrays, write_json
from workflow_scripts.privacy.budget import read_budget
from workflow_scripts.privacy.journal import release_once
from workflow_scripts.privacy.noise import noise_rng
from workflow_scripts.step import Job, run


def count_classes(job: Job) -> None:
    settings, source = job.settings, job.settings["noise_source"]
    read_budget(job.input.budget, settings)
    noise_multiplier = settings["class_count_noise"]
    identity = settings["identity"]
    labels = open_arrays(job.open(job.input.train))["labels"]

    release = release_once(
        job.open(settings["journal"]),
        identity,
        inputs={
            "labels": digest(labels),
            "classes": str(settings["classes"]),
            "noise_multiplier": str(noise_multiplier),
            "noise_source": source,
        },
        draw=lambda: (
            *release_class_counts(
                labels, settings["classes"], noise_multiplier, noise_rng(source, identity)
            ),
            {},
        ),
    )
    print("replayed from the journal" if release.replayed else "drawn")
    write_arrays(job.output.counts, {"counts": release.values})
    write_json(job.output.ledger, release.ledger("count_classes", 0, source))


if __name__ == "__main__":
    run(count_classes)
