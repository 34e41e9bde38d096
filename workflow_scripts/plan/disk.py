"""How large the files of a job will be, from what is declared before anything is there.

Arrays are stored as they are, without compression: rows times bytes. What nobody has declared, the
sizes of public data that are not there yet, of test sets in files of their own and of others'
weights, is not guessed.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from workflow_scripts.files import open_arrays
from workflow_scripts.plan import Plan
from workflow_scripts.plan.work import FAMILIES
from workflow_scripts.stages import Stage, canonical

LABEL = FLOAT64 = 8
FLOAT = 4
# Numbers of eight bytes that a generator remembers of every image; a text has two colours besides.
STATE = {"text": 7, "avatar": 16, "pool": 1, "diffusion": 1, "edm": 1, "diffusers": 1, "api": 1}
DIMENSIONS = {"inception": 2048, "clip": 512, "dinov2": 384}


def bytes_of(plan: Plan, rule: str, wildcards, settings: Mapping) -> dict[str, float | None]:
    """The sizes of a rule's large outputs, in all shards together.

    Parameters
    ----------
    plan : Plan
    rule : str
    wildcards
        Of the job.
    settings : mapping
        The rule's params.

    Returns
    -------
    dict
        Name of the output → bytes; None if nobody knows.
    """
    measure = _FAMILIES.get(FAMILIES.get(rule, rule))
    return measure(plan, wildcards, settings) if measure else {}


def image_bytes(image: Mapping) -> int:
    """Of one image of a shape: `size` and `channels`."""
    return image["size"] ** 2 * image["channels"]


def dimensions(encoder: Mapping, image: Mapping) -> int | None:
    """D of an encoder's embeddings of images of a shape; None if only its file knows."""
    match encoder["kind"]:
        case "pixels":
            return image_bytes(image)
        case "cnn":
            return encoder["dimension"]
        case kind:
            return DIMENSIONS.get(kind)


@cache
def parameters(network: str, size: int, channels: int, classes: int, null_class: bool) -> int:
    """How many numbers a denoiser's network (in JSON) has; nothing of it is computed."""
    import torch

    from workflow_scripts.edm.network import SongUnet

    with torch.device("meta"):
        model = SongUnet(
            sample_size=size,
            in_channels=channels,
            **json.loads(network),
            num_class_embeds=classes,
            null_class=null_class,
        )
    return sum(parameter.numel() for parameter in model.parameters())


def _sample(plan: Plan, generator: Stage) -> int:
    """Bytes of an image of a generator, with its label and what the generator remembers."""
    kind = generator.settings["generator"]["kind"]
    shape = canonical(plan.catalogue.image_of(generator))
    state = STATE.get(kind, 0) + (2 * shape["channels"] if kind == "text" else 0)
    return image_bytes(shape) + LABEL + FLOAT64 * state


def _lookahead(rows: int, encoder: Mapping, image: Mapping) -> int | None:
    """Embeddings, labels and brightness."""
    width = dimensions(encoder, image)
    return width and rows * (FLOAT * width + LABEL + FLOAT)


def _prepared(plan: Plan, wildcards, settings: Mapping) -> dict:
    each = image_bytes(settings["image"]) + LABEL
    train, split = settings["train_size"], settings["split"]
    sizes = {"train": train * each}
    if split:
        share = split["test_fraction"]
        held_out = (settings["hold_out"] or {"size": 0})["size"]
        sizes["test"] = (train + held_out) / (1 - share) * share * each
    return sizes


def _rendered(plan: Plan, wildcards, settings: Mapping) -> dict:
    each = image_bytes(settings["image"]) + LABEL
    return {"images": settings["source"]["samples"] * each}


def _embedded(plan: Plan, wildcards, settings: Mapping) -> dict:
    dataset = plan.stages[wildcards.dataset].settings["dataset"]
    width = dimensions(settings["encoder"], canonical(dataset["image"]))
    if wildcards.split != "train":
        return {}
    return {"embeddings": width and dataset["train_size"] * (FLOAT * width + LABEL)}


def _pool(plan: Plan, wildcards) -> tuple[int | None, int | None]:
    """How many images a pool has, and in how many dimensions they are embedded."""
    public, encoder = plan.stages[wildcards.generator].parents
    dataset = public.settings["dataset"]
    stored = Path(f"results/public/datasets/{public.label}/images.safetensors")
    images = dataset["source"].get("samples")
    if images is None and stored.exists():
        images = len(open_arrays(stored)["labels"])
    return images, dimensions(encoder.settings["encoder"], canonical(dataset["image"]))


def _pool_embedded(plan: Plan, wildcards, settings: Mapping) -> dict:
    images, width = _pool(plan, wildcards)
    return {"embeddings": images and width and images * (FLOAT * width + LABEL)}


