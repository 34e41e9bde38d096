# What the sensitive data are asked before a model is trained on them: PrivImage's semantic query
# and DP-FETA's central images. Their noise is fixed, so all ε of a seed share one release, and the
# training on its answer.


rule query_classes:
    """MECHANISM. How often each public class is named by each sensitive class; write-once."""
    input:
        train="results/sensitive/{dataset}/train.safetensors",
        classifier=query_classifier,
        budgets=query_budgets,
    output:
        counts="results/runs/{dataset}/queries/{query}/seed{seed}/counts.safetensors",
        ledger="results/runs/{dataset}/queries/{query}/seed{seed}/ledger.json",
    log:
        "results/sensitive/{dataset}/logs/query_classes/{query}/seed{seed}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/query_classes/{query}/seed{seed}.tsv"
    wildcard_constraints:
        query=SEMANTIC_QUERIES,
    conda:
        "../environment.yml"
    resources:
        gpu=1,
    params:
        settings=settings("query_classes"),
    script:
        "../workflow_scripts/steps/query_classes.py"


rule select_classes:
    """The public classes that each sensitive class chooses, by the noisy counts."""
    input:
        counts="results/runs/{dataset}/queries/{query}/seed{seed}/counts.safetensors",
    output:
        selection="results/runs/{dataset}/queries/{query}/seed{seed}/pretrained/{pretraining}/selection.safetensors",
        summary="results/runs/{dataset}/queries/{query}/seed{seed}/pretrained/{pretraining}/selection.json",
    log:
        "results/logs/select_classes/{dataset}/{query}/seed{seed}/{pretraining}.log",
    benchmark:
        "results/benchmarks/select_classes/{dataset}/{query}/seed{seed}/{pretraining}.tsv"
    wildcard_constraints:
        query=SEMANTIC_QUERIES,
    conda:
        "../environment.yml"
    params:
        settings=settings("select_classes"),
    script:
        "../workflow_scripts/steps/select_classes.py"


rule pretrain_on_selection:
    """Train a model on the chosen public images, under the classes that chose them."""
    input:
        selection="results/runs/{dataset}/queries/{query}/seed{seed}/pretrained/{pretraining}/selection.safetensors",
        images=pretraining_images,
    output:
        pipeline=directory("results/runs/{dataset}/queries/{query}/seed{seed}/pretrained/{pretraining}/pipeline"),
    log:
        "results/logs/pretrain_on_selection/{dataset}/{query}/seed{seed}/{pretraining}.log",
    benchmark:
        "results/benchmarks/pretrain_on_selection/{dataset}/{query}/seed{seed}/{pretraining}.tsv"
    wildcard_constraints:
        query=SEMANTIC_QUERIES,
    priority: 10
    conda:
        "../environment.yml"
    resources:
        gpu=1,
    params:
        settings=settings("pretrain"),
    script:
        "../workflow_scripts/steps/pretrain_on_selection.py"


rule release_central_images:
    """MECHANISM. Noisy means or modes of the sensitive classes; write-once."""
    input:
        train="results/sensitive/{dataset}/train.safetensors",
        budgets=query_budgets,
    output:
        images="results/runs/{dataset}/queries/{query}/seed{seed}/images.safetensors",
        ledger="results/runs/{dataset}/queries/{query}/seed{seed}/ledger.json",
    log:
        "results/sensitive/{dataset}/logs/release_central_images/{query}/seed{seed}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/release_central_images/{query}/seed{seed}.tsv"
    wildcard_constraints:
        query=CENTRAL_IMAGES,
    conda:
        "../environment.yml"
    params:
        settings=settings("release_central_images"),
    script:
        "../workflow_scripts/steps/release_central_images.py"


rule pretrain_on_central_images:
    """Warm a model up on shifted, turned and zoomed copies of the central images."""
    input:
        images="results/runs/{dataset}/queries/{query}/seed{seed}/images.safetensors",
    output:
        pipeline=directory("results/runs/{dataset}/queries/{query}/seed{seed}/pretrained/{pretraining}/pipeline"),
    log:
        "results/logs/pretrain_on_central_images/{dataset}/{query}/seed{seed}/{pretraining}.log",
    benchmark:
        "results/benchmarks/pretrain_on_central_images/{dataset}/{query}/seed{seed}/{pretraining}.tsv"
    wildcard_constraints:
        query=CENTRAL_IMAGES,
    priority: 10
    conda:
        "../environment.yml"
    resources:
        gpu=1,
    params:
        settings=settings("pretrain"),
    script:
        "../workflow_scripts/steps/pretrain_on_central_images.py"
