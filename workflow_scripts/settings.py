"""The settings of every step: the one `params` entry of its rule.

`settings_of` yields a canonical dict (plain types, sorted keys) that holds what the step uses and
nothing else. `stage` in it is what `settings.json` says in the directory that the step writes to.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from workflow_scripts.configuration.datasets import Download, Source
from workflow_scripts.configuration.methods import PEMethod
from workflow_scripts.plan import Plan
from workflow_scripts.plan.runs import Run
from workflow_scripts.proportions import divide
from workflow_scripts.stages import Stage, canonical
from workflow_scripts.training_settings import TRAINING_STEPS, released


def settings_of(plan: Plan, step: str) -> Callable[[Any], dict]:
    """A Snakemake `params` function: wildcards → the settings of `step`."""
    function = STEPS[step]

    def settings(wildcards) -> dict:
        return canonical(function(plan, wildcards))

    # As in `privacy.zones.within`.
    settings.__signature__ = inspect.signature(settings)
    return settings


def run_of(plan: Plan, wildcards) -> Run:
    """The run that a path's wildcards name."""
    return plan.run(wildcards.dataset, wildcards.method, wildcards.epsilon, wildcards.seed)


def _opened(plan: Plan, generator: Stage, classes: Sequence[str]) -> dict:
    """What `open_generator` needs: the catalogue entry and its names of the classes."""
    return {"generator": plan.configuration.generators[generator.name], "classes": classes}


def _block_size(generator: Stage) -> int:
    return generator.settings["generator"]["block_size"]


def source_paths(folder: str, source: Source) -> dict[str, str]:
    """Field → path of a source's files: as given, or where a rule fetches them to."""
    return {
        field: file if isinstance(file, str) else f"{folder}/source/{file.name}"
        for field, file in source.files.items()
    }


def _fetch(stage: Stage, source: Source, file: str) -> dict:
    downloads = [d for d in source.files.values() if isinstance(d, Download) and d.name == file]
    return {"stage": stage.description, "name": stage.name, **downloads[0].model_dump()}


def _fetch_sensitive(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.dataset]
    return _fetch(stage, sensitive_source(plan, stage), wildcards.file)


def _fetch_public(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.public]
    return _fetch(stage, public_source(plan, stage), wildcards.file)


def sensitive_source(plan: Plan, stage: Stage) -> Source:
    return plan.configuration.datasets.sensitive[stage.name].source


def public_source(plan: Plan, stage: Stage) -> Source:
    return plan.configuration.datasets.public[stage.name].source


def _prepare(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.dataset]
    files = source_paths(f"results/sensitive/{stage.label}", sensitive_source(plan, stage))
    return {"stage": stage.description, **stage.settings["dataset"], "files": files}


def _prepare_public(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.public]
    files = source_paths(f"results/public/datasets/{stage.label}", public_source(plan, stage))
    return {"stage": stage.description, **stage.settings["dataset"], "files": files}


def _render(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.public]
    (generator,) = stage.parents
    return {
        "stage": stage.description,
        "generator": generator.settings["generator"],
        "identity": [stage.key],
        **stage.settings["dataset"],
    }


def _fetch_encoder(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.encoder]
    weights = plan.configuration.encoders[stage.name].weights
    return {"stage": stage.description, "name": stage.name, "weights": weights}


def _fetch_generator(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.generator]
    return {"stage": stage.description, "generator": stage.settings["generator"]}


def _train_encoder(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.encoder]
    (public,) = stage.parents
    classes = public.settings["dataset"]["classes"]
    return {
        "stage": stage.description,
        "encoder": stage.settings["encoder"],
        "classes": classes,
    }


def _embed(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.encoder]
    return {"stage": stage.description, "encoder": stage.settings["encoder"]}


def _embed_pool(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.generator]
    _, encoder = stage.parents
    return {"stage": stage.description, "encoder": encoder.settings["encoder"]}


def _train_generator(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.generator]
    (public,) = stage.parents
    return {
        "stage": stage.description,
        "generator": stage.settings["generator"],
        "classes": public.settings["dataset"]["classes"],
    }


