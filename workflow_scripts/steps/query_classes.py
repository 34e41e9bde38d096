"""MECHANISM. How often each sensitive class names each public class, drawn once and for all."""

from pathlib import Path

from workflow_scripts.files import write_arrays, write_json
from workflow_scripts.privacy.budget import check_given
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import event_of
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.semantic.classifier import open_classifier
from workflow_scripts.semantic.query import release_query
from workflow_scripts.shards import Shards
from workflow_scripts.step import Job, run


def query_classes(job: Job) -> None:
    settings, entry = job.settings, job.entry
    event = event_of(settings["event"])
    mechanism = DiscreteGaussianMechanism(event.scale, event.counts)
    classes, public_classes = settings["classes"], settings["public_classes"]
    private = Shards(job.open(job.input.train))
    job.claim(Path(job.output.counts).parents[1])

    def draw():
        check_given(job.input.budgets, event)
        classifier = open_classifier(
            settings["classifier"], job.input.classifier, public_classes, settings["image"]
        )
        noise = noise_of(entry.noise_source, entry.identity)
        return *release_query(private, classifier, classes, public_classes, mechanism, noise), {}

    release = entry.release_once(
        event,
        inputs={
            "sensitive images": private.digest(),
            "votes": str(event.counts),
            "scale": str(event.scale),
        },
        draw=draw,
    )
    print("replayed from the journal" if release.replayed else "drawn")
    write_arrays(job.output.counts, {"counts": release.values})
    write_json(job.output.ledger, release.ledger("query_classes"))


if __name__ == "__main__":
    run(query_classes)
