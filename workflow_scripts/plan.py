"""The plan: every run of an experiment, resolved and checked before the first job.

Names are looked up in the catalogue, variants extended, overrides applied, schedules compared with
T, classes and image shapes compared with the generator's. What cannot work is refused here, with
the file and key at fault.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from workflow_scripts.configuration import (
    CnnEncoder,
    Configuration,
    ConfigurationProblem,
    DiffusionGenerator,
    Generated,
    Method,
    PEMethod,
    RandomMethod,
    RealMethod,
    SensitiveDataset,
    TextGenerator,
    validate,
)
from workflow_scripts.generators.fonts import FontProblem, find_fonts, font_listing
from workflow_scripts.stages import VERSIONS, Stage

REAL = "real"


@dataclass(frozen=True, eq=False)
class Run:
    """One cell of the grid: a data set, a method, ε and a seed.

    Attributes
    ----------
    epsilon : str
        As it prints in paths: %g; `0` for `random`, `inf` for `real`.
    iterations : int
        T; 0 for `random` and `real`.
    """

    dataset: Stage
    method: Stage
    settings: RandomMethod | PEMethod | RealMethod
    epsilon: str
    seed: int

    @property
    def iterations(self) -> int:
        return self.settings.iterations if isinstance(self.settings, PEMethod) else 0

    @property
    def is_real(self) -> bool:
        return isinstance(self.settings, RealMethod)

    @property
    def identity(self) -> str:
        return f"{self.dataset.label}/{self.method.label}/eps{self.epsilon}/seed{self.seed}"

    @property
    def directory(self) -> str:
        """Where the run's files lie; `real` has none outside the evaluation zone."""
        return f"results/runs/{self.identity}"

    @property
    def evaluation(self) -> str:
        if self.is_real:
            return f"results/evaluation/{self.dataset.label}/{REAL}/seed{self.seed}"
        return f"results/evaluation/{self.identity}"


@dataclass(frozen=True, eq=False)
class MethodStages:
    """What a method's runs on one data set are built from."""

    generator: Stage
    initial: Stage
    samples_per_class: tuple[int, ...]
    block_size: int
    encoder: Stage | None = None
    lookahead: Stage | None = None


