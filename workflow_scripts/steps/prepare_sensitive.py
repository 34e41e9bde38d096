"""Read a sensitive data set, compare it with its declaration, split it and store it."""

from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import (
    DatasetProblem,
    check_declared,
    hold_out,
    split_stratified,
)
from workflow_scripts.data.sources import load_split
from workflow_scripts.files import write_arrays
from workflow_scripts.step import Job, run


def prepare_sensitive(job: Job) -> None:
    declared = job.settings
    outputs = [job.open(path) for path in (job.output.train, job.output.test)]
    classes, split, held = declared["classes"], declared["split"], declared["hold_out"]
    form = Form(**declared["image"], resize=declared["resize"])
    source = declared["source"], declared["files"]
    train = load_split(*source, "train", classes, form)
    if split:
        # Labels are checked first: the split is stratified by them.
        check_declared(train, **declared["image"], classes=classes)
        train, test = split_stratified(train, split["test_fraction"], split["seed"])
    else:
        test = load_split(*source, "test", classes, form)
    if held:
        train = hold_out(train, held["size"], held["seed"])
    for part in (train, test):
        check_declared(part, **declared["image"], classes=classes)
    if len(train) != declared["train_size"]:
        raise DatasetProblem(
            f"train_size: declared {declared['train_size']}, found {len(train)} training images"
        )
    job.claim(f"results/sensitive/{job.wildcards.dataset}")
    for path, part in zip(outputs, (train, test), strict=True):
        write_arrays(path, {"images": part.images, "labels": part.labels})


if __name__ == "__main__":
    run(prepare_sensitive)
