"""The settings of every step: the one `params` entry of its rule.

`settings_of` yields a canonical dict (plain types, sorted keys) that holds what the step uses and
nothing else. `stage` in it is what `settings.json` says in the directory that the step writes to.
"""

from collections.abc import Callable
from typing import Any

from workflow_scripts.configuration import PEMethod
from workflow_scripts.plan import Plan, Run
from workflow_scripts.stages import Stage, canonical


def settings_of(plan: Plan, step: str) -> Callable[[Any], dict]:
    """A Snakemake `params` function: wildcards → the settings of `step`."""
    function = STEPS[step]

    def settings(wildcards) -> dict:
        return canonical(function(plan, wildcards))

    return settings


def run_of(plan: Plan, wildcards) -> Run:
    """The run that a path's wildcards name."""
    return plan.run(wildcards.dataset, wildcards.method, wildcards.epsilon, wildcards.seed)


def generator_settings(plan: Plan, initial: Stage) -> dict:
    """What `open_generator` needs: the catalogue entry and the classes to draw."""
    (generator,) = initial.parents
    return {"generator": generator.settings["generator"], "classes": initial.settings["classes"]}


def _block_size(initial: Stage) -> int:
    (generator,) = initial.parents
    return generator.settings["generator"]["block_size"]


def _prepare(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.dataset]
    return {"stage": stage.description, **stage.settings["dataset"]}


def _render(plan: Plan, wildcards) -> dict:
    stage = plan.stages[wildcards.public]
    (generator,) = stage.parents
    return {
        "stage": stage.description,
        "generator": generator.settings["generator"],
        "identity": [stage.key],
        **stage.settings["dataset"],
    }


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
    return {
        "stage": initial.description,
        **generator_settings(plan, initial),
        "samples_per_class": initial.settings["samples_per_class"],
        "block_size": _block_size(initial),
        "identity": [initial.key, int(wildcards.seed)],
    }


def _look_ahead(plan: Plan, wildcards) -> dict:
    lookahead = plan.stages[wildcards.lookahead]
    initial, encoder = lookahead.parents
    return {
        "stage": lookahead.description,
        **generator_settings(plan, initial),
        "encoder": encoder.settings["encoder"],
        "degree": lookahead.settings["degree"],
        "lookahead": lookahead.settings["lookahead"],
        "size": sum(initial.settings["samples_per_class"]),
        "block_size": _block_size(initial),
        "identity": [lookahead.key, int(wildcards.seed)],
    }


def _budget(plan: Plan, run: Run) -> dict:
    return {
        "epsilon": float(run.epsilon),
        "delta": plan.delta(run),
        "iterations": run.iterations,
    }


def _calibrate(plan: Plan, wildcards) -> dict:
    run = run_of(plan, wildcards)
    return {"stage": run.method.description, **_budget(plan, run)}


def _vote(plan: Plan, wildcards) -> dict:
    run = run_of(plan, wildcards)
    return {
        **_budget(plan, run),
        "noise_source": plan.experiment.noise_source,
        "identity": run.identity,
        "iteration": int(wildcards.t),
    }


def _select(plan: Plan, wildcards) -> dict:
    run = run_of(plan, wildcards)
    return {
        "threshold": run.settings.threshold,
        "selection": run.settings.selection,
        "identity": [run.identity, int(wildcards.t)],
    }


def _vary(plan: Plan, wildcards) -> dict:
    run, t = run_of(plan, wildcards), _iteration(wildcards, plan)
    method, stages = run.settings, plan.methods[run.method.label]
    settings = {
        **generator_settings(plan, stages.initial),
        "degree": method.degree(t),
        "size": sum(stages.samples_per_class),
        "block_size": stages.block_size,
        "identity": [run.identity, t],
    }
    if t < run.iterations:
        settings |= {
            "encoder": stages.encoder.settings["encoder"],
            "lookahead": method.lookahead,
            "next_degree": method.degree(t + 1),
        }
    return settings


def _iteration(wildcards, plan: Plan) -> int:
    """t; the last iteration's population lies in `final/`, which has no t in its path."""
    return int(wildcards.get("t", run_of(plan, wildcards).iterations))


def _account(plan: Plan, wildcards) -> dict:
    run = run_of(plan, wildcards)
    return {
        "stage": run.method.description,
        "epsilon": float(run.epsilon),
        "delta": plan.delta(run),
        "train_size": plan.configuration.datasets.sensitive[run.dataset.name].train_size,
        "noise_source": plan.experiment.noise_source,
        "releases": run.iterations,
    }


def _utility(plan: Plan, wildcards) -> dict:
    dataset = plan.stages[wildcards.dataset].settings["dataset"]
    return {
        "classifier": plan.stages[wildcards.classifier].settings["classifier"],
        "name": plan.stages[wildcards.classifier].name,
        "classes": len(dataset["classes"]),
        "seed": int(wildcards.seed),
    }


def _iterations(plan: Plan, wildcards) -> dict:
    return {**_utility(plan, wildcards), "iterations": run_of(plan, wildcards).iterations}


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
        f"{run.evaluation}/iterations/{classifier.label}.json": run
        for classifier in list(plan.classifiers.values())[:1]
        for run in plan.runs
        if isinstance(run.settings, PEMethod)
    }


def _collect_metrics(plan: Plan, wildcards) -> dict:
    rows = [{**_row(run), "file": file} for run in plan.runs for file in metric_files(plan, run)]
    return {"experiment": plan.experiment.experiment, "rows": rows}


def _collect_iterations(plan: Plan, wildcards) -> dict:
    return {"rows": [{**_row(run), "file": file} for file, run in iteration_files(plan).items()]}


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


def pictured_iterations(plan: Plan, dataset: str) -> list[tuple[Run, int]]:
    """What the sample grid of a data set (by label) shows: runs of the first seed, and t."""
    return [
        (run, t)
        for run in plan.runs
        if run.dataset.label == dataset and run.seed == plan.experiment.seeds[0] and not run.is_real
        for t in range(run.iterations + 1)
    ]


def pictured_datasets(plan: Plan) -> list[str]:
    """Labels of the data sets for which there is something to show: `real` is never pictured."""
    return list(dict.fromkeys(run.dataset.label for run in plan.runs if not run.is_real))


def _draw_samples(plan: Plan, wildcards) -> dict:
    rows = []
    for run, t in pictured_iterations(plan, wildcards.dataset):
        name = run.method.name
        rows.append(f"{name} ε={run.epsilon}, t={t}" if run.iterations else f"{name} ε=0")
    dataset = plan.stages[wildcards.dataset].settings["dataset"]
    return {"rows": rows, "classes": dataset["classes"]}


def _report(plan: Plan, wildcards) -> dict:
    return {
        "experiment": plan.experiment.experiment,
        "classifier": next(iter(plan.classifiers), None),
    }


STEPS: dict[str, Callable[[Plan, Any], dict]] = {
    "prepare": _prepare,
    "render": _render,
    "train_encoder": _train_encoder,
    "embed": _embed,
    "train_generator": _train_generator,
    "initialise": _initialise,
    "look_ahead": _look_ahead,
    "calibrate": _calibrate,
    "vote": _vote,
    "select": _select,
    "vary": _vary,
    "account": _account,
    "utility": _utility,
    "iterations": _iterations,
    "fidelity": _fidelity,
    "collect_metrics": _collect_metrics,
    "collect_iterations": _collect_iterations,
    "collect_runs": _collect_runs,
    "draw_samples": _draw_samples,
    "report": _report,
}
