"""What Private Evolution, and RANDOM alone, are built from, and what is checked beforehand."""

import math
from collections.abc import Sequence

from workflow_scripts.configuration import ConfigurationProblem
from workflow_scripts.configuration.datasets import SensitiveDataset
from workflow_scripts.configuration.experiment import Experiment
from workflow_scripts.configuration.methods import Choice, PEMethod, Phase, RandomMethod
from workflow_scripts.plan.catalogue import Catalogue, unknown
from workflow_scripts.plan.classes import check_classes, counts_of, fractions_of
from workflow_scripts.plan.runs import MethodStages
from workflow_scripts.stages import VERSIONS, Stage

# What the keys of a method's parents already say, and what its stage says in its own words.
IN_PARENTS = {
    "generator", "iterations", "variation", "phases", "encoder", "lookahead", "choose",
}  # fmt: skip


def random_stages(
    catalogue: Catalogue, name: str, settings: RandomMethod, dataset_name: str
) -> tuple[Stage, MethodStages]:
    """RANDOM of a generator and nothing else: the method and what it is built from."""
    where = catalogue.where("methods", name)
    dataset = catalogue.sensitive(dataset_name)
    check_classes(settings, dataset.classes, where)
    generator, drawn = _generator(catalogue, settings.generator, settings, dataset, where)
    fractions = fractions_of(settings.class_fractions, dataset.classes, where)
    counts = counts_of(settings.samples, fractions, dataset.classes, where)
    initial = _initial(catalogue, generator, drawn, counts, 0, {})
    # What is released has the shape of the data set's images.
    own = {"family": "random", "image": dataset.image.model_dump()}
    catalogue.check_public((generator,), dataset_name, where)
    stages = MethodStages((generator,), {generator.label: drawn}, initial, fractions)
    return Stage(name, own, (initial,)), stages


def evolved_stages(
    catalogue: Catalogue,
    name: str,
    settings: PEMethod,
    dataset_name: str,
    experiment: Experiment,
    classifiers: dict[str, Stage],
) -> tuple[Stage, MethodStages]:
    """Private Evolution: the method and what it is built from.

    Parameters
    ----------
    catalogue : Catalogue
    name : str
        Of the method.
    settings : PEMethod
    dataset_name : str
        Of the sensitive data set.
    experiment : Experiment
    classifiers : dict
        All of evaluation.yaml, by name.
    """
    where = catalogue.where("methods", name)
    dataset = catalogue.sensitive(dataset_name)
    check_classes(settings, dataset.classes, where)
    generators, drawn = _generators(catalogue, settings, dataset, where)
    fractions = _fractions(settings, dataset.classes, where)
    first = generators[0]
    wanted = "one number" if settings.initial_fold else None
    _check_degrees(
        catalogue, settings.initial_variation, first, f"{where}.initial_variation", wanted
    )
    initial = _initial(
        catalogue,
        first,
        drawn[first.label],
        counts_of(settings.selected(0), fractions, dataset.classes, where),
        settings.initial_fold,
        settings.initial_variation,
    )
    encoder = catalogue.encoder_stage(settings.encoder, f"{where}.encoder")
    catalogue.check_encoder_shape(encoder, dataset.image, f"{where}.encoder")
    own = {
        "version": VERSIONS["look_ahead"],
        "degree": settings.degree(1) if settings.lookahead else {},
        "lookahead": settings.lookahead,
        "image": dataset.image.model_dump(),
    }
    lookahead = catalogue.stage("lookahead", encoder.name, own, (initial, encoder))
    catalogue.check_public((*generators, encoder), dataset_name, where)

    distinct = tuple(dict.fromkeys(generators))
    names = [generator.name for generator in distinct]
    own = settings.model_dump(exclude=IN_PARENTS) | {
        "version": VERSIONS["pe"],
        "phases": [
            # Which of the parents; their keys say what they are.
            {**phase.model_dump(), "generator": names.index(phase.generator)}
            for phase in settings.schedule
        ],
        "delta": experiment.delta or "1/(N ln N)",
        "train_size": dataset.train_size,
        "noise_source": experiment.noise_source,
    }
    parents = (catalogue.sensitive_stage(dataset_name), initial, *distinct, lookahead)
    if choice := settings.choose:
        place = f"{where}.choose"
        _check_choice(choice, settings.rounds, classifiers, experiment.epsilons, place)
        own["choose"] = choice.model_dump(exclude={"classifier"})
        parents += (classifiers[choice.classifier],)
    stages = MethodStages((first, *generators), drawn, initial, fractions, encoder, lookahead)
    return Stage(name, own, parents), stages


