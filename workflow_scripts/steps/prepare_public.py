"""Read a public data set, compare it with its declaration and store it."""

from pathlib import Path

from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import check_declared
from workflow_scripts.data.sources import load_split
from workflow_scripts.files import write_arrays
from workflow_scripts.step import Job, run


def prepare_public(job: Job) -> None:
    declared = job.settings
    form = Form(**declared["image"], resize=declared["resize"])
    data = load_split(declared["source"], declared["files"], "train", declared["classes"], form)
    check_declared(data, **declared["image"], classes=declared["classes"])
    job.claim(Path(job.output.images).parent)
    arrays = {"images": data.images, "labels": data.labels}
    write_arrays(job.output.images, arrays, {"classes": declared["classes"]})


if __name__ == "__main__":
    run(prepare_public)
