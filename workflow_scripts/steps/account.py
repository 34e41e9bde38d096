"""Compose what a run really executed; fail if it costs more than the budget."""

import hashlib
from pathlib import Path

from workflow_scripts.files import read_json, write_json
from workflow_scripts.privacy.statement import check_ledgers, statement
from workflow_scripts.step import Job, run


def account(job: Job) -> None:
    settings = job.settings
    ledgers = [read_json(path) for path in job.input.ledgers]
    check_ledgers(ledgers, settings["releases"])
    job.claim(Path(job.output.privacy).parents[2])
    names = ("epsilon", "delta", "noise_source", "dataset", "public")
    checksums = {
        path.removeprefix("results/runs/"): hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for path in job.input.ledgers
    }
    stated = statement(ledgers, **{name: settings[name] for name in names}, checksums=checksums)
    write_json(job.output.privacy, stated)


if __name__ == "__main__":
    run(account)
