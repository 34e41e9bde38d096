# Configuration, wildcards and input functions: what every rule file uses. No rules here.

import os
import re
import sys

sys.path.insert(0, workflow.basedir)

from workflow_scripts.configuration import ConfigurationProblem
from workflow_scripts.containers import check_image
from workflow_scripts.files import room_for
from workflow_scripts.gpu_requests import adapt_gpu_requests
from workflow_scripts.group_errors import report_group_errors
from workflow_scripts.locks import clear_stale_lock
from workflow_scripts.privacy.zones import BoundaryViolation, check_rules, secure_zone, within
from workflow_scripts.problems import Problem
from workflow_scripts.settings import (
    diagnostics_files,
    iteration_files,
    iteration_of,
    metric_files,
    pictured_datasets,
    pictured_iterations,
    query_figures,
    run_of,
    settings_of,
)
from workflow_scripts.shards import shard_files
from workflow_scripts.workflow import (
    allow_long_chains,
    asks_for_plan,
    declare_caps,
    make_importable,
    outlive_warnings,
    plan_of,
)

make_importable(workflow.basedir)
try:
    PLAN = plan_of(workflow, config, sys.argv)
except ConfigurationProblem as problem:
    # Not a WorkflowError: it would add lines of this file to a message about the user's.
    sys.exit(f"Configuration: {problem}")
allow_long_chains(PLAN)
try:
    check_image(workflow)
    clear_stale_lock(workflow, sys.argv)
except Problem as problem:
    sys.exit(str(problem))
outlive_warnings(workflow)

EXPERIMENT = PLAN.experiment.experiment
SHARDS = gather.shards("{scatteritem}")

ABSENT = set(PLAN.catalogue.absent.values())  # not empty in dry runs alone

LABEL = "[^/]+~[0-9a-f]{12}"


wildcard_constraints:
    dataset=LABEL,
    public=LABEL,
    encoder=LABEL,
    generator=LABEL,
    initial=LABEL,
    lookahead=LABEL,
    method=LABEL,
    query=LABEL,
    pretraining=LABEL,
    classifier=LABEL,
    fidelity=LABEL,
    split="train|test",
    epsilon="[0-9.e+-]+",
    seed="[0-9]+",
    t="[0-9]+",
    file="[^/]+",
    name="[^/~]+",


def settings(step):
    """The one `params` entry of a rule: a function of its wildcards."""
    return settings_of(PLAN, step)


# Rules that make the same kind of file in different ways share it out by name.
def one_of(labels):
    """The constraint of a wildcard that has to be one of these; none of them matches nothing."""
    return "|".join(map(re.escape, labels)) or "(?!)"


RENDERED = one_of(PLAN.labels("dataset", "rendered"))
PREPARED = one_of(set(PLAN.labels("dataset")) - set(PLAN.labels("dataset", "rendered")))
TRAINED_ENCODERS = one_of(PLAN.labels("encoder", "cnn"))
FETCHED_ENCODERS = one_of(PLAN.labels("encoder", "inception", "clip", "dinov2", "torchscript"))
TRAINED_GENERATORS = one_of(PLAN.labels("generator", "diffusion", "edm"))
FETCHED_GENERATORS = one_of(PLAN.labels("generator", "diffusers"))
POOLS = one_of(PLAN.labels("generator", "pool"))
EVOLVED = one_of(PLAN.methods_of("pe"))
SEMANTIC_QUERIES, CENTRAL_IMAGES = (
    one_of(PLAN.queries_of(mechanism)) for mechanism in ("query_classes", "release_central_images")
)
TRAININGS, SAMPLED = one_of(PLAN.training_labels), one_of(PLAN.methods_of("dp-sgd"))
KEPT, DROPPED = (one_of(map(str, iterations)) for iterations in PLAN.kept_iterations())


# Resources. Snakemake only counts GPUs; device.py gives each job its own.


def gpu(*stages):
    """1 if a generator or an encoder runs a network, else 0."""
    return int(any(PLAN.catalogue.uses_torch(stage) for stage in stages))


def gpu_of_encoder(wildcards):
    return gpu(PLAN.stages[wildcards.encoder])


def gpu_of_pool(wildcards):
    return gpu(PLAN.stages[wildcards.generator].parents[1])


def gpu_of_initial(wildcards):
    return gpu(*PLAN.stages[wildcards.initial].parents)


def gpu_of_lookahead(wildcards):
    lookahead = PLAN.stages[wildcards.lookahead]
    initial, encoder = lookahead.parents
    return gpu(encoder, *(initial.parents if lookahead.settings["lookahead"] else ()))


def gpu_of_classifier(wildcards):
    return int(PLAN.stages[wildcards.classifier].settings["classifier"]["kind"] == "cnn")


def gpu_of_choice(wildcards):
    return int(settings("choose_iteration")(wildcards)["classifier"]["kind"] == "cnn")


def gpu_of_fidelity(wildcards):
    return gpu(*PLAN.stages[wildcards.fidelity].parents)


def gpu_of_method(wildcards):
    stages = stages_of(wildcards)
    return gpu(*stages.generators, stages.encoder)


