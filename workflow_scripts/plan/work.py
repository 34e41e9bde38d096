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
# Generators that run a network once for every step of sampling.
DIFFUSION = ("diffusion", "edm", "diffusers")
# The settings that say what is computed with, not how often.
MODEL = ("generator", "follower", "encoder", "classifier", "network", "image", "train", "metric")
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
        What it is computed with; a unit takes the same time in all jobs of a rule and a model.
    images : int
        That generators are asked for.
    """

    amount: float
    unit: str
    model: str
    images: int = 0


def work_of(rule: str, settings: Mapping, shards: int = 1) -> Work:
    """The work of a job.

    Parameters
    ----------
    rule : str
    settings : mapping
        The rule's params, as `workflow_scripts.settings` has them.
    shards : int
        In which the work of these settings is shared out.

    Returns
    -------
    Work
        Images, or network evaluations where a diffusion model makes them; images of training, for
        DP-SGD gradients (of a record and a draw of noise); or one job, where nothing better is
        known.
    """
    family = FAMILIES.get(rule, rule)
    model = json.dumps({k: settings[k] for k in MODEL if k in settings}, sort_keys=True)
    match family:
        case "initialise" | "sample":
            images = sum(settings["samples_per_class"]) * (1 + settings["fold"])
            parts = [(images, settings["generator"], {})]
        case "look_ahead":
            images = settings["size"] * settings["copies"] * settings["lookahead"]
            parts = [(images, settings["generator"], settings["degree"])]
        case "vary":
            varied = settings["selected"] * settings["fold"]
            members = settings["selected"] * (settings["fold"] + settings["keep_selected"])
            follower = settings.get("follower") or settings
            parts = [
                (varied, settings["generator"], settings["degree"]),
                (
                    members * settings.get("lookahead", 0),
                    follower["generator"],
                    settings.get("next_degree", {}),
                ),
            ]
        case "train_generator" | "pretrain_on_selection":
            training = settings.get("training") or settings["generator"]
            training = training.get("training") or training
            return Work(training["training_steps"] * training["batch_size"], TRAINED, model)
        case "finetune":
            sampled = settings["train_size"] * settings["release"]["sampling_probability"]
            training = settings["training"]
            views = training["noise_multiplicity"] * training["augmentation_multiplicity"]
            return Work(settings["iterations"] * sampled * views, GRADIENT, model)
        case _:
            return Work(1 / shards, JOB, model)
    images = sum(number for number, _, _ in parts)
    unit = IMAGE
    if images and any(generator["kind"] in DIFFUSION for _, generator, _ in parts):
        unit = EVALUATION
        amount = sum(number * evaluations(generator, degree) for number, generator, degree in parts)
    else:
        # What is embedded, not generated, takes its time too.
        amount = images or 1
    return Work(amount / shards, unit, model, round(images / shards))


def evaluations(generator: Mapping, degree: Mapping) -> int:
    """How often a generator runs its network for an image, of RANDOM or of VARIATION.

    A variation of a strength skips the first steps; what has no network counts as one.
    """
    if generator["kind"] not in DIFFUSION:
        return 1
    sampling = generator.get("sampling") or {}
    steps = degree.get("sampling_steps") or generator.get("sampling_steps") or sampling["steps"]
    return max(1, round(steps * degree.get("strength", 1)))
