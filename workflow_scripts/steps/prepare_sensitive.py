"""Read a sensitive data set, compare it with its declaration, split it and store it."""

from workflow_scripts.data.datasets import (
    DatasetProblem,
    check_declared,
    load_source,
    split_stratified,
)
from workflow_scripts.files import write_arrays
from workflow_scripts.step import Job, run


def prepare_sensitive(job: Job) -> None:
    declared = job.settings
    outputs = [job.open(path) for path in (job.output.train, job.output.test)]
    source, classes, split = declared["source"], declared["classes"], declared["split"]
    train = load_source(source, "path", classes)
    if split:
        # Labels are checked first: the split is stratified by them.
        check_declared(train, **declared["image"], classes=classes)
        train, test = split_stratified(train, split["test_fraction"], split["seed"])
    else:
        test = load_source(source, "test_path", classes)
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
