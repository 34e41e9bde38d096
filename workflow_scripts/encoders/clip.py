"""CLIP (arXiv 2103.00020): the image tower of a model of open_clip, not normalised to length 1.

Images are prepared as open_clip prepares them: resized in 8 bits by PIL's bicubic filter to the
size in the model's configuration, then normalised by mean and standard deviation per channel.
"""

from collections.abc import Mapping
from pathlib import Path

import open_clip

from workflow_scripts.device import choose_device
from workflow_scripts.encoders import EncoderProblem
from workflow_scripts.encoders.network import NetworkEncoder
from workflow_scripts.encoders.weights import load_into, read_tensors

# open_clip builds both towers; the text tower is not used, and so need not be large or fetched.
NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}


def open_clip_tower(settings: Mapping, weights: str | Path) -> NetworkEncoder:
    """The encoder of a catalogue entry of kind `clip`.

    The weights are a safetensors file of the whole model in open_clip's names, of which only those
    of the image tower (`visual.`) are read.

    Memory: the tower twice while it is loaded and, for B images, 24 · B · size² bytes and the
    activations.
    """
    name = settings["model"]
    _check(name, settings["mean"], settings["std"])
    state = read_tensors(weights, settings["weights"]["sha256"], prefix="visual.")
    device = choose_device()
    model = open_clip.create_model(name, load_weights=False, text_cfg=dict(NO_TEXT))
    tower = model.visual
    load_into(tower, state, weights, name)
    size = open_clip.get_model_preprocess_cfg(model)["size"]
    return NetworkEncoder(
        tower.to(device).eval(),
        size if isinstance(size, int) else size[0],
        [255 * value for value in settings["mean"]],
        [255 * value for value in settings["std"]],
        settings["batch_size"],
        device,
        rounded=True,
    )


def _check(name: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Refuse models without a plain image tower, and a preprocessing that no weights are for."""
    models = [m for m in open_clip.list_models() if "multimodal_cfg" not in _config(m)]
    if name not in models:
        raise EncoderProblem(f"model: found {name!r}; allowed: {', '.join(models)}")
    tags = [
        open_clip.get_pretrained_cfg(name, tag)
        for tag in open_clip.list_pretrained_tags_by_model(name)
    ]
    known = {(tuple(t["mean"]), tuple(t["std"])) for t in tags if t["interpolation"] == "bicubic"}
    if tags and (tuple(mean), tuple(std)) not in known:
        allowed = " or ".join(f"{list(m)} with {list(s)}" for m, s in sorted(known))
        raise EncoderProblem(
            f"mean and std of {name}: found {list(mean)} with {list(std)}; "
            f"allowed: {allowed or 'none, as it was not trained on bicubic resizing'}"
        )


def _config(name: str) -> Mapping:
    return open_clip.get_model_config(name)
