"""From a start and sensitive images to a released model: everything that `finetune` does.

Only the averaged weights leave, once, through the journal. Batches, losses and the count of
gradients that were no numbers stay in the sensitive zone, as do the checkpoints.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from workflow_scripts.dpsgd.adapters import add_adapters, merge_adapters
from workflow_scripts.dpsgd.checkpoint import Checkpoints
from workflow_scripts.dpsgd.mechanism import DpSgd
from workflow_scripts.dpsgd.trainable import trainable_names
from workflow_scripts.dpsgd.training import Training
from workflow_scripts.edm.denoiser import Denoiser, new_denoiser, with_classes
from workflow_scripts.edm.storage import open_denoiser
from workflow_scripts.files import digest, read_json
from workflow_scripts.generators.pipelines.loading import CLASSES
from workflow_scripts.interruption import interruptible
from workflow_scripts.privacy.events import Event
from workflow_scripts.privacy.journal import Entry, Release
from workflow_scripts.problems import Problem
from workflow_scripts.randomness import seed_of

# Settings that a journalled training is compared by, beside the images and the start.
COMPARED = (
    "iterations", "release", "train_size", "train", "rank", "training", "network", "classes",
    "seed",
)  # fmt: skip


def finetune(
    data: Mapping[str, np.ndarray],
    data_digest: str,
    start: Sequence[str],
    noise_multiplier: float,
    entry: Entry,
    settings: Mapping,
) -> tuple[Release, Denoiser]:
    """Train with DP-SGD, or replay what was trained.

    Parameters
    ----------
    data : mapping
        `images` uint8 [N, H, W, C] and `labels` int64 [N]. SENSITIVE.
    data_digest : str
        Of the sensitive images. SENSITIVE.
    start : sequence of str
        The folder of the model to start from; nothing for random weights.
    noise_multiplier : float
        σ.
    entry : Entry
        The release's; checkpoints lie in a folder beside it.
    settings : mapping
        The step's.

    Returns
    -------
    (Release, Denoiser)
        The released weights, as one vector, and the model that has them.
    """
    denoiser = _start(start, settings)
    network = denoiser.network
    if settings["train"] == "adapters":
        names = add_adapters(network, settings["rank"], seed=seed_of("adapters", *settings["seed"]))
        # The embedding of classes that the start does not know has to be learned as well.
        names += [name for name, _ in network.named_parameters() if "class_embedding" in name]
    else:
        names = trainable_names(network, settings["train"])
    trained = {name: p for name, p in network.named_parameters() if name in set(names)}
    # What is begun goes on from the same start alone. What is finished does not need it: a start
    # that was made again, the same but for rounding, changes nothing that was released.
    start_digest = digest(*(p.detach().numpy() for p in network.parameters()))
    inputs = {
        "sensitive images": data_digest,
        "noise_multiplier": str(noise_multiplier),
        "noise_source": entry.noise_source,
        **{name: str(settings[name]) for name in COMPARED},
    }
    mechanism = DpSgd(
        settings["release"]["sampling_probability"],
        settings["iterations"],
        noise_multiplier,
        settings["release"]["sensitivity"],
        settings["train_size"],
    )

    def draw() -> tuple[np.ndarray, Event, dict]:
        if len(data["labels"]) != mechanism.train_size:
            raise ValueError(f"{len(data['labels'])} records, {mechanism.train_size} declared")
        begun = {**inputs, "start": start_digest}
        key = checkpoints.claim(entry.identity, begun, entry.noise_source)
        training = Training(
            denoiser, names, mechanism, {**settings["training"], **settings["operation"]}
        )
        with interruptible() as interruption:
            images, labels = data["images"], data["labels"]
            result = training.run(images, labels, key, checkpoints, interruption)
        weights = np.concatenate([result.weights[name].ravel() for name in trained])
        return weights, mechanism.event(result.steps), {}

    checkpoints = Checkpoints(entry.path.with_suffix(""))
    release = entry.release_once(mechanism.event(mechanism.steps), inputs, draw)
    checkpoints.clear()
    _load(trained, release.values)
    if settings["train"] == "adapters":
        merge_adapters(network)
    return release, denoiser


def _start(start: Sequence[str], settings: Mapping) -> Denoiser:
    """The model at its start, with an embedding for each sensitive class.

    A model of other classes keeps nothing of theirs.
    """
    classes, image = settings["classes"], settings["image"]
    if not start:
        return new_denoiser(
            settings["network"],
            (image["size"], image["channels"]),
            len(classes),
            seed_of("weights", *settings["seed"]),
            null_class=settings["training"]["label_dropout"] > 0,
        )
    (folder,) = start
    denoiser = open_denoiser(folder)
    if denoiser.shape != (image["channels"], image["size"], image["size"]):
        found, size, _ = denoiser.shape
        raise Problem(
            f"{folder}: the model makes images of {size}×{size}×{found}; allowed: "
            f"{image['size']}×{image['size']}×{image['channels']}, as the sensitive data set has"
        )
    names = Path(folder, CLASSES)
    if not names.exists() or read_json(names) != list(classes):
        denoiser = with_classes(denoiser, len(classes), seed_of("classes", *settings["seed"]))
    return denoiser


@torch.no_grad()
def _load(parameters: Mapping[str, torch.nn.Parameter], values: np.ndarray) -> None:
    """Set parameters, in their order, from one vector of all their numbers."""
    sizes = [parameter.numel() for parameter in parameters.values()]
    parts = torch.from_numpy(values).split(sizes)
    for parameter, part in zip(parameters.values(), parts, strict=True):
        parameter.copy_(part.reshape(parameter.shape))
