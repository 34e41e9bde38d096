"""What publishing an experiment's runs costs together, for each sensitive data set."""

from workflow_scripts.files import read_json, write_json
from workflow_scripts.privacy.total import published_together
from workflow_scripts.step import Job, run


def add_up_published(job: Job) -> None:
    totals = dict(zip(job.settings["datasets"], map(read_json, job.input.totals), strict=True))
    published = {}
    for dataset, ever in totals.items():
        rows = (row for row in job.settings["rows"] if row["dataset"] == dataset)
        statements = (
            (f"{row['method']} ε={row['epsilon']}", read_json(row["privacy"])) for row in rows
        )
        names = ("releases", "epsilon", "delta", "cap", "is_private")
        published[dataset] = {
            **published_together(statements, ever["delta"]),
            "ever": {name: ever[name] for name in names},
        }
    write_json(job.output.total, published)


if __name__ == "__main__":
    run(add_up_published)
