"""Stored diffusers pipelines as generators.

RANDOM denoises from pure noise. VARIATION noises an image to an intermediate level and denoises it
again under the sample's own condition (SDEdit, arXiv 2108.01073): the further the noise goes, the
less of the image remains.

| pipeline | sampler | condition |
|---|---|---|
| `DDPMPipeline`, `DDIMPipeline` | DDIM on pixels | the model's class, or none |
| `DiTPipeline` | DDIM on latents, guided | the model's class |
| `EdmPipeline` | one of `workflow_scripts.edm.sampling` on pixels | the model's class, or none |
| `ConsistencyModelPipeline` | consistency function on pixels | the model's class, or none |
| `StableDiffusionPipeline`, `StableDiffusionXLPipeline` | the pipeline's own | a prompt |
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from workflow_scripts.device import choose_device
from workflow_scripts.generators.pipelines.consistency import consistency_sampler
from workflow_scripts.generators.pipelines.ddim import latent_sampler, pixel_sampler
from workflow_scripts.generators.pipelines.edm import DENOISERS, edm_sampler
from workflow_scripts.generators.pipelines.generator import PipelineGenerator
from workflow_scripts.generators.pipelines.loading import (
    PipelineProblem,
    conditions_of,
    load_pipeline,
    read_index,
)
from workflow_scripts.generators.pipelines.prompts import TextSampler, prompts_of

SAMPLERS = {
    "DDPMPipeline": pixel_sampler,
    "DDIMPipeline": pixel_sampler,
    "EdmPipeline": edm_sampler,
    "ConsistencyModelPipeline": consistency_sampler,
    "DiTPipeline": latent_sampler,
}
TEXT_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
# What a trained pipeline's entry does not say.
DEFAULTS = {"conditions": "class", "prompt": None, "prompts": {}, "guidance": None}
# Numbers in a batch of images on a CPU: larger ones are not faster there.
CPU_BATCH = 2**20


def open_pipeline(
    folder: str | Path, classes: Sequence[str], settings: Mapping
) -> PipelineGenerator:
    """The generator of a pipeline's folder.

    Parameters
    ----------
    folder : path
        A saved pipeline with weights in safetensors. `classes.json` beside `model_index.json` may
        list the names of the model's classes.
    classes : sequence of str
        The generator's class for every label of the sensitive data set: a name that the model
        knows, or its number.
    settings : mapping
        A catalogue entry of kind `diffusion` or `edm` (trained by the workflow) or `diffusers`.
        With the key `sampling`, the model is sampled as a denoiser (`pipelines.edm`).

    Raises
    ------
    PipelineProblem, FileProblem
        If the folder is no pipeline of a known kind in safetensors, lacks a class, or makes images
        of another shape than `settings["image"]`.
    """
    folder, settings = Path(folder), DEFAULTS | settings
    sampling = settings.get("sampling")
    index = read_index(folder, DENOISERS if sampling else (*SAMPLERS, *TEXT_PIPELINES))
    name, device = index["_class_name"], choose_device()
    prompts = prompts_of(classes, settings) if name in TEXT_PIPELINES else None
    if prompts is None and (settings["prompt"] is not None or settings["prompts"]):
        raise PipelineProblem(f"{folder}: a {name} is not asked with a prompt; leave it out")
    # What the workflow trained is small and runs as it was trained.
    precision = settings.get("precision", "float32")
    pipeline = load_pipeline(folder, index, _dtype(precision, device)).to(device)
    if prompts:
        sampler = TextSampler(pipeline, prompts)
    elif sampling:
        sampler = edm_sampler(pipeline, sampling)
    else:
        sampler = SAMPLERS[name](pipeline)
    _check_shape(folder, sampler.image, settings)
    if settings["conditions"] == "random":
        conditions = None
    elif prompts:
        conditions = np.arange(len(classes))
    elif sampler.conditions == 1:
        conditions = np.zeros(len(classes), dtype=np.int64)
    else:
        conditions = conditions_of(classes, folder, index, sampler.conditions)
    return PipelineGenerator(
        sampler,
        conditions,
        sampling["steps"] if sampling else settings["sampling_steps"],
        settings["guidance"],
        _batch_size(settings, sampler.image, device),
    )


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision == "auto":
        precision = "float16" if device.type == "cuda" else "float32"
    return getattr(torch, precision)


def _check_shape(folder: Path, image: tuple[int, int], settings: Mapping) -> None:
    if "image" not in settings:
        return
    wanted = (settings["image"]["size"], settings["image"]["channels"])
    if wanted != image:
        found, allowed = (f"{size}×{size}×{channels}" for size, channels in (wanted, image))
        raise PipelineProblem(f"{folder}: image: found {found}; the pipeline makes {allowed}")


def _batch_size(settings: Mapping, image: tuple[int, int], device: torch.device) -> int | None:
    # The batch size of a trained pipeline's entry is that of its training.
    if settings["kind"] == "diffusers" and settings["batch_size"] != "auto":
        return settings["batch_size"]
    size, channels = image
    return None if device.type == "cuda" else max(1, CPU_BATCH // (size**2 * channels))
