# DP-SGD: calibrate → finetune → sample → account → release, whatever the training starts from.


rule finetune:
    """MECHANISM. Train a model on the sensitive images with DP-SGD; write-once, and resumable."""
    input:
        train="results/sensitive/{dataset}/train.safetensors",
        budget="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/budget.json",
        start=training_start,
    output:
        pipeline=directory("results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/finetuned/pipeline"),
        ledger="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/finetuned/ledger.json",
    log:
        "results/sensitive/{dataset}/logs/finetune/{method}/eps{epsilon}/seed{seed}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/finetune/{method}/eps{epsilon}/seed{seed}.tsv"
    wildcard_constraints:
        method=TRAININGS,
    conda:
        "../environment.yml"
    resources:
        gpu=1,
    params:
        settings=settings("finetune"),
    script:
        "../workflow_scripts/steps/finetune.py"


use rule initialise as sample with:
    input:
        model=trained_model,
    output:
        population="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/final/{scatteritem}.safetensors",
    log:
        "results/logs/sample/{dataset}/{method}/eps{epsilon}/seed{seed}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/sample.{scatteritem}.tsv"
    wildcard_constraints:
        method=SAMPLED,
    resources:
        gpu=1,
    params:
        settings=settings("sample"),