def _generators(
    catalogue: Catalogue, settings: PEMethod, dataset: SensitiveDataset, where: str
) -> tuple[list[Stage], dict[str, tuple[str, ...]]]:
    """The generator of every iteration t = 1 … T, and each one's names of the classes."""
    generators, drawn = [], {}
    for i, phase in enumerate(settings.schedule):
        place = f"{where}.phases.{i}" if settings.phases else where
        generator, names = _generator(catalogue, phase.generator, settings, dataset, place)
        drawn[generator.label] = names
        _check_variation(catalogue, phase, generator, place)
        if i and not catalogue.configuration.generators[generator.name].adopts:
            raise ConfigurationProblem(
                f"{place}.generator: found {generator.name!r}, which cannot continue from "
                "another generator's images; allowed: first of the phases, or a generator "
                "that makes variations of any image"
            )
        generators += [generator] * phase.iterations
    return generators, drawn


def _fractions(settings: PEMethod, classes: tuple[str, ...], where: str) -> tuple[float, ...]:
    """Weights of the classes, once in every iteration enough candidates compete."""
    declared = settings.class_fractions
    fractions = fractions_of("uniform" if declared == "noised" else declared, classes, where)
    for t in range(settings.rounds + 1):
        counts = counts_of(settings.selected(t), fractions, classes, where)
        candidates = min(counts) * settings.copies(t)
        if settings.histogram == "joint":
            candidates = settings.selected(t) * settings.copies(t)
        if t < settings.rounds and candidates < settings.neighbours:
            raise ConfigurationProblem(
                f"{where}.neighbours: found {settings.neighbours}; allowed: at most "
                f"{candidates}, the candidates that compete in iteration {t + 1}"
            )
    return fractions


def _generator(
    catalogue: Catalogue,
    name: str,
    settings: RandomMethod | PEMethod,
    dataset: SensitiveDataset,
    where: str,
) -> tuple[Stage, tuple[str, ...]]:
    generator = catalogue.generator_stage(name, f"{where}.generator")
    catalogue.check_shape(generator, dataset.image, f"{where}.generator")
    drawn = catalogue.check_drawable(
        generator, dataset.classes, settings.class_names, f"{where}.class_names"
    )
    return generator, drawn


def _initial(
    catalogue: Catalogue,
    generator: Stage,
    classes: tuple[str, ...],
    counts: tuple[int, ...],
    fold: int,
    degree: dict,
) -> Stage:
    own = {
        "version": VERSIONS["initialise"],
        "classes": classes,
        "samples_per_class": counts,
        "fold": fold,
        "degree": degree,
    }
    return catalogue.stage("initial", generator.name, own, (generator,))


def _check_choice(
    choice: Choice,
    rounds: int,
    classifiers: dict[str, Stage],
    epsilons: Sequence[float],
    where: str,
) -> None:
    """A choice is between populations that there are, and leaves some of every ε."""
    if choice.classifier not in classifiers:
        raise unknown(f"{where}.classifier", choice.classifier, classifiers)
    if choice.iterations[-1] > rounds:
        raise ConfigurationProblem(
            f"{where}.iterations: found {choice.iterations[-1]}; allowed: 0 to {rounds} "
            f"(iterations: {rounds})"
        )
    least = min(epsilons, default=math.inf)
    if choice.epsilon >= least:
        raise ConfigurationProblem(
            f"{where}.epsilon: found {choice.epsilon:g}; allowed: less than {least:g}, the "
            "smallest ε of the experiment, as the votes need the rest"
        )


def _check_variation(catalogue: Catalogue, phase: Phase, generator: Stage, where: str) -> None:
    for name, schedule in phase.variation.items():
        if isinstance(schedule, tuple) and len(schedule) != phase.iterations:
            raise ConfigurationProblem(
                f"{where}.variation.{name}: found {len(schedule)} entries; allowed: one "
                f"number, or {phase.iterations} entries, one per iteration (iterations: "
                f"{phase.iterations})"
            )
    wanted = f"one number or {phase.iterations} (one per iteration)"
    _check_degrees(catalogue, phase.variation, generator, f"{where}.variation", wanted)


def _check_degrees(
    catalogue: Catalogue, variation: dict, generator: Stage, where: str, wanted: str | None
) -> None:
    """The degrees of VARIATION are the generator's, within their range, and none is missing.

    `wanted` says what is asked for; None if nothing is varied.
    """
    degrees = catalogue.configuration.generators[generator.name].degrees
    for name in variation:
        if name not in degrees:
            raise unknown(where, name, degrees)
    for name, degree in degrees.items():
        place = f"{where}.{name}"
        if name not in variation:
            if degree.optional or wanted is None:
                continue
            raise ConfigurationProblem(f"{place}: missing; {wanted}")
        schedule = variation[name]
        for entry in schedule if isinstance(schedule, tuple) else (schedule,):
            if allowed := degree.problem(entry):
                raise ConfigurationProblem(f"{place}: found {entry}; allowed: {allowed}")
