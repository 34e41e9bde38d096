"""The plan: every run of an experiment, resolved and checked before the first job.

Names are looked up in the catalogue, variants extended, overrides applied, schedules compared with
T, classes and image shapes compared with the generator's. What cannot work is refused here, with
the file and key at fault.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from workflow_scripts.configuration import Configuration, ConfigurationProblem
from workflow_scripts.configuration.methods import (
    Choice,
    DpSgdMethod,
    Method,
    PEMethod,
    RandomMethod,
    RealMethod,
)
from workflow_scripts.configuration.reading import validate
from workflow_scripts.evolution.choice import NoisyMaximum
from workflow_scripts.plan.catalogue import Catalogue, unknown
from workflow_scripts.plan.classes import check_classes, counts_of, fractions_of
from workflow_scripts.plan.evolution import evolved_stages, random_stages
from workflow_scripts.plan.runs import MethodStages, Query, Run, TrainingStages
from workflow_scripts.plan.training import training_stages
from workflow_scripts.privacy.accountant import exact
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import DiscreteGaussianEvent, SampledGaussianEvent
from workflow_scripts.stages import VERSIONS, Stage, canonical


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
        self.catalogue = Catalogue(configuration, root)
        self.methods: dict[str, MethodStages] = {}
        self.trainings: dict[str, TrainingStages] = {}
        self._check_names()
        self.runs = [
            run
            for dataset in self.experiment.datasets
            for method in self.experiment.methods
            for run in self._runs_of(dataset, method)
        ]
        for run in self.runs:
            self._check_query(run)
        self.classifiers = {
            name: self._classifier(name) for name in self._named("classifiers", "evaluation")
        }
        self.fidelity = {
            name: self._fidelity(name) for name in self._named("fidelity_encoders", "encoders")
        }

    def absent(self) -> list[str]:
        """A line for every file or folder that the configuration names and that is not there."""
        return [
            f"{place}: found {path!r}; there is no such file or folder"
            for place, path in self.catalogue.absent.items()
        ]

    # --- lookups by what stands in a path ---

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """Every stage by its label."""
        found: dict[str, Stage] = {}
        pending = [run.method for run in self.runs] + [run.dataset for run in self.runs]
        pending += [*self.classifiers.values(), *self.fidelity.values()]
        pending += [self.by_iteration(stage) for stage in self.classifiers.values()]
        while pending:
            stage = pending.pop()
            if stage.label not in found:
                found[stage.label] = stage
                pending.extend(stage.parents)
        return found

    def labels(self, part: str, *kinds: str) -> list[str]:
        """Labels of the stages of a catalogue file, of some of its kinds or all.

        `part` is `dataset`, `encoder` or `generator`; a data set's kind is its source's.
        """

        def kind(entry: dict) -> str:
            return entry.get("source", entry)["kind"]

        return [
            label
            for label, stage in self.stages.items()
            if part in stage.settings and (not kinds or kind(stage.settings[part]) in kinds)
        ]

    def methods_of(self, *families: str) -> list[str]:
        """Labels of the methods of some families."""
        return list(
            dict.fromkeys(r.method.label for r in self.runs if r.settings.family in families)
        )

    @cached_property
    def _runs_by_identity(self) -> dict[str, Run]:
        trainings = [self.training(run) for run in self.runs if run.is_trained]
        return {run.identity: run for run in (*self.runs, *trainings)}

    def run(self, dataset: str, method: str, epsilon: str, seed: str | int) -> Run:
        """The run with these labels, ε and seed."""
        identity = f"{dataset}/{method}/eps{epsilon}/seed{seed}"
        try:
            return self._runs_by_identity[identity]
        except KeyError:
            raise ConfigurationProblem(
                f"{self._source}: no run of this experiment is results/runs/{identity}"
            ) from None

    @property
    def longest_chain(self) -> int:
        """How many jobs wait for one another at most: `vote`, `select` and `vary` T times, and
        fewer than 20 before and after."""
        return 20 + 3 * max((run.iterations for run in self.runs), default=0)

    def delta(self, run: Run) -> float:
        """δ of a run: the experiment's, or 1 / (N ln N) with N the declared, public train_size."""
        n = self.catalogue.sensitive(run.dataset.name).train_size
        return self.experiment.delta or 1 / (n * math.log(n))

    def budget(self, run: Run) -> dict:
        """What a run may spend and on how many releases: see `privacy.budget.KEYS`."""
        query, settings = self.query(run), run.settings
        others = [query.event] if query else []
        if run.counts_classes:
            others += [DiscreteGaussianMechanism.of(settings.class_count_noise).event]
        if choice := self.choice(run):
            others += [NoisyMaximum(choice.epsilon, len(choice.iterations)).event]
        if run.is_trained:
            release = {
                "type": SampledGaussianEvent.type,
                "sensitivity": settings.clipping_norm,
                "sampling_probability": settings.sampling_probability,
            }
        else:
            release = {"type": DiscreteGaussianEvent.type, "counts": settings.neighbours}
        return {
            "epsilon": float(run.epsilon),
            "delta": self.delta(run),
            "iterations": settings.steps if run.is_trained else run.iterations,
            "release": release,
            "others": [asdict(other) for other in others],
        }

    def ledgers(self, run: Run) -> dict[str, list]:
        """The ledger of everything that a run releases → its mechanism and iteration, in order."""
        if run.is_trained:
            query = self.query(run)
            asked = {f"{query.directory(run)}/ledger.json": [query.mechanism, 0]} if query else {}
            folder = f"{self.training(run).directory}/finetuned"
            return asked | {f"{folder}/ledger.json": ["finetune", 0]}
        found = {}
        if run.counts_classes:
            found[f"{run.directory}/class_counts/ledger.json"] = ["count_classes", 0]
        for t in range(1, run.iterations + 1):
            found[f"{run.directory}/iter{t}/ledger.json"] = ["vote", t]
        if self.choice(run):
            found[f"{run.directory}/choice/ledger.json"] = ["choose_iteration", 0]
        return found

    # --- training ---

    def training(self, run: Run) -> Run:
        """The training of a run, which other numbers of images, or other samplers, share.

        It has a directory, a budget and a ledger as a run has, and releases no images.
        """
        stages = self.trainings[run.method.label]
        return replace(run, method=stages.training)

    @cached_property
    def training_labels(self) -> list[str]:
        """Labels of the trainings with DP-SGD."""
        runs = (self.training(run) for run in self.runs if run.is_trained)
        return list(dict.fromkeys(run.method.label for run in runs))

    def query(self, run: Run) -> Query | None:
        """What a run asks the sensitive data before it trains."""
        return self.trainings[run.method.label].query if run.is_trained else None

    @cached_property
    def queries(self) -> dict[str, tuple[Run, Query]]:
        """Every query by its identity, and a run that uses it."""
        asked = ((run, self.query(run)) for run in self.runs)
        return {query.identity(run): (run, query) for run, query in asked if query}

    def queries_of(self, mechanism: str) -> list[str]:
        """Labels of the queries that a mechanism answers."""
        labels = (q.stage.label for _, q in self.queries.values() if q.mechanism == mechanism)
        return list(dict.fromkeys(labels))

    def start(self, run: Run) -> str | None:
        """The folder of the model that a run's training starts from; None at random weights."""
        stages = self.trainings[run.method.label]
        if stages.start is None:
            return None
        if stages.query:
            return f"{stages.query.directory(run)}/pretrained/{stages.start.label}/pipeline"
        return f"results/public/generators/{stages.start.label}/pipeline"

    # --- where a run's populations lie ---

    def population_folder(self, run: Run, t: int) -> str:
        """Where the shards of a run's population after iteration t lie.

        The initial population is public; the last one has no lookahead and a folder of its own.
        """
        if run.is_trained:
            return f"{run.directory}/final"
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

    def choice(self, run: Run) -> Choice | None:
        """How the sensitive images choose the iteration to release; None if it is the last."""
        return getattr(run.settings, "choose", None)

    def candidate_folders(self, run: Run) -> dict[int, str]:
        """The iterations that may be released → where their populations lie."""
        choice = self.choice(run)
        iterations = choice.iterations if choice else (run.iterations,)
        return {t: self.population_folder(run, t) for t in iterations}

    def shown_iterations(self, run: Run) -> list[int]:
        """Iterations whose populations are measured and pictured: those kept, 0 and T."""
        return [
            t
            for t in range(run.iterations + 1)
            if t in (0, run.iterations) or self.experiment.keeps(t)
        ]

    def kept_iterations(self) -> tuple[list[int], list[int]]:
        """The iterations t ≥ 1 whose populations stay on disk, and those whose do not."""
        every = range(1, max((run.iterations for run in self.runs), default=0) + 1)
        kept = [t for t in every if self.experiment.keeps(t)]
        return kept, [t for t in every if t not in kept]

    # --- the grid ---

    def _runs_of(self, dataset: str, method: str) -> list[Run]:
        merged, places = self._merged(dataset, method)
        file = self.configuration.files["methods"]
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
        settings: RandomMethod | PEMethod | DpSgdMethod | RealMethod,
    ) -> Iterable[Run]:
        dataset = self.catalogue.sensitive_stage(dataset_name)
        if isinstance(settings, RealMethod):
            method = Stage(method_name, {"family": "real"}, (dataset,))
            epsilons = ["inf"]
        elif isinstance(settings, RandomMethod):
            method, stages = random_stages(self.catalogue, method_name, settings, dataset_name)
            self.methods[method.label] = stages
            epsilons = ["0"]
        else:
            if isinstance(settings, DpSgdMethod):
                method = self._dp_sgd(dataset_name, method_name, settings)
            else:
                classifiers = {
                    name: self._classifier(name)
                    for name in self.configuration.evaluation.classifiers
                }
                method, stages = evolved_stages(
                    self.catalogue,
                    method_name,
                    settings,
                    dataset_name,
                    self.experiment,
                    classifiers,
                )
                self.methods[method.label] = stages
            epsilons = [f"{epsilon:g}" for epsilon in self.experiment.epsilons]
            if not epsilons:
                raise ConfigurationProblem(
                    f"{self._source}, epsilons: found []; allowed: at least one ε, for "
                    f"{method_name}"
                )
        for epsilon in epsilons:
            for seed in self.experiment.seeds:
                yield Run(dataset, method, settings, epsilon, seed)

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
            raise unknown(f"{file}, {seen[-1]}.extends", name, methods)
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
                raise unknown(f"{self._source}, methods", method, self.configuration.methods)
        targets = [
            *experiment.methods,
            *(f"{d}/{m}" for d in experiment.datasets for m in experiment.methods),
        ]
        for target in experiment.overrides:
            if target not in targets:
                raise unknown(f"{self._source}, overrides", target, targets)

    # --- methods ---

    def _dp_sgd(self, dataset_name: str, name: str, settings: DpSgdMethod) -> Stage:
        """The stage of a method that trains with DP-SGD: what the trained model is asked for."""
        where = self.catalogue.where("methods", name)
        declared = self.catalogue.sensitive(dataset_name)
        check_classes(settings, declared.classes, where)
        fractions = fractions_of(settings.class_fractions, declared.classes, where)
        counts = counts_of(settings.samples, fractions, declared.classes, where)
        stages = training_stages(
            self.catalogue,
            name,
            settings,
            dataset_name,
            counts,
            self.experiment.noise_source,
            self.experiment.delta or "1/(N ln N)",
        )
        model = self.catalogue.generator(settings.model, where)
        sampling = getattr(model, "sampling", None)
        own = {
            "version": VERSIONS["initialise"],
            "family": settings.family,
            "samples_per_class": counts,
            # Of another kind of model, its sampler is in the key of the start.
            "sampling": sampling and sampling.model_dump(),
            "block_size": model.block_size,
        }
        method = Stage(name, own, (stages.training,))
        self.catalogue.check_public(filter(None, (stages.start,)), dataset_name, where)
        self.trainings[method.label] = self.trainings[stages.training.label] = stages
        return method

    # --- evaluation ---

    def _named(self, key: str, catalogue: str) -> tuple[str, ...]:
        names = getattr(self.experiment, key)
        known = (
            self.configuration.evaluation.classifiers
            if catalogue == "evaluation"
            else self.configuration.encoders
        )
        for name in names:
            if name not in known:
                raise unknown(f"{self._source}, {key}", name, known)
        return names

    def _classifier(self, name: str) -> Stage:
        settings = self.configuration.evaluation.classifiers[name]
        own = {"version": VERSIONS["utility"], "classifier": settings.model_dump()}
        return Stage(name, own)

    def _fidelity(self, name: str) -> Stage:
        where = f"{self._source}, fidelity_encoders"
        encoder = self.catalogue.encoder_stage(name, where)
        for dataset in self.experiment.datasets:
            self.catalogue.check_public((encoder,), dataset, where)
            self.catalogue.check_encoder_shape(
                encoder, self.catalogue.sensitive(dataset).image, where
            )
        own = {
            "version": VERSIONS["fidelity"],
            **self.configuration.evaluation.fidelity.model_dump(),
        }
        return Stage(name, own, (encoder,))

    def by_iteration(self, classifier: Stage) -> Stage:
        """A classifier for the populations of a run; which of them are kept is part of its key."""
        kept = canonical(self.experiment.keep_populations)
        return Stage(classifier.name, {**classifier.settings, "keep_populations": kept})

    # --- checks ---

    @property
    def _source(self) -> str:
        return self.configuration.source

    def _check_query(self, run: Run) -> None:
        """Refuse a query that alone costs more than ε; one on samples is left to `calibrate`."""
        query = self.query(run)
        if query is None:
            return
        spent = exact([query.event], self.delta(run))
        if spent is not None and spent >= float(run.epsilon):
            where = self.catalogue.where("methods", run.method.name)
            raise ConfigurationProblem(
                f"{where}.start.noise_multiplier: found {query.event.noise_multiplier:g}, which "
                f"alone costs ε = {spent:.4g}; allowed: more noise, for less than ε = {run.epsilon}"
            )
