"""What all releases of a sensitive data set cost together, whatever became of their files."""

from workflow_scripts.files import write_json
from workflow_scripts.privacy.register import Register
from workflow_scripts.privacy.total import total_of_register
from workflow_scripts.step import Job, run


def add_up(job: Job) -> None:
    register = Register(job.settings["register"])
    total = total_of_register(register.charges, register.cap, job.settings["delta"])
    write_json(job.output.total, {"dataset": job.wildcards.name, **total})


if __name__ == "__main__":
    run(add_up)
