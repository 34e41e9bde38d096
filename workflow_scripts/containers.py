"""The image that jobs run in where Snakemake is started with `--sdm apptainer`."""

from pathlib import Path

from snakemake.settings.types import DeploymentMethod

from workflow_scripts.problems import Problem


class ImageProblem(Problem):
    """An image that is not there; the message says how it is built."""


def check_image(workflow) -> None:
    """Refuse to start jobs in an image that has not been built.

    Raises
    ------
    ImageProblem
    """
    image = workflow.modifier.global_container_img
    methods = workflow.deployment_settings.deployment_method
    if DeploymentMethod.APPTAINER in methods and not Path(image).exists():
        raise ImageProblem(
            f"{image}: no such file. --sdm apptainer runs jobs in this image; build it with\n"
            f"  apptainer build {image} containers/apptainer.def"
        )