def _initialise(plan: Plan, wildcards) -> dict:
    initial = plan.stages[wildcards.initial]
    (generator,) = initial.parents
    own = initial.settings
    return {
        "stage": initial.description,
        **_opened(plan, generator, own["classes"]),
        "samples_per_class": own["samples_per_class"],
        "fold": own["fold"],
        "degree": own["degree"],
        "block_size": _block_size(generator),
        "identity": [initial.key, int(wildcards.seed)],
    }


def _look_ahead(plan: Plan, wildcards) -> dict:
    lookahead = plan.stages[wildcards.lookahead]
    initial, encoder = lookahead.parents
    (generator,) = initial.parents
    own = lookahead.settings
    return {
        "stage": lookahead.description,
        **_opened(plan, generator, initial.settings["classes"]),
        "encoder": encoder.settings["encoder"],
        "degree": own["degree"],
        "lookahead": own["lookahead"],
        "image": own["image"],
        "size": sum(initial.settings["samples_per_class"]),
        "copies": 1 + initial.settings["fold"],
        "block_size": _block_size(generator),
        "identity": [lookahead.key, int(wildcards.seed)],
    }


def _calibrate(plan: Plan, wildcards) -> dict:
    run = run_of(plan, wildcards)
    return {"stage": run.method.description, **plan.budget(run)}


def _image(run: Run) -> dict:
    return run.dataset.settings["dataset"]["image"]


def _count_classes(plan: Plan, wildcards) -> dict:
    run = run_of(plan, wildcards)
    return {
        **plan.budget(run),
        **released(plan, run, "class_counts"),
        "classes": len(run.dataset.settings["dataset"]["classes"]),
        "class_count_noise": run.settings.class_count_noise,
    }


def _vote(plan: Plan, wildcards) -> dict:
    run = run_of(plan, wildcards)
    return {
        **plan.budget(run),
        **released(plan, run, f"iter{wildcards.t}"),
        "iteration": int(wildcards.t),
        "metric": run.settings.metric,
        "joint": run.settings.histogram == "joint",
    }


def _choose_iteration(plan: Plan, wildcards) -> dict:
    run = run_of(plan, wildcards)
    choice = plan.choice(run)
    return {
        **plan.budget(run),
        **released(plan, run, "choice"),
        "choice_epsilon": choice.epsilon,
        "candidates": list(plan.candidate_folders(run).items()),
        "classifier": plan.configuration.evaluation.classifiers[choice.classifier],
        "classes": len(run.dataset.settings["dataset"]["classes"]),
        "image": _image(run),
    }


def _select(plan: Plan, wildcards) -> dict:
    run, t = run_of(plan, wildcards), int(wildcards.t)
    method = run.settings
    total = method.selected(t)
    settings = {
        "threshold": method.threshold,
        "selection": method.selection,
        "neighbours": method.neighbours,
        "identity": [run.identity, t],
        "selected": total,
    }
    if method.histogram == "per-class" and not run.counts_classes:
        settings["selected"] = divide(total, plan.methods[run.method.label].fractions)
    return settings


def _vary(plan: Plan, wildcards) -> dict:
    run, t = run_of(plan, wildcards), iteration_of(plan, wildcards)
    method, stages = run.settings, plan.methods[run.method.label]
    generator = stages.generators[t]
    settings = {
        **_opened(plan, generator, stages.classes[generator.label]),
        "degree": method.degree(t),
        "fold": method.fold,
        "keep_selected": method.keep_selected,
        "selected": method.selected(t),
        "block_size": _block_size(generator),
        "identity": [run.identity, t],
    }
    if t == run.iterations:
        return settings
    follower, handed_to = stages.generators[t + 1], None
    if follower.label != generator.label:
        handed_to = _opened(plan, follower, stages.classes[follower.label])
    return settings | {
        "follower": handed_to,
        "follower_image": plan.catalogue.image_of(follower),
        "encoder": stages.encoder.settings["encoder"],
        "image": _image(run),
        "lookahead": method.lookahead,
        "next_degree": method.degree(t + 1),
    }


def iteration_of(plan: Plan, wildcards) -> int:
    """t; the last iteration's population lies in `final/`, which has no t in its path."""
    return int(wildcards.get("t", run_of(plan, wildcards).iterations))


