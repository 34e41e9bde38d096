"""MECHANISM. Noisy means or modes of the sensitive classes, drawn once and for all."""

from pathlib import Path

from workflow_scripts.files import write_arrays, write_json
from workflow_scripts.privacy.budget import check_given
from workflow_scripts.privacy.events import event_of
from workflow_scripts.privacy.noise import NoiseKey
from workflow_scripts.semantic.central_images import release_central_images
from workflow_scripts.shards import Shards
from workflow_scripts.step import Job, run


def central_images(job: Job) -> None:
    settings, entry = job.settings, job.entry
    event = event_of(settings["event"])
    query = {
        "size": settings["size"],
        "images_per_class": event.steps,
        "sampling_probability": event.sampling_probability,
        "noise_multiplier": event.noise_multiplier,
        "train_size": settings["train_size"],
    }
    private = Shards(job.open(job.input.train))
    job.claim(Path(job.output.images).parents[1])

    def draw():
        check_given(job.input.budgets, event)
        # The sample must stay as secret as the noise.
        key = NoiseKey.draw(entry.noise_source, entry.identity)
        images, labels, executed = release_central_images(
            private,
            settings["classes"],
            kind=settings["centre"],
            sampling_rng=key.rng("sample"),
            noise_rng=key.rng("noise"),
            **query,
        )
        return images, executed, {"labels": labels}

    release = entry.release_once(
        event,
        inputs={
            "sensitive images": private.digest(),
            "centre": settings["centre"],
            **{name: str(value) for name, value in query.items()},
        },
        draw=draw,
    )
    print("replayed from the journal" if release.replayed else "drawn")
    write_arrays(job.output.images, {"images": release.values, **release.about})
    write_json(job.output.ledger, release.ledger("release_central_images"))


if __name__ == "__main__":
    run(central_images)
