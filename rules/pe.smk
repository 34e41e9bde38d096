# Private Evolution: initialise → for t = 1 … T: look ahead → vote → select → vary.
#
# Only `vote` sees sensitive data (and `count_classes`, if the class fractions are not public, and
# `choose_iteration`, if the population to release is not simply the last). The initial population
# and the first lookahead depend on neither the sensitive data nor ε nor the threshold, so they are
# public and shared by all runs of a seed.


rule initialise:
    """RANDOM: a shard of the initial population."""
    input:
        model=initial_model,
    output:
        population="results/public/initial/{initial}/seed{seed}/population/{scatteritem}.safetensors",
    log:
        "results/logs/initialise/{initial}/seed{seed}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/initialise/{initial}/seed{seed}/{scatteritem}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=gpu_of_initial,
    params:
        settings=settings("initialise"),
    script:
        "../workflow_scripts/steps/initialise.py"


rule look_ahead:
    """The first lookahead: mean embeddings of variations of a shard of the initial population."""
    input:
        population=initial_population,
        model=initial_model,
        weights=lookahead_weights,
    output:
        lookahead=("results/public/initial/{initial}/seed{seed}/lookahead/{lookahead}/{scatteritem}.safetensors"),
    log:
        "results/logs/look_ahead/{initial}/seed{seed}/{lookahead}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/look_ahead/{initial}/seed{seed}/{lookahead}/{scatteritem}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=gpu_of_lookahead,
    params:
        settings=settings("look_ahead"),
    script:
        "../workflow_scripts/steps/look_ahead.py"


rule count_classes:
    """MECHANISM. How many sensitive images each class has, with noise; write-once."""
    input:
        train="results/sensitive/{dataset}/train.safetensors",
        budget="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/budget.json",
    output:
        counts="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/class_counts/counts.safetensors",
        ledger="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/class_counts/ledger.json",
    log:
        "results/sensitive/{dataset}/logs/count_classes/{method}/eps{epsilon}/seed{seed}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/count_classes/{method}/eps{epsilon}/seed{seed}.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("count_classes"),
    script:
        "../workflow_scripts/steps/count_classes.py"


rule vote:
    """MECHANISM. Every sensitive image votes for its nearest candidates; noise; write-once."""
    input:
        train="results/sensitive/{dataset}/train.safetensors",
        embeddings=voting_embeddings,
        lookahead=voting_lookahead,
        budget="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/budget.json",
    output:
        votes="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/votes.safetensors",
        ledger="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/ledger.json",
    log:
        "results/sensitive/{dataset}/logs/vote/{method}/eps{epsilon}/seed{seed}/iter{t}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/vote/{method}/eps{epsilon}/seed{seed}/iter{t}.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("vote"),
    script:
        "../workflow_scripts/steps/vote.py"


rule select:
    """The parents of the next population, by their noisy votes."""
    input:
        votes="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/votes.safetensors",
        budget="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/budget.json",
        population=candidate_files,
        class_counts=released_class_counts,
    output:
        parents="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/parents.safetensors",
        diagnostics="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/diagnostics.json",
    log:
        "results/logs/select/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}.log",
    benchmark:
        "results/benchmarks/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/select.iter{t}.tsv"
    wildcard_constraints:
        t=KEPT,
    conda:
        "../environment.yml"
    params:
        settings=settings("select"),
    script:
        "../workflow_scripts/steps/select.py"


use rule select as select_for_once with:
    output:
        parents=temp("results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/parents.safetensors"),
        diagnostics="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/diagnostics.json",
    wildcard_constraints:
        t=DROPPED,


rule vary:
    """VARIATION: a shard of the next population, and that population's lookahead."""
    input:
        parents="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/parents.safetensors",
        model=iteration_model,
        next_model=next_model,
        weights=method_weights,
    output:
        population="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/population/{scatteritem}.safetensors",
        lookahead="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/lookahead/{scatteritem}.safetensors",
    log:
        "results/logs/vary/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/vary.iter{t}.{scatteritem}.tsv"
    wildcard_constraints:
        t=KEPT,
    conda:
        "../environment.yml"
    resources:
        gpu=gpu_of_method,
    params:
        settings=settings("vary"),
    script:
        "../workflow_scripts/steps/vary.py"


# An experiment says which populations it keeps (`keep_populations`); the others are deleted after
# their last use.
use rule vary as vary_for_once with:
    output:
        population=temp(
            "results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/population/{scatteritem}.safetensors"
        ),
        lookahead=temp(
            "results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/iter{t}/lookahead/{scatteritem}.safetensors"
        ),
    wildcard_constraints:
        t=DROPPED,


use rule vary as vary_last with:
    input:
        parents=last_parents,
        model=iteration_model,
    output:
        population="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/final/{scatteritem}.safetensors",
    log:
        "results/logs/vary/{dataset}/{method}/eps{epsilon}/seed{seed}/final.{scatteritem}.log",
    benchmark:
        "results/benchmarks/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/vary.final.{scatteritem}.tsv"
    wildcard_constraints:
        method=EVOLVED,


rule choose_iteration:
    """MECHANISM. The iteration whose population teaches a classifier best, with noise; write-once."""
    input:
        train="results/sensitive/{dataset}/train.safetensors",
        populations=judged_populations,
        budget="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/budget.json",
    output:
        choice="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/choice/choice.json",
        ledger="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/choice/ledger.json",
    log:
        "results/sensitive/{dataset}/logs/choose_iteration/{method}/eps{epsilon}/seed{seed}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/choose_iteration/{method}/eps{epsilon}/seed{seed}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=gpu_of_choice,
    params:
        settings=settings("choose_iteration"),
    script:
        "../workflow_scripts/steps/choose_iteration.py"