def _account(plan: Plan, wildcards) -> dict:
    run = run_of(plan, wildcards)
    return {
        "stage": run.method.description,
        "epsilon": float(run.epsilon),
        "delta": plan.delta(run),
        "noise_source": plan.experiment.noise_source,
        "releases": list(plan.ledgers(run).values()),
        "dataset": run.dataset.name,
        "public": _assumed_public(run),
    }


def _assumed_public(run: Run) -> dict:
    """What a run takes for public of the sensitive data set."""
    dataset = run.dataset.settings["dataset"]
    fractions = run.settings.class_fractions
    if fractions == "noised":
        fractions = "released with noise, and charged"
    return {
        "train_size": dataset["train_size"],
        "classes": dataset["classes"],
        "class_fractions": fractions,
        "image": dataset["image"],
        "preprocessing": {
            name: dataset[name] for name in ("split", "hold_out", "resize") if dataset[name]
        },
    }


def _release(plan: Plan, wildcards) -> dict:
    run = run_of(plan, wildcards)
    name = f"{run.dataset.name}, {run.method.name}, ε = {run.epsilon}, seed {run.seed}"
    settings = {"image": _image(run), "run": name}
    if plan.choice(run):
        settings["candidates"] = plan.candidate_folders(run)
    return settings


def _utility(plan: Plan, wildcards) -> dict:
    dataset = plan.stages[wildcards.dataset].settings["dataset"]
    return {
        "classifier": plan.stages[wildcards.classifier].settings["classifier"],
        "name": plan.stages[wildcards.classifier].name,
        "classes": len(dataset["classes"]),
        "seed": int(wildcards.seed),
    }


def _iterations(plan: Plan, wildcards) -> dict:
    run = run_of(plan, wildcards)
    return {
        **_utility(plan, wildcards),
        "image": _image(run),
        "populations": {str(t): plan.population_folder(run, t) for t in plan.shown_iterations(run)},
    }


def _fidelity(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.fidelity]
    (encoder,) = stage.parents
    return {
        "encoder": encoder.settings["encoder"],
        "name": encoder.name,
        "neighbours": stage.settings["neighbours"],
    }


def _row(run: Run) -> dict:
    return {
        "dataset": run.dataset.name,
        "method": run.method.name,
        "key": run.method.key,
        "epsilon": run.epsilon,
        "seed": run.seed,
    }


def metric_files(plan: Plan, run: Run) -> list[str]:
    """The evaluation files of a run."""
    names = [f"utility/{stage.label}" for stage in plan.classifiers.values()]
    names += [f"fidelity/{stage.label}" for stage in plan.fidelity.values()]
    return [f"{run.evaluation}/{name}.json" for name in names]


def iteration_files(plan: Plan) -> dict[str, Run]:
    """Accuracy by iteration, for the experiment's first classifier: file → run of PE."""
    return {
        f"{run.evaluation}/iterations/{plan.by_iteration(classifier).label}.json": run
        for classifier in list(plan.classifiers.values())[:1]
        for run in plan.runs
        if isinstance(run.settings, PEMethod)
    }


def _collect_metrics(plan: Plan, wildcards) -> dict:
    rows = [{**_row(run), "file": file} for run in plan.runs for file in metric_files(plan, run)]
    return {"experiment": plan.experiment.experiment, "rows": rows}


def _collect_iterations(plan: Plan, wildcards) -> dict:
    return {"rows": [{**_row(run), "file": file} for file, run in iteration_files(plan).items()]}


def diagnostics_files(plan: Plan) -> dict[str, tuple[Run, int]]:
    """What `select` says of the noisy votes: file → run of PE and iteration."""
    return {
        f"{run.directory}/iter{t}/diagnostics.json": (run, t)
        for run in plan.runs
        for t in range(1, run.iterations + 1)
    }


def _collect_diagnostics(plan: Plan, wildcards) -> dict:
    files = diagnostics_files(plan)
    return {"rows": [{**_row(run), "iteration": t, "file": f} for f, (run, t) in files.items()]}


def _collect_runs(plan: Plan, wildcards) -> dict:
    rows = [
        {
            **_row(run),
            "directory": run.evaluation if run.is_real else run.directory,
            "privacy": None if run.is_real else f"{run.directory}/privacy.json",
        }
        for run in plan.runs
    ]
    return {"rows": rows}