class Plan:
    """All runs of an experiment and the stages that they need.

    Parameters
    ----------
    configuration : Configuration
    root : path
        Paths in the catalogue are relative to it.

    Raises
    ------
    ConfigurationProblem
    """

    def __init__(self, configuration: Configuration, root: str | Path = "."):
        self.configuration = configuration
        self.experiment = configuration.experiment
        self.root = Path(root)
        self._made: dict[tuple[str, str], Stage] = {}
        self.methods: dict[str, MethodStages] = {}
        self._check_names()
        self.runs = [
            run
            for dataset in self.experiment.datasets
            for method in self.experiment.methods
            for run in self._runs_of(dataset, method)
        ]
        self.classifiers = {
            name: self._classifier(name) for name in self._named("classifiers", "evaluation")
        }
        self.fidelity = {
            name: self._fidelity(name) for name in self._named("fidelity_encoders", "encoders")
        }

    # --- lookups by what stands in a path ---

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """Every stage by its label."""
        found: dict[str, Stage] = {}
        pending = [run.method for run in self.runs] + [run.dataset for run in self.runs]
        pending += [*self.classifiers.values(), *self.fidelity.values()]
        while pending:
            stage = pending.pop()
            if stage.label not in found:
                found[stage.label] = stage
                pending.extend(stage.parents)
        return found

    @cached_property
    def _runs_by_identity(self) -> dict[str, Run]:
        return {run.identity: run for run in self.runs}

    def run(self, dataset: str, method: str, epsilon: str, seed: str | int) -> Run:
        """The run with these labels, ε and seed."""
        identity = f"{dataset}/{method}/eps{epsilon}/seed{seed}"
        try:
            return self._runs_by_identity[identity]
        except KeyError:
            raise ConfigurationProblem(
                f"{self.configuration.source}: no run of this experiment is results/runs/{identity}"
            ) from None

    def delta(self, run: Run) -> float:
        """δ of a run: the experiment's, or 1 / (N ln N) with N the declared, public train_size."""
        n = self._sensitive(run.dataset.name).train_size
        return self.experiment.delta or 1 / (n * math.log(n))

    def population_folder(self, run: Run, t: int) -> str:
        """Where the shards of a run's population after iteration t lie.

        The initial population is public; the last one has no lookahead and a folder of its own.
        """
        if t == 0:
            return f"{self._initial_folder(run)}/population"
        if t == run.iterations:
            return f"{run.directory}/final"
        return f"{run.directory}/iter{t}/population"

    def lookahead_folder(self, run: Run, t: int) -> str:
        """Where the lookahead of a run's population after iteration t < T lies."""
        if t == 0:
            lookahead = self.methods[run.method.label].lookahead
            return f"{self._initial_folder(run)}/lookahead/{lookahead.label}"
        return f"{run.directory}/iter{t}/lookahead"

    def _initial_folder(self, run: Run) -> str:
        initial = self.methods[run.method.label].initial
        return f"results/public/initial/{initial.label}/seed{run.seed}"

    # --- the grid ---

    def _runs_of(self, dataset: str, method: str) -> list[Run]:
        merged, places = self._merged(dataset, method)
        file = self._file("methods")
        try:
            settings = validate(Method, merged, file, (method,))
            return list(self._grid(dataset, method, settings))
        except ConfigurationProblem as problem:
            # A wrong value that an override brought in is the experiment's, not the catalogue's.
            message = str(problem)
            for key, place in places.items():
                message = message.replace(f"{file}, {method}.{key}", place)
            raise ConfigurationProblem(message) from None

    def _grid(
        self,
        dataset_name: str,
        method_name: str,
        settings: RandomMethod | PEMethod | RealMethod,
    ) -> Iterable[Run]:
        dataset = self._dataset(dataset_name)
        if isinstance(settings, RealMethod):
            method = Stage(method_name, {"family": "real"}, (dataset,))
            epsilons = ["inf"]
        else:
            stages = self._generated(dataset_name, method_name, settings)
            if isinstance(settings, RandomMethod):
                method = Stage(method_name, {"family": "random"}, (stages.initial,))
                epsilons = ["0"]
            else:
                method = self._pe(method_name, settings, dataset, stages)
                epsilons = [f"{epsilon:g}" for epsilon in self.experiment.epsilons]
                if not epsilons:
                    self._refuse("epsilons", "[]", f"at least one ε, for {method_name}")
            self.methods[method.label] = stages
        for epsilon in epsilons:
            for seed in self.experiment.seeds:
                yield Run(dataset, method, settings, epsilon, seed)

    def _pe(self, name: str, settings: PEMethod, dataset: Stage, stages: MethodStages) -> Stage:
        # What the parents' keys already say is left out; the rest is the run's own.
        own = settings.model_dump(exclude={"generator", "encoder", "samples", "lookahead"})
        own |= {
            "version": VERSIONS["pe"],
            "delta": self.experiment.delta or "1/(N ln N)",
            "train_size": self._sensitive(dataset.name).train_size,
            "noise_source": self.experiment.noise_source,
        }
        return Stage(name, own, (dataset, stages.initial, stages.encoder, stages.lookahead))

    def _merged(self, dataset: str, method: str) -> tuple[dict[str, Any], dict[str, str]]:
        """A method's settings, and for those that are overridden, where."""
        merged, places = dict(self._extended(method)), {}
        for target in (method, f"{dataset}/{method}"):
            for key, value in self.experiment.overrides.get(target, {}).items():
                merged[key], places[key] = value, f"{self._source}, overrides.{target}.{key}"
        return merged, places

    def _extended(self, name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
        """A method's entry on top of the one that it extends."""
        methods, file = self.configuration.methods, self.configuration.files["methods"]
        if name not in methods:
            raise ConfigurationProblem(_unknown(f"{file}, {seen[-1]}.extends", name, methods))
        if name in seen:
            raise ConfigurationProblem(
                f"{file}, {name}.extends: found a circle, {' → '.join((*seen, name))}"
            )
        entry = dict(methods[name])
        parent = entry.pop("extends", None)
        return {**(self._extended(parent, (*seen, name)) if parent else {}), **entry}

    def _check_names(self) -> None:
        experiment = self.experiment
        for method in experiment.methods:
            if method not in self.configuration.methods:
                where = f"{self._source}, methods"
                raise ConfigurationProblem(_unknown(where, method, self.configuration.methods))
        targets = [
            *experiment.methods,
            *(f"{d}/{m}" for d in experiment.datasets for m in experiment.methods),
        ]
        for target in experiment.overrides:
            if target not in targets:
                raise ConfigurationProblem(_unknown(f"{self._source}, overrides", target, targets))

    # --- stages ---

    def _sensitive(self, name: str) -> SensitiveDataset:
        known = self.configuration.datasets.sensitive
        if name not in known:
            raise ConfigurationProblem(_unknown(f"{self._source}, datasets", name, known))
        return known[name]

    def _dataset(self, name: str) -> Stage:
        dataset = self._sensitive(name)
        for key in ("path", "test_path"):
            path = getattr(dataset.source, key, None)
            if path is not None and not (self.root / path).exists():
                raise ConfigurationProblem(
                    f"{self._file('datasets')}, sensitive.{name}.source.{key}: "
                    f"found {path!r}; there is no such file or folder"
                )
        return self._stage(
            "dataset", name, {"version": VERSIONS["prepare"], "dataset": dataset.model_dump()}
        )

    def _public(self, name: str, needed_by: str) -> Stage:
        known = self.configuration.datasets.public
        if name not in known:
            raise ConfigurationProblem(_unknown(needed_by, name, known))
        dataset = known[name]
        where = f"{self._file('datasets')}, public.{name}"
        simulators = self._simulators
        if dataset.source.generator not in simulators:
            # A model that is trained on this data set could not render it.
            raise ConfigurationProblem(
                _unknown(f"{where}.source.generator", dataset.source.generator, simulators)
            )
        generator = self._generator(dataset.source.generator, f"{where}.source.generator")
        self._check_shape(generator, dataset.image, f"{where}.source.generator")
        self._check_samples(dataset.source.samples, dataset.classes, f"{where}.source.samples")
        own = {"version": VERSIONS["render"], "dataset": dataset.model_dump()}
        return self._stage("public", name, own, (generator,))

    @property
    def _simulators(self) -> list[str]:
        generators = self.configuration.generators
        return [name for name in generators if isinstance(generators[name], TextGenerator)]

    def _generator_settings(self, stage: Stage) -> TextGenerator | DiffusionGenerator:
        return self.configuration.generators[stage.name]

    def _generator(self, name: str, needed_by: str) -> Stage:
        known = self.configuration.generators
        if name not in known:
            raise ConfigurationProblem(_unknown(needed_by, name, known))
        settings = known[name]
        where = f"{self._file('generators')}, {name}"
        own = {"version": VERSIONS["generator"], "generator": settings.model_dump()}
        parents = ()
        if isinstance(settings, TextGenerator):
            try:
                # Other fonts draw other images: their names and sizes are part of the key.
                own["fonts"] = font_listing(settings.fonts)
            except FontProblem as problem:
                raise ConfigurationProblem(f"{where}.fonts: {problem}") from None
        else:
            parents = (self._public(settings.dataset, f"{where}.dataset"),)
            size = self.configuration.datasets.public[settings.dataset].image.size
            halvings = len(settings.channels) - 1
            if size % 2**halvings:
                raise ConfigurationProblem(
                    f"{where}.channels: found {len(settings.channels)} levels, which halve images "
                    f"of {size} pixels {halvings} times; allowed: as often as {size} is even"
                )
        return self._stage("generator", name, own, parents)

    def _encoder(self, name: str, needed_by: str) -> Stage:
        known = self.configuration.encoders
        if name not in known:
            raise ConfigurationProblem(_unknown(needed_by, name, known))
        settings = known[name]
        own = {"version": VERSIONS["encoder"], "encoder": settings.model_dump()}
        parents = ()
        if isinstance(settings, CnnEncoder):
            where = f"{self._file('encoders')}, {name}.dataset"
            parents = (self._public(settings.dataset, where),)
        return self._stage("encoder", name, own, parents)

    def _generated(self, dataset_name: str, name: str, settings: Generated) -> MethodStages:
        """The stages of a method that runs a generator, with all that can be checked beforehand."""
        where = f"{self._file('methods')}, {name}"
        dataset = self._sensitive(dataset_name)
        generator = self._generator(settings.generator, f"{where}.generator")
        generator_settings = self._generator_settings(generator)
        self._check_shape(generator, dataset.image, f"{where}.generator")
        for key in ("class_names", "class_fractions"):
            named = getattr(settings, key)
            for class_name in named if isinstance(named, dict) else ():
                if class_name not in dataset.classes:
                    place = f"{where}.{key}"
                    raise ConfigurationProblem(_unknown(place, class_name, dataset.classes))
        drawn = tuple(settings.class_names.get(c, c) for c in dataset.classes)
        if isinstance(generator_settings, TextGenerator):
            self._check_drawable(generator_settings.fonts, drawn, f"{where}.class_names")
        else:
            public = self.configuration.datasets.public[generator_settings.dataset]
            for class_name in drawn:
                if class_name not in public.classes:
                    place = f"{where}.class_names"
                    raise ConfigurationProblem(_unknown(place, class_name, public.classes))
        counts = self._samples_per_class(settings, dataset.classes, where)
        own = {
            "version": VERSIONS["initialise"],
            "classes": drawn,
            "samples_per_class": counts,
        }
        initial = self._stage("initial", generator.name, own, (generator,))
        stages = MethodStages(generator, initial, counts, generator_settings.block_size)
        if isinstance(settings, RandomMethod):
            return stages
        self._check_variation(settings, generator_settings, where)
        encoder = self._encoder(settings.encoder, f"{where}.encoder")
        self._check_encoder_shape(encoder, dataset, f"{where}.encoder")
        own = {
            "version": VERSIONS["look_ahead"],
            "degree": settings.degree(1),
            "lookahead": settings.lookahead,
        }
        lookahead = self._stage("lookahead", encoder.name, own, (initial, encoder))
        return MethodStages(
            generator, initial, counts, generator_settings.block_size, encoder, lookahead
        )

    def _classifier(self, name: str) -> Stage:
        settings = self.configuration.evaluation.classifiers[name]
        own = {"version": VERSIONS["utility"], "classifier": settings.model_dump()}
        return Stage(name, own)

    def _fidelity(self, name: str) -> Stage:
        where = f"{self._source}, fidelity_encoders"
        encoder = self._encoder(name, where)
        for dataset in self.experiment.datasets:
            self._check_encoder_shape(encoder, self._sensitive(dataset), where)
        own = {
            "version": VERSIONS["fidelity"],
            **self.configuration.evaluation.fidelity.model_dump(),
        }
        return Stage(name, own, (encoder,))

    def _stage(
        self, kind: str, name: str, settings: dict, parents: tuple[Stage, ...] = ()
    ) -> Stage:
        """A stage, the same object for the same content."""
        stage = Stage(name, settings, parents)
        return self._made.setdefault((kind, stage.label), stage)

    # --- checks ---

    @property
    def _source(self) -> str:
        return self.configuration.source

    def _file(self, name: str) -> str:
        return self.configuration.files[name]

    def _refuse(self, key: str, found: str, allowed: str) -> None:
        raise ConfigurationProblem(f"{self._source}, {key}: found {found}; allowed: {allowed}")

    def _named(self, key: str, catalogue: str) -> tuple[str, ...]:
        names = getattr(self.experiment, key)
        known = (
            self.configuration.evaluation.classifiers
            if catalogue == "evaluation"
            else self.configuration.encoders
        )
        for name in names:
            if name not in known:
                raise ConfigurationProblem(_unknown(f"{self._source}, {key}", name, known))
        return names

    def _check_shape(self, generator: Stage, image: Any, where: str) -> None:
        settings = self._generator_settings(generator)
        if isinstance(settings, TextGenerator):
            made = (settings.image_size, 1)
        else:
            shape = self.configuration.datasets.public[settings.dataset].image
            made = (shape.size, shape.channels)
        if made != (image.size, image.channels):
            raise ConfigurationProblem(
                f"{where}: found {generator.name!r}, which makes images of {_shape(*made)}; "
                f"allowed: a generator of {_shape(image.size, image.channels)}"
            )

    def _check_encoder_shape(self, encoder: Stage, dataset: SensitiveDataset, where: str) -> None:
        settings = self.configuration.encoders[encoder.name]
        if isinstance(settings, CnnEncoder):
            image = self.configuration.datasets.public[settings.dataset].image
            if image != dataset.image:
                raise ConfigurationProblem(
                    f"{where}: found {encoder.name!r}, trained on images of "
                    f"{_shape(image.size, image.channels)}; allowed: an encoder of "
                    f"{_shape(dataset.image.size, dataset.image.channels)}"
                )

    def _check_variation(
        self, settings: PEMethod, generator: TextGenerator | DiffusionGenerator, where: str
    ) -> None:
        for name in (*settings.variation, *generator.degrees):
            place = f"{where}.variation.{name}"
            if name not in generator.degrees:
                raise ConfigurationProblem(_unknown(f"{where}.variation", name, generator.degrees))
            if name not in settings.variation:
                raise ConfigurationProblem(
                    f"{place}: missing; one number or {settings.iterations} (one per iteration)"
                )
            schedule = settings.variation[name]
            entries = schedule if isinstance(schedule, tuple) else (schedule,)
            if isinstance(schedule, tuple) and len(schedule) != settings.iterations:
                raise ConfigurationProblem(
                    f"{place}: found {len(schedule)} entries; allowed: one number, or "
                    f"{settings.iterations} entries, one per iteration (iterations: "
                    f"{settings.iterations})"
                )
            for entry in entries:
                if name in ("font", "strength") and entry > 1:
                    raise ConfigurationProblem(f"{place}: found {entry}; allowed: at most 1")
                if name not in ("font", "strength") and entry != int(entry):
                    raise ConfigurationProblem(f"{place}: found {entry}; allowed: whole numbers")
                if name == "strength" and entry <= 0:
                    raise ConfigurationProblem(f"{place}: found {entry}; allowed: above 0")

    def _check_drawable(self, fonts: str, texts: tuple[str, ...], where: str) -> None:
        # Reading the character maps of many fonts takes time; these are known to have ASCII.
        if fonts == "matplotlib" and all(t.isascii() and t.isalnum() for t in texts):
            return
        try:
            find_fonts(fonts, texts)
        except FontProblem as problem:
            raise ConfigurationProblem(f"{where}: {problem}") from None

    def _check_samples(self, samples: int, classes: tuple[str, ...], where: str) -> None:
        if samples < len(classes):
            raise ConfigurationProblem(
                f"{where}: found {samples}; allowed: at least {len(classes)}, one per class"
            )

    def _samples_per_class(
        self, settings: Generated, classes: tuple[str, ...], where: str
    ) -> tuple[int, ...]:
        self._check_samples(settings.samples, classes, f"{where}.samples")
        fractions = settings.class_fractions
        if fractions == "uniform":
            fractions = dict.fromkeys(classes, 1.0)
        for class_name in classes:
            if class_name not in fractions:
                raise ConfigurationProblem(
                    f"{where}.class_fractions.{class_name}: missing; every class needs a fraction"
                )
        counts = divide(settings.samples, [fractions[c] for c in classes])
        if 0 in counts:
            empty = classes[counts.index(0)]
            raise ConfigurationProblem(
                f"{where}.class_fractions.{empty}: found {fractions[empty]}, which rounds to no "
                f"image of {settings.samples}; allowed: a fraction that gives at least one"
            )
        return counts


def divide(total: int, weights: list[float]) -> tuple[int, ...]:
    """`total` in proportion to `weights`, in whole numbers, by largest remainders."""
    shares = [total * weight / sum(weights) for weight in weights]
    counts = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - shares[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return tuple(counts)


def _shape(size: int, channels: int) -> str:
    return f"{size}×{size}×{channels}"


def _unknown(where: str, found: str, known: Iterable[str]) -> str:
    return f"{where}: found {found!r}; allowed: {', '.join(map(str, known))}"
