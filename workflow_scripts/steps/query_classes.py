"""MECHANISM. How often each sensitive class names each public class, drawn once and for all."""

from pathlib import Path

from workflow_scripts.files import write_arrays, write_json
from workflow_scripts.privacy.budget import check_given
from workflow_scripts.privacy.gaussian import event_of
from workflow_scripts.privacy.journal import release_once
from workflow_scripts.privacy.noise import noise_rng
from workflow_scripts.semantic.classifier import open_classifier
from workflow_scripts.semantic.query import release_query
from workflow_scripts.shards import Shards
from workflow_scripts.step import Job, run


def query_classes(job: Job) -> None:
    settings, source = job.settings, job.settings["noise_source"]
    votes, sigma = settings["votes"], settings["noise_multiplier"]
    classes, public_classes = settings["classes"], settings["public_classes"]
    private = Shards(job.open(job.input.train))
    job.claim(Path(job.output.counts).parents[1])

    def draw():
        check_given(job.input.budgets, event_of(settings["event"]))
        classifier = open_classifier(
            settings["classifier"], job.input.classifier, public_classes, settings["image"]
        )
        rng = noise_rng(source, settings["identity"])
        return *release_query(private, classifier, classes, public_classes, votes, sigma, rng), {}

    release = release_once(
        job.open(settings["journal"]),
        settings["identity"],
        inputs={
            "sensitive images": private.digest(),
            "votes": str(votes),
            "noise_multiplier": str(sigma),
            "noise_source": source,
        },
        draw=draw,
    )
    print("replayed from the journal" if release.replayed else "drawn")
    write_arrays(job.output.counts, {"counts": release.values})
    write_json(job.output.ledger, release.ledger("query_classes", 0, source))


if __name__ == "__main__":
    run(query_classes)