# Input functions. `within` declares the zones of the paths that a function returns; the privacy
# boundary is checked on that declaration.


def there(paths):
    """Paths that exist or that a job makes: a dry run goes on without what is still absent."""
    return [path for path in paths if path not in ABSENT]


def shards_in(folder):
    """The shards of what is made in a folder: those that are there, whatever their number was."""
    return shard_files(folder, SHARDS)


def weights_of(encoder):
    """The file of an encoder's weights, nothing for one without."""
    if encoder is None or encoder.settings["encoder"]["kind"] == "pixels":
        return []
    file = "encoder.safetensors" if encoder.parents else "weights"
    return f"results/public/encoders/{encoder.label}/{file}"


def files_of(generator):
    """What `open_generator` needs of a generator, in its order."""
    folder = f"results/public/generators/{generator.label}"
    match generator.settings["generator"]["kind"]:
        case "diffusion" | "edm" | "diffusers":
            return [f"{folder}/pipeline"]
        case "pool":
            return [public_images_of(generator), f"{folder}/index"]
    return []


def public_images_of(stage):
    public, *_ = stage.parents
    return f"results/public/datasets/{public.label}/images.safetensors"


@within("source", "sensitive")
def sensitive_sources(wildcards):
    return there(settings("prepare")(wildcards)["files"].values())


@within("source", "public")
def public_sources(wildcards):
    return there(settings("prepare_public")(wildcards)["files"].values())


@within("source")
def encoder_source(wildcards):
    path = PLAN.configuration.encoders[PLAN.stages[wildcards.encoder].name].weights.path
    return there([path]) if path else []


@within("source")
def generator_source(wildcards):
    path = PLAN.stages[wildcards.generator].settings["generator"]["folder"]
    return there([path]) if path else []


@within("public")
def encoder_training_images(wildcards):
    return public_images_of(PLAN.stages[wildcards.encoder])


@within("public")
def generator_images(wildcards):
    """What a generator is trained on, or draws from."""
    return public_images_of(PLAN.stages[wildcards.generator])


@within("public")
def encoder_weights(wildcards):
    return weights_of(PLAN.stages[wildcards.encoder])


@within("public")
def pool_weights(wildcards):
    return weights_of(PLAN.stages[wildcards.generator].parents[1])


@within("public")
def pool_embeddings(wildcards):
    return shards_in(f"results/public/generators/{wildcards.generator}/embeddings")


@within("public")
def fidelity_weights(wildcards):
    (encoder,) = PLAN.stages[wildcards.fidelity].parents
    return weights_of(encoder)


@within("public")
def initial_model(wildcards):
    (generator,) = PLAN.stages[wildcards.initial].parents
    return files_of(generator)


@within("public")
def lookahead_weights(wildcards):
    return weights_of(PLAN.stages[wildcards.lookahead].parents[1])


def stages_of(wildcards):
    return PLAN.methods[wildcards.method]


@within("public")
def iteration_model(wildcards):
    """The generator of iteration t."""
    return files_of(stages_of(wildcards).generators[iteration_of(PLAN, wildcards)])


@within("public")
def next_model(wildcards):
    """The generator of iteration t + 1, if it is another one."""
    generator, follower = stages_of(wildcards).generators[int(wildcards.t) :][:2]
    return files_of(follower) if follower is not generator else []


@within("public")
def method_weights(wildcards):
    return weights_of(stages_of(wildcards).encoder)


@within("public")
def initial_population(wildcards):
    return shards_in(f"results/public/initial/{wildcards.initial}/seed{wildcards.seed}/population")


def is_journalled(wildcards):
    """Whether an iteration has voted: its votes are then replayed, and need no candidates.

    Candidates that another job makes again are the same but for rounding, and to vote on them
    would be a second release.
    """
    return os.path.exists(run_of(PLAN, wildcards).journal(f"iter{wildcards.t}"))


@within("sensitive")
def voting_embeddings(wildcards):
    """The embeddings that vote: of the training split, in the method's encoder's space."""
    encoder = stages_of(wildcards).encoder
    folder = f"results/sensitive/{wildcards.dataset}/embeddings/{encoder.label}/train"
    return [] if is_journalled(wildcards) else shards_in(folder)


@within("public", "released")
def voting_lookahead(wildcards):
    """The lookahead of the candidates of iteration t, the population of iteration t − 1."""
    folder = PLAN.lookahead_folder(run_of(PLAN, wildcards), int(wildcards.t) - 1)
    return [] if is_journalled(wildcards) else shards_in(folder)


def population_files(run, t):
    """A run's population after iteration t."""
    return shards_in(PLAN.population_folder(run, t))


@within("public", "released")
def candidate_files(wildcards):
    return population_files(run_of(PLAN, wildcards), int(wildcards.t) - 1)


@within("released")
def released_class_counts(wildcards):
    run = run_of(PLAN, wildcards)
    return f"{run.directory}/class_counts/counts.safetensors" if run.counts_classes else []


def candidate_populations(run):
    """The populations of a run that may be released."""
    return [file for folder in PLAN.candidate_folders(run).values() for file in shards_in(folder)]