def _pool_indexed(plan: Plan, wildcards, settings: Mapping) -> dict:
    images, width = _pool(plan, wildcards)
    return {"index": images and width and images * FLOAT * width}


def _initial(plan: Plan, wildcards, settings: Mapping) -> dict:
    (generator,) = plan.stages[wildcards.initial].parents
    rows = sum(settings["samples_per_class"]) * (1 + settings["fold"])
    return {"population": rows * _sample(plan, generator)}


def _looked_ahead(plan: Plan, wildcards, settings: Mapping) -> dict:
    rows = settings["size"] * settings["copies"]
    return {"lookahead": _lookahead(rows, settings["encoder"], settings["image"])}


def _run(plan: Plan, wildcards):
    return plan.run(wildcards.dataset, wildcards.method, wildcards.epsilon, wildcards.seed)


def _iteration(plan: Plan, wildcards) -> int:
    return int(wildcards.get("t", _run(plan, wildcards).iterations))


def _voted(plan: Plan, wildcards, settings: Mapping) -> dict:
    method, before = _run(plan, wildcards).settings, int(wildcards.t) - 1
    rows = method.selected(before) * method.copies(before)
    # With labels and brightness, and once more in the journal.
    return {"votes": 2 * rows * (FLOAT64 + LABEL + FLOAT)}


def _selected(plan: Plan, wildcards, settings: Mapping) -> dict:
    run, t = _run(plan, wildcards), int(wildcards.t)
    # `vary` has handed the candidates over to the generator that goes on with them.
    candidates = plan.methods[wildcards.method].generators[t]
    return {"parents": run.settings.selected(t) * _sample(plan, candidates)}


def _varied(plan: Plan, wildcards, settings: Mapping) -> dict:
    t, generators = _iteration(plan, wildcards), plan.methods[wildcards.method].generators
    rows = settings["selected"] * (settings["fold"] + settings["keep_selected"])
    maker = generators[min(t + 1, len(generators) - 1)]
    sizes = {"population": rows * _sample(plan, maker)}
    if "lookahead" in settings:
        sizes["lookahead"] = _lookahead(rows, settings["encoder"], settings["image"])
    return sizes


def _sampled(plan: Plan, wildcards, settings: Mapping) -> dict:
    image = _run(plan, wildcards).dataset.settings["dataset"]["image"]
    each = image_bytes(canonical(image)) + LABEL + FLOAT64
    return {"population": sum(settings["samples_per_class"]) * each}


def _released(plan: Plan, wildcards, settings: Mapping) -> dict:
    run = _run(plan, wildcards)
    method, t = run.settings, next(iter(plan.candidate_folders(run)))
    rows = method.selected(t) * method.copies(t) if run.iterations else method.samples
    return {"release": rows * (image_bytes(settings["image"]) + LABEL)}


def _weights(network: Mapping | None, image: Mapping, classes: int, dropout: float) -> int | None:
    if not network:
        return None
    text = json.dumps(network, sort_keys=True)
    shape = (image["size"], image["channels"])
    return FLOAT * parameters(text, *shape, classes, dropout > 0)


def _finetuned(plan: Plan, wildcards, settings: Mapping) -> dict:
    dropout = settings["training"]["label_dropout"]
    classes = len(settings["classes"])
    weights = _weights(settings["network"], settings["image"], classes, dropout)
    # Once more in the journal.
    return {"pipeline": weights and 2 * weights}


def _pretrained(plan: Plan, wildcards, settings: Mapping) -> dict:
    run, _ = plan.queries[f"{wildcards.dataset}/queries/{wildcards.query}/seed{wildcards.seed}"]
    image = canonical(run.dataset.settings["dataset"]["image"])
    dropout = settings["training"]["label_dropout"]
    return {"pipeline": _weights(settings["network"], image, len(settings["classes"]), dropout)}


def _trained(plan: Plan, wildcards, settings: Mapping) -> dict:
    generator = plan.stages[wildcards.generator]
    image, own = canonical(plan.catalogue.image_of(generator)), settings["generator"]
    if own["kind"] != "edm":
        return {"pipeline": None}
    dropout = own["training"]["label_dropout"]
    return {"pipeline": _weights(own["network"], image, len(settings["classes"]), dropout)}


_FAMILIES = {
    "prepare_sensitive": _prepared,
    "render_public": _rendered,
    "embed_sensitive": _embedded,
    "embed_pool": _pool_embedded,
    "index_pool": _pool_indexed,
    "initialise": _initial,
    "look_ahead": _looked_ahead,
    "vote": _voted,
    "select": _selected,
    "vary": _varied,
    "sample": _sampled,
    "release": _released,
    "finetune": _finetuned,
    "pretrain_on_selection": _pretrained,
    "train_generator": _trained,
}
