"""How much work a job is, by its settings: what recorded and published times are scaled with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

# Variants of a rule do the same work.
FAMILIES = {
    "select_for_once": "select",
    "vary_for_once": "vary",
    "vary_last": "vary",
    "evaluate_real_utility": "evaluate_utility",
    "evaluate_real_fidelity": "evaluate_fidelity",
    "pretrain_on_central_images": "pretrain_on_selection",
}
# Generators that run a network once for every step of sampling, or twice.
DIFFUSION = ("diffusion", "edm", "diffusers")
TWICE = ("heun", "churn")
# Settings of a generator that say how often something is computed, or leave its time as it is.
NOT_THE_MODEL = {
    "block_size", "ema", "flip", "label_dropout", "learning_rate", "sampling", "sampling_steps",
    "seed", "timesteps", "training_steps",
}  # fmt: skip
JOB, IMAGE, EVALUATION = "job", "image", "network evaluation"
TRAINED, GRADIENT = "training image", "gradient"


@dataclass(frozen=True)
class Work:
    """How much a job computes, and with what.

    Attributes
    ----------
    amount : float
        In `unit`s; a job takes time in proportion.
    unit : str
    model : str
        What it is computed with; a unit takes the same time in all jobs of a rule, a model and
        `embeds`.
    embeds : str
        What embeds the images besides; empty for nothing.
    images : int
        That generators are asked for.
    """

    amount: float
    unit: str
    model: str
    embeds: str = ""
    images: int = 0


def work_of(rule: str, settings: Mapping, shards: int = 1) -> Work:
    """The work of a job.

    Parameters
    ----------
    rule : str
    settings : mapping
        The rule's params, as `workflow_scripts.settings` has them; of `sample` with `network` and
        `size`, of `train_generator` with `size`: pixels of a side of the images.
    shards : int
        In which the work of these settings is shared out.

    Returns
    -------
    Work
        Images, or network evaluations where a diffusion model makes them; images of training, for
        DP-SGD gradients (of a record and a draw of noise); or one job, where nothing better is
        known.
    """
    match FAMILIES.get(rule, rule):
        case "initialise" | "sample":
            images = sum(settings["samples_per_class"]) * (1 + settings["fold"])
            return _generated([(images, settings["generator"], {})], settings, shards)
        case "look_ahead":
            candidates = settings["size"] * settings["copies"]
            images = candidates * settings["lookahead"]
            parts = [(images, settings["generator"], settings["degree"])]
            return _generated(parts, settings, shards, candidates)
        case "vary":
            varied = settings["selected"] * settings["fold"]
            members = settings["selected"] * (settings["fold"] + settings["keep_selected"])
            follower = settings.get("follower") or settings
            ahead = members * settings.get("lookahead", 0)
            parts = [
                (varied, settings["generator"], settings["degree"]),
                (ahead, follower["generator"], settings.get("next_degree", {})),
            ]
            return _generated(parts, settings, shards)
        case "train_generator" | "pretrain_on_selection":
            trained = settings.get("generator", settings)
            training = trained.get("training", trained)
            batch = training["batch_size"]
            model = _only(trained, "network", "channels", "layers_per_block")
            model |= {"size": settings["size"], "batch_size": batch}
            return Work(training["training_steps"] * batch, TRAINED, _text(model))
        case "finetune":
            sampled = settings["train_size"] * settings["release"]["sampling_probability"]
            training = settings["training"]
            views = training["noise_multiplicity"] * training["augmentation_multiplicity"]
            model = _only(settings, "network", "train", "rank")
            model |= {"size": settings["image"]["size"]}
            return Work(settings["iterations"] * sampled * views, GRADIENT, _text(model))
        case _:
            return Work(1 / shards, JOB, "")


def _generated(
    parts: list[tuple[int, Mapping, Mapping]], settings: Mapping, shards: int, embedded: int = 0
) -> Work:
    """The work of making images: how many, of which generator, of which degree.

    `embedded` images are all there is to do where none is made.
    """
    parts = [part for part in parts if part[0]]
    generators = [generator for _, generator, _ in parts]
    images = sum(number for number, _, _ in parts)
    unit, amount = IMAGE, images or embedded
    if any(generator["kind"] in DIFFUSION for generator in generators):
        unit = EVALUATION
        amount = sum(number * evaluations(generator, degree) for number, generator, degree in parts)
    # Each once, in any order.
    model = {"generators": sorted({_text(_model(generator)) for generator in generators})}
    if "network" in settings:
        model |= _only(settings, "network", "size")
    embeds = _text(_only(settings, "encoder", "image")) if "encoder" in settings else ""
    return Work(amount / shards, unit, _text(model), embeds, round(images / shards))


def evaluations(generator: Mapping, degree: Mapping) -> int:
    """How often a generator runs its network for an image, of RANDOM or of VARIATION.

    A variation of a strength skips the first steps; samplers of second order run the network twice
    in every step but the last (`workflow_scripts.edm.sampling`). What has no network counts as one.
    """
    if generator["kind"] not in DIFFUSION:
        return 1
    sampling = generator.get("sampling") or {}
    steps = degree.get("sampling_steps") or generator.get("sampling_steps") or sampling["steps"]
    run = max(1, round(steps * degree.get("strength", 1)))
    return 2 * run - 1 if sampling.get("sampler") in TWICE else run


def _model(settings: Mapping) -> dict:
    return {
        key: _model(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if key not in NOT_THE_MODEL
    }


def _only(settings: Mapping, *keys: str) -> dict:
    return {key: settings[key] for key in keys if key in settings}


def _text(settings: Mapping) -> str:
    return json.dumps(settings, sort_keys=True)