@within("public", "released")
def judged_populations(wildcards):
    """What a run chooses from, as long as it has not chosen."""
    run = run_of(PLAN, wildcards)
    return [] if os.path.exists(run.journal("choice")) else candidate_populations(run)


@within("public", "released")
def releasable_populations(wildcards):
    return candidate_populations(run_of(PLAN, wildcards))


@within("released")
def choice_of_iteration(wildcards):
    run = run_of(PLAN, wildcards)
    return f"{run.directory}/choice/choice.json" if PLAN.choice(run) else []


@within("released")
def last_parents(wildcards):
    run = run_of(PLAN, wildcards)
    return f"{run.directory}/iter{run.iterations}/parents.safetensors"


@within("released")
def run_ledgers(wildcards):
    return list(PLAN.ledgers(run_of(PLAN, wildcards)))


@within("public")
def query_classifier(wildcards):
    _, classifier = PLAN.stages[wildcards.query].parents
    return weights_of(classifier)


@within("public")
def pretraining_images(wildcards):
    _, public = PLAN.stages[wildcards.pretraining].parents
    return f"results/public/datasets/{public.label}/images.safetensors"


@within("released")
def query_budgets(wildcards):
    """The budgets of all runs that use a query, as long as it has not been drawn."""
    asked = f"{wildcards.dataset}/queries/{wildcards.query}/seed{wildcards.seed}"
    _, query = PLAN.queries[asked]
    runs = [run for run in PLAN.runs if PLAN.query(run) and PLAN.query(run).identity(run) == asked]
    if os.path.exists(query.journal(runs[0])):
        return []
    return list(dict.fromkeys(f"{PLAN.training(run).directory}/budget.json" for run in runs))


@within("released")
def trained_model(wildcards):
    training = PLAN.training(run_of(PLAN, wildcards))
    return [f"{training.directory}/finetuned/pipeline"]


@within("public", "released")
def training_start(wildcards):
    """The model that a run's training starts from; nothing at random weights."""
    folder = PLAN.start(run_of(PLAN, wildcards))
    return [folder] if folder else []


@within("public", "released")
def shown_populations(wildcards):
    run = run_of(PLAN, wildcards)
    return [file for t in PLAN.shown_iterations(run) for file in population_files(run, t)]


@within("released")
def ledgers_of_dataset(wildcards):
    """The ledgers of an experiment's runs on a sensitive data set (by its name)."""
    runs = (run for run in PLAN.runs if run.dataset.name == wildcards.name and not run.is_real)
    return list(dict.fromkeys(path for run in runs for path in PLAN.ledgers(run)))


@within("accounts")
def register_of_dataset(wildcards):
    """The register, if there is one already: other experiments may have written there since."""
    path = settings("add_up")(wildcards)["register"]
    return path if os.path.exists(path) else []


@within("accounts")
def experiment_totals(wildcards):
    names = settings("add_up_published")(wildcards)["datasets"]
    return [f"results/accounts/{name}/privacy-total.json" for name in names]


@within("released")
def experiment_diagnostics(wildcards):
    return list(diagnostics_files(PLAN))


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


def selection_folder(wildcards):
    seed = PLAN.experiment.seeds[0]
    folder = f"results/runs/{wildcards.dataset}/queries/{wildcards.query}/seed{seed}"
    return f"{folder}/pretrained/{wildcards.pretraining}"


@within("released")
def drawn_selection(wildcards):
    return f"{selection_folder(wildcards)}/selection.safetensors"


@within("released")
def drawn_summary(wildcards):
    return f"{selection_folder(wildcards)}/selection.json"


@within("released")
def query_statements(wildcards):
    """The accounts of the runs that use a query."""
    runs = (run for run in PLAN.runs if run.is_trained and run.dataset.label == wildcards.dataset)
    asked = ((run, PLAN.query(run)) for run in runs if run.seed == PLAN.experiment.seeds[0])
    return [f"{run.directory}/privacy.json" for run, query in asked if query and query.stage.label == wildcards.query]


@within("sensitive")
def scanned_images(wildcards):
    labels = settings("scan")(wildcards)["declared"]
    return [f"results/sensitive/{label}/train.safetensors" for label in labels]


@within("sensitive")
def scanned_embeddings(wildcards):
    """The embeddings of private images that the experiment's methods use."""
    folders = {
        f"results/sensitive/{run.dataset.label}/embeddings/{PLAN.methods[run.method.label].encoder.label}/train"
        for run in PLAN.runs
        if run.iterations
    }
    return [file for folder in sorted(folders) for file in shards_in(folder)]


@within("report")
def report_figures(wildcards):
    folder = f"results/reports/{EXPERIMENT}/figures"
    names = ["accuracy_by_iteration"] if iteration_files(PLAN) else []
    names += ["accuracy_by_epsilon"] if PLAN.classifiers and PLAN.experiment.epsilons else []
    names += ["diagnostics"] if diagnostics_files(PLAN) else []
    names += ["query_{}_{}_{}".format(*labels) for labels in query_figures(PLAN)]
    names += [f"samples_{label}" for label in pictured_datasets(PLAN)]
    return [f"{folder}/{name}.png" for name in names]
