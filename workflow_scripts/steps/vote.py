"""MECHANISM. The noisy votes of one iteration, drawn once and for all."""

from workflow_scripts.evolution.votes import release_votes
from workflow_scripts.files import write_arrays, write_json
from workflow_scripts.privacy.budget import read_budget
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.shards import Shards
from workflow_scripts.step import Job, run


def vote(job: Job) -> None:
    settings, entry, t = job.settings, job.entry, job.settings["iteration"]
    sigma = read_budget(job.input.budget, settings)["noise_multiplier"]
    mechanism = DiscreteGaussianMechanism.of(sigma, settings["release"]["counts"])
    ballot = {name: settings[name] for name in ("metric", "joint")}

    def draw():
        private = Shards(*map(job.open, job.input.embeddings))
        candidates = Shards(*job.input.lookahead)
        noise = noise_of(entry.noise_source, entry.identity)
        noisy = release_votes(private, candidates, mechanism, noise, **ballot)
        return *noisy, {name: candidates[name] for name in ("labels", "brightness")}

    release = entry.release_once(
        mechanism.event,
        inputs={
            "sensitive images": Shards(job.open(job.input.train)).digest(),
            "noise_multiplier": str(sigma),
            "neighbours": str(mechanism.counts),
            **{name: str(value) for name, value in ballot.items()},
        },
        draw=draw,
        after=entry.path.with_name(f"iter{t - 1}.safetensors") if t > 1 else None,
    )
    print("replayed from the journal" if release.replayed else "drawn")
    write_arrays(job.output.votes, {"votes": release.values, **release.about})
    write_json(job.output.ledger, release.ledger("vote", t))


if __name__ == "__main__":
    run(vote)
