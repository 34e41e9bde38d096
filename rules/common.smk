# Configuration, wildcards and input functions: what every rule file uses. No rules here.

import sys

sys.path.insert(0, workflow.basedir)

from workflow_scripts.configuration import ConfigurationProblem
from workflow_scripts.privacy.zones import BoundaryViolation, check_rules, secure_zone, within
from workflow_scripts.settings import (
    iteration_files,
    metric_files,
    pictured_datasets,
    pictured_iterations,
    run_of,
    settings_of,
)
from workflow_scripts.workflow import clear_stale_lock, make_importable, plan_of

make_importable(workflow.basedir)
try:
    PLAN = plan_of(workflow, config)
except ConfigurationProblem as problem:
    # Not a WorkflowError: it would add lines of this file to a message about the user's.
    sys.exit(f"Configuration: {problem}")
clear_stale_lock(workflow, sys.argv)

EXPERIMENT = PLAN.experiment.experiment
SHARDS = gather.shards("{scatteritem}")

LABEL = "[^/]+~[0-9a-f]{12}"


wildcard_constraints:
    dataset=LABEL,
    public=LABEL,
    encoder=LABEL,
    generator=LABEL,
    initial=LABEL,
    lookahead=LABEL,
    method=LABEL,
    classifier=LABEL,
    fidelity=LABEL,
    split="train|test",
    epsilon="[0-9.e+-]+",
    seed="[0-9]+",
    t="[0-9]+",


def settings(step):
    """The one `params` entry of a rule: a function of its wildcards."""
    return settings_of(PLAN, step)


# Input functions. `within` declares the zones of the paths that a function returns; the privacy
# boundary is checked on that declaration.


def weights_of(encoder):
    """What `train_encoder` wrote for an encoder, nothing for one that is not trained."""
    if encoder is None or not encoder.parents:
        return []
    return f"results/public/encoders/{encoder.label}/encoder.safetensors"


def pipeline_of(initial):
    """What `train_generator` wrote for an initial population's generator, if it is trained."""
    (generator,) = initial.parents
    if not generator.parents:
        return []
    return f"results/public/generators/{generator.label}/pipeline"


def public_images_of(stage):
    (public,) = stage.parents
    return f"results/public/datasets/{public.label}/images.safetensors"


@within("source")
def source_files(wildcards):
    source = PLAN.stages[wildcards.dataset].settings["dataset"]["source"]
    return [source[key] for key in ("path", "test_path") if source.get(key)]


@within("public")
def encoder_training_images(wildcards):
    return public_images_of(PLAN.stages[wildcards.encoder])


@within("public")
def generator_training_images(wildcards):
    return public_images_of(PLAN.stages[wildcards.generator])


@within("public")
def encoder_weights(wildcards):
    return weights_of(PLAN.stages[wildcards.encoder])


@within("public")
def fidelity_weights(wildcards):
    (encoder,) = PLAN.stages[wildcards.fidelity].parents
    return weights_of(encoder)


@within("public")
def initial_pipeline(wildcards):
    return pipeline_of(PLAN.stages[wildcards.initial])


@within("public")
def lookahead_weights(wildcards):
    return weights_of(PLAN.stages[wildcards.lookahead].parents[1])


def stages_of(wildcards):
    return PLAN.methods[wildcards.method]


@within("public")
def method_pipeline(wildcards):
    return pipeline_of(stages_of(wildcards).initial)


@within("public")
def method_weights(wildcards):
    return weights_of(stages_of(wildcards).encoder)


@within("sensitive")
def sensitive_embeddings(wildcards):
    """The embeddings that vote: of the training split, in the method's encoder's space."""
    encoder = stages_of(wildcards).encoder
    return f"results/sensitive/{wildcards.dataset}/embeddings/{encoder.label}/train.safetensors"


def population_files(run, t):
    """The shards of a run's population after iteration t."""
    return [f"{PLAN.population_folder(run, t)}/{item}.safetensors" for item in SHARDS]


@within("public", "released")
def lookahead_files(wildcards):
    """The lookahead of the candidates of iteration t, the population of iteration t − 1."""
    folder = PLAN.lookahead_folder(run_of(PLAN, wildcards), int(wildcards.t) - 1)
    return [f"{folder}/{item}.safetensors" for item in SHARDS]


@within("public", "released")
def candidate_files(wildcards):
    return population_files(run_of(PLAN, wildcards), int(wildcards.t) - 1)


@within("public", "released")
def final_population_files(wildcards):
    run = run_of(PLAN, wildcards)
    return population_files(run, run.iterations)


@within("released")
def last_parents(wildcards):
    run = run_of(PLAN, wildcards)
    return f"{run.directory}/iter{run.iterations}/parents.safetensors"


@within("released")
def run_ledgers(wildcards):
    run = run_of(PLAN, wildcards)
    return [f"{run.directory}/iter{t}/ledger.json" for t in range(1, run.iterations + 1)]


@within("public", "released")
def every_population(wildcards):
    run = run_of(PLAN, wildcards)
    return [f for t in range(run.iterations + 1) for f in population_files(run, t)]


@within("evaluation")
def experiment_metrics(wildcards):
    return [file for run in PLAN.runs for file in metric_files(PLAN, run)]


@within("evaluation")
def experiment_iterations(wildcards):
    return list(iteration_files(PLAN))


@within("released")
def experiment_releases(wildcards):
    return [f"{run.directory}/release.safetensors" for run in PLAN.runs if not run.is_real]


@within("released")
def experiment_statements(wildcards):
    return [f"{run.directory}/privacy.json" for run in PLAN.runs if not run.is_real]


@within("public", "released")
def pictured_populations(wildcards):
    """The populations of the sample grid: the first seed's, of every method and ε."""
    return [file for run, t in pictured_iterations(PLAN, wildcards.dataset) for file in population_files(run, t)]


@within("released")
def pictured_statements(wildcards):
    runs = dict.fromkeys(run for run, _ in pictured_iterations(PLAN, wildcards.dataset))
    return [f"{run.directory}/privacy.json" for run in runs]


@within("report")
def report_figures(wildcards):
    folder = f"results/reports/{EXPERIMENT}/figures"
    accuracy = ["accuracy_by_iteration", "accuracy_by_epsilon"] if iteration_files(PLAN) else []
    samples = [f"samples_{label}" for label in pictured_datasets(PLAN)]
    return [f"{folder}/{name}.png" for name in accuracy + samples]
