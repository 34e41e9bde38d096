"""Choose the public classes of every sensitive class, by the noisy counts of the query."""

from workflow_scripts.files import read_arrays, write_arrays, write_json
from workflow_scripts.semantic.selection import select_classes, selection_summary
from workflow_scripts.step import Job, run


def select(job: Job) -> None:
    settings = job.settings
    noisy = read_arrays(job.input.counts)["counts"]
    chosen = select_classes(noisy, settings["classes_per_label"])
    summary = selection_summary(
        noisy,
        chosen,
        settings["classes"],
        settings["public_classes"],
        settings["votes"],
        settings["noise_multiplier"],
    )
    write_arrays(job.output.selection, {"counts": noisy, "chosen": chosen})
    write_json(job.output.summary, summary)


if __name__ == "__main__":
    run(select)
