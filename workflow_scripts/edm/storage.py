"""Denoisers in the folders of pipelines."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers import DDIMPipeline

from workflow_scripts.edm.denoiser import Denoiser, NoisePrediction
from workflow_scripts.edm.pipeline import SAMPLING, pipeline_of
from workflow_scripts.files import write_json
from workflow_scripts.folders import write_folder
from workflow_scripts.generators.pipelines.edm import DENOISERS, denoiser_of
from workflow_scripts.generators.pipelines.loading import CLASSES, load_pipeline, read_index


def open_denoiser(folder: str | Path) -> Denoiser:
    """The denoiser of a stored pipeline, on the CPU, in evaluation mode.

    Parameters
    ----------
    folder : path
        Of an `EdmPipeline`, or of a `DDPMPipeline` or `DDIMPipeline` that predicts noise.

    Raises
    ------
    PipelineProblem, FileProblem
        If the folder is none of them in safetensors.
    """
    folder = Path(folder)
    pipeline = load_pipeline(folder, read_index(folder, DENOISERS), torch.float32)
    return denoiser_of(pipeline).eval()


def save_denoiser(
    folder: str | Path,
    denoiser: Denoiser,
    classes: Sequence[str],
    sampling: Mapping = SAMPLING,
) -> None:
    """Store a denoiser as an `EdmPipeline`, or as a `DDIMPipeline` if it predicts noise.

    Parameters
    ----------
    folder : path
        Appears whole or not at all.
    classes : sequence of str
        The names of the network's classes, in its order.
    sampling : mapping, optional
        How the model is meant to be sampled: `sampler`, `steps`, …; a `DDIMPipeline` does not keep
        it.
    """
    network = denoiser.network.cpu().eval()
    if isinstance(denoiser.preconditioning, NoisePrediction):
        pipeline = DDIMPipeline(network, denoiser.preconditioning.scheduler)
    else:
        pipeline = pipeline_of(denoiser, sampling)

    def save(temporary: Path) -> None:
        pipeline.save_pretrained(temporary)
        write_json(temporary / CLASSES, list(classes))

    write_folder(folder, save)
