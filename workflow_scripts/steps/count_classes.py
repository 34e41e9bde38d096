"""MECHANISM. Noisy counts of the sensitive classes, drawn once and for all."""

from workflow_scripts.evolution.class_counts import release_class_counts
from workflow_scripts.files import digest, open_arrays, write_arrays, write_json
from workflow_scripts.privacy.budget import read_budget
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.step import Job, run


def count_classes(job: Job) -> None:
    settings, entry = job.settings, job.entry
    read_budget(job.input.budget, settings)
    mechanism = DiscreteGaussianMechanism.of(settings["class_count_noise"])
    labels = open_arrays(job.open(job.input.train))["labels"]
    release = entry.release_once(
        mechanism.event,
        inputs={
            "labels": digest(labels),
            "classes": str(settings["classes"]),
            "noise_multiplier": str(mechanism.scale),
        },
        draw=lambda: (
            *release_class_counts(
                labels,
                settings["classes"],
                mechanism,
                noise_of(entry.noise_source, entry.identity),
            ),
            {},
        ),
    )
    print("replayed from the journal" if release.replayed else "drawn")
    write_arrays(job.output.counts, {"counts": release.values})
    write_json(job.output.ledger, release.ledger("count_classes"))


if __name__ == "__main__":
    run(count_classes)
