"""Fetch a diffusers pipeline from a hub, or copy a local one."""

import shutil
from pathlib import Path

from workflow_scripts.fetch_pipeline import fetch_pipeline
from workflow_scripts.folders import write_folder
from workflow_scripts.step import Job, run


def fetch_generator(job: Job) -> None:
    generator, folder = job.settings["generator"], job.output.pipeline
    job.claim(Path(folder).parent)
    if local := generator["folder"]:
        write_folder(folder, lambda new: shutil.copytree(local, new, dirs_exist_ok=True))
    else:
        print(fetch_pipeline(generator["pipeline"], generator["revision"], folder))


if __name__ == "__main__":
    run(fetch_generator)
