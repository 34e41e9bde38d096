"""Turn a run's budget (ε, δ, T) into a noise multiplier, before anything is spent."""

from pathlib import Path

from workflow_scripts.files import write_json
from workflow_scripts.privacy.accountant import calibrate
from workflow_scripts.privacy.budget import KEYS
from workflow_scripts.privacy.events import event_of
from workflow_scripts.step import Job, run


def calibrate_run(job: Job) -> None:
    budget = {name: job.settings[name] for name in KEYS}
    noise_multiplier, verified = calibrate(
        budget["epsilon"],
        budget["delta"],
        budget["iterations"],
        budget["release"],
        [event_of(other) for other in budget["others"]],
    )
    # The method's directory is shared by its runs: results/runs/<dataset>/<method>
    job.claim(Path(job.output.budget).parents[2])
    write_json(
        job.output.budget,
        {
            **budget,
            "noise_multiplier": noise_multiplier,
            "verified_epsilon": verified.epsilon,
            "accountant": verified.accountant,
        },
    )


if __name__ == "__main__":
    run(calibrate_run)