def _add_up(plan: Plan, wildcards) -> dict:
    run = next(run for run in plan.runs if run.dataset.name == wildcards.name)
    return {"register": run.register, "delta": plan.delta(run)}


def _add_up_published(plan: Plan, wildcards) -> dict:
    runs = [run for run in plan.runs if not run.is_real]
    return {
        "datasets": list(dict.fromkeys(run.dataset.name for run in runs)),
        "rows": [{**_row(run), "privacy": f"{run.directory}/privacy.json"} for run in runs],
    }


def pictured_iterations(plan: Plan, dataset: str) -> list[tuple[Run, int]]:
    """What the sample grid of a data set (by label) shows: runs of the first seed, and t."""
    return [
        (run, t)
        for run in plan.runs
        if run.dataset.label == dataset and run.seed == plan.experiment.seeds[0] and not run.is_real
        for t in plan.shown_iterations(run)
    ]


def pictured_datasets(plan: Plan) -> list[str]:
    """Labels of the data sets for which there is something to show: `real` is never pictured."""
    return list(dict.fromkeys(run.dataset.label for run in plan.runs if not run.is_real))


def _draw_samples(plan: Plan, wildcards) -> dict:
    rows = []
    for run, t in pictured_iterations(plan, wildcards.dataset):
        name = run.method.name
        label = f"{name} ε={run.epsilon}" + (f", t={t}" if run.iterations else "")
        rows.append([label, plan.population_folder(run, t)])
    dataset = plan.stages[wildcards.dataset].settings["dataset"]
    return {"rows": rows, "classes": dataset["classes"], "image": dataset["image"]}


def _report(plan: Plan, wildcards) -> dict:
    return {
        "experiment": plan.experiment.experiment,
        "classifier": next(iter(plan.classifiers), None),
    }


def query_figures(plan: Plan) -> list[tuple[str, str, str]]:
    """What is drawn of the semantic queries of the first seed: data set, query, pre-training."""
    first = plan.experiment.seeds[0]
    found = {}
    for run in plan.runs:
        query = plan.query(run)
        if query and query.mechanism == "query_classes" and run.seed == first:
            start = plan.trainings[run.method.label].start
            found[(run.dataset.label, query.stage.label, start.label)] = None
    return list(found)


def _draw_query(plan: Plan, wildcards) -> dict:
    return {"dataset": plan.stages[wildcards.dataset].name}


def _scan(plan: Plan, wildcards) -> dict:
    """Data set's label → the weights of its classes that methods declare public."""
    declared = {run.dataset.label: [] for run in plan.runs}
    for run in plan.runs:
        weights = getattr(run.settings, "class_fractions", None)
        if isinstance(weights, dict):
            classes = run.dataset.settings["dataset"]["classes"]
            declared[run.dataset.label].append([weights[name] for name in classes])
    return {"declared": declared}


STEPS: dict[str, Callable[[Plan, Any], dict]] = {
    **TRAINING_STEPS,
    "fetch_sensitive": _fetch_sensitive,
    "fetch_public": _fetch_public,
    "prepare": _prepare,
    "prepare_public": _prepare_public,
    "render": _render,
    "fetch_encoder": _fetch_encoder,
    "train_encoder": _train_encoder,
    "embed": _embed,
    "fetch_generator": _fetch_generator,
    "train_generator": _train_generator,
    "embed_pool": _embed_pool,
    "initialise": _initialise,
    "look_ahead": _look_ahead,
    "calibrate": _calibrate,
    "count_classes": _count_classes,
    "vote": _vote,
    "choose_iteration": _choose_iteration,
    "select": _select,
    "vary": _vary,
    "account": _account,
    "release": _release,
    "utility": _utility,
    "iterations": _iterations,
    "fidelity": _fidelity,
    "collect_metrics": _collect_metrics,
    "collect_iterations": _collect_iterations,
    "collect_diagnostics": _collect_diagnostics,
    "collect_runs": _collect_runs,
    "add_up": _add_up,
    "add_up_published": _add_up_published,
    "draw_samples": _draw_samples,
    "draw_query": _draw_query,
    "scan": _scan,
    "report": _report,
}
