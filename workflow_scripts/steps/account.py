"""Compose what a run really executed; fail if it costs more than the budget."""

from pathlib import Path

from workflow_scripts.files import read_json, write_json
from workflow_scripts.privacy.accountant import check_ledgers, statement
from workflow_scripts.step import Job, run


def account(job: Job) -> None:
    settings = job.settings
    ledgers = [read_json(path) for path in job.input.ledgers]
    check_ledgers(ledgers, settings["releases"])
    job.claim(Path(job.output.privacy).parents[2])
    names = ("epsilon", "delta", "train_size", "noise_source")
    write_json(job.output.privacy, statement(ledgers, **{name: settings[name] for name in names}))


if __name__ == "__main__":
    run(account)
