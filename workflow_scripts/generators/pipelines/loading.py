"""Opening a stored pipeline: safetensors only, no code from its folder, no network."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging
from transformers.utils import logging as transformers_logging

from workflow_scripts.edm import network
from workflow_scripts.edm.pipeline import EdmPipeline
from workflow_scripts.files import FileProblem, read_json
from workflow_scripts.problems import Problem

INDEX = "model_index.json"
CLASSES = "classes.json"
# The last is the module of our own network.
LIBRARIES = ("diffusers", "transformers", network.__name__)
# Classes that diffusers does not find by their name.
OWN = {"EdmPipeline": EdmPipeline}
# Parts of a pipeline that are never used here, and what stands in for them.
UNUSED = {
    "safety_checker": None,
    "feature_extractor": None,
    "image_encoder": None,
    "requires_safety_checker": False,
    "id2label": None,  # read by `conditions_of`
}


class PipelineProblem(Problem):
    """A pipeline that cannot be used as it is, or is asked for what it cannot do."""


def read_index(folder: Path, supported: Collection[str]) -> dict:
    """A pipeline's own list of its parts, if it is of a supported class and of known libraries.

    The index names a library for every part, which diffusers would import, whatever it is.
    """
    path = folder / INDEX
    index = read_json(path)
    name = index.get("_class_name") if isinstance(index, dict) else None
    if not isinstance(name, str) or name not in supported:
        raise PipelineProblem(
            f"{path}: _class_name: found {name!r}; allowed: {', '.join(supported)}"
        )
    for part, value in index.items():
        if isinstance(value, list) and part not in UNUSED:
            library = value[0] if value else None
            if library is not None and library not in LIBRARIES:
                raise PipelineProblem(
                    f"{path}: {part}: found a class of {library!r}; allowed: {', '.join(LIBRARIES)}"
                )
            code = next((folder / part).glob("*.py"), None)
            if code is not None:
                raise PipelineProblem(f"{code}: found code; allowed: weights and settings")
    return index


def load_pipeline(folder: Path, index: Mapping, dtype: torch.dtype) -> DiffusionPipeline:
    """The pipeline of a folder, on the CPU, in evaluation mode."""
    logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    unused = {part: value for part, value in UNUSED.items() if part in index}
    try:
        pipeline = OWN.get(index["_class_name"], DiffusionPipeline).from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            **unused,
        )
    except Exception as error:  # whatever the loaders make of a damaged or foreign folder
        said = " ".join(str(error).split())
        raise PipelineProblem(
            f"{folder}: not a diffusers pipeline in safetensors ({said[:500]})"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def conditions_of(classes: Sequence[str], folder: Path, index: Mapping, count: int) -> np.ndarray:
    """The model's class for every label: int64 [classes].

    Parameters
    ----------
    classes : sequence of str
        A name that the model knows, or its number, for every label.
    folder, index :
        The pipeline's.
    count : int
        Classes that the model has.
    """
    known = _known_classes(folder, index, count)
    missing = [name for name in classes if name not in known]
    if missing:
        some = ", ".join(list(known)[:20]) + (", …" if len(known) > 20 else "")
        raise PipelineProblem(f"{folder}: the model has no class {missing}; it has {some}")
    return np.array([known[name] for name in classes], dtype=np.int64)


def _known_classes(folder: Path, index: Mapping, count: int) -> dict[str, int]:
    """The number of each class by name.

    The names of `classes.json`, if there is one; otherwise the numbers 0 … count − 1 as text, and
    the names of the index's `id2label`, where synonyms are separated by commas.
    """
    path = folder / CLASSES
    if path.exists():
        names = read_json(path)
        if not isinstance(names, list) or len(names) != count:
            raise FileProblem(f"{path}: allowed: a list of the model's {count} classes")
        return {str(name): number for number, name in enumerate(names)}
    known = {str(number): number for number in range(count)}
    for number, names in (index.get("id2label") or {}).items():
        synonyms = [names, *(name.strip() for name in names.split(","))]
        known |= dict.fromkeys(synonyms, int(number))
    return known
