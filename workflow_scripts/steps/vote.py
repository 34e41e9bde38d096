"""MECHANISM. The noisy votes of one iteration, drawn once and for all."""

from workflow_scripts.evolution.votes import release_votes
from workflow_scripts.files import write_arrays, write_json
from workflow_scripts.privacy.budget import read_budget
from workflow_scripts.privacy.journal import release_once
from workflow_scripts.privacy.noise import noise_rng
from workflow_scripts.shards import Shards
from workflow_scripts.step import Job, run


def vote(job: Job) -> None:
    settings, source = job.settings, job.settings["noise_source"]
    sigma = read_budget(job.input.budget, settings)["noise_multiplier"]
    identity = settings["identity"]
    ballot = {name: settings[name] for name in ("neighbours", "metric", "joint")}

    def draw():
        private = Shards(*map(job.open, job.input.embeddings))
        candidates = Shards(*job.input.lookahead)
        noisy = release_votes(private, candidates, sigma, noise_rng(source, identity), **ballot)
        return *noisy, {name: candidates[name] for name in ("labels", "brightness")}

    release = release_once(
        job.open(settings["journal"]),
        identity,
        inputs={
            "sensitive images": Shards(job.open(job.input.train)).digest(),
            "noise_multiplier": str(sigma),
            "noise_source": source,
            **{name: str(value) for name, value in ballot.items()},
        },
        draw=draw,
    )
    print("replayed from the journal" if release.replayed else "drawn")
    write_arrays(job.output.votes, {"votes": release.values, **release.about})
    write_json(job.output.ledger, release.ledger("vote", settings["iteration"], source))


if __name__ == "__main__":
    run(vote)
