# Evaluation against the sensitive data: for the benchmark, never an input of a method.


rule evaluate_utility:
    """Accuracy on real test data of a classifier trained on a release."""
    input:
        train="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/release.safetensors",
        test="results/sensitive/{dataset}/test.safetensors",
    output:
        metrics="results/evaluation/{dataset}/{method}/eps{epsilon}/seed{seed}/utility/{classifier}.json",
    log:
        "results/sensitive/{dataset}/logs/evaluate_utility/{method}/eps{epsilon}/seed{seed}/{classifier}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/evaluate_utility/{method}/eps{epsilon}/seed{seed}/{classifier}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=gpu_of_classifier,
    params:
        settings=settings("utility"),
    script:
        "../workflow_scripts/steps/evaluate_utility.py"


use rule evaluate_utility as evaluate_real_utility with:
    input:
        train="results/sensitive/{dataset}/train.safetensors",
        test="results/sensitive/{dataset}/test.safetensors",
    output:
        metrics="results/evaluation/{dataset}/real/seed{seed}/utility/{classifier}.json",
    log:
        "results/sensitive/{dataset}/logs/evaluate_utility/real/seed{seed}/{classifier}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/evaluate_utility/real/seed{seed}/{classifier}.tsv"


rule evaluate_fidelity:
    """Fréchet and kernel distance, precision and recall of a release in an encoder's space."""
    input:
        train="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/release.safetensors",
        test="results/sensitive/{dataset}/test.safetensors",
        weights=fidelity_weights,
    output:
        metrics="results/evaluation/{dataset}/{method}/eps{epsilon}/seed{seed}/fidelity/{fidelity}.json",
    log:
        "results/sensitive/{dataset}/logs/evaluate_fidelity/{method}/eps{epsilon}/seed{seed}/{fidelity}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/evaluate_fidelity/{method}/eps{epsilon}/seed{seed}/{fidelity}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=gpu_of_fidelity,
    params:
        settings=settings("fidelity"),
    script:
        "../workflow_scripts/steps/evaluate_fidelity.py"


use rule evaluate_fidelity as evaluate_real_fidelity with:
    input:
        train="results/sensitive/{dataset}/train.safetensors",
        test="results/sensitive/{dataset}/test.safetensors",
        weights=fidelity_weights,
    output:
        metrics="results/evaluation/{dataset}/real/seed{seed}/fidelity/{fidelity}.json",
    log:
        "results/sensitive/{dataset}/logs/evaluate_fidelity/real/seed{seed}/{fidelity}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/evaluate_fidelity/real/seed{seed}/{fidelity}.tsv"


rule evaluate_iterations:
    """Accuracy of a classifier trained on the populations of a run, t = 0 … T."""
    input:
        populations=shown_populations,
        # Nothing of a run is measured or pictured before its account.
        privacy="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/privacy.json",
        test="results/sensitive/{dataset}/test.safetensors",
    output:
        metrics="results/evaluation/{dataset}/{method}/eps{epsilon}/seed{seed}/iterations/{classifier}.json",
    log:
        "results/sensitive/{dataset}/logs/evaluate_iterations/{method}/eps{epsilon}/seed{seed}/{classifier}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/evaluate_iterations/{method}/eps{epsilon}/seed{seed}/{classifier}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=gpu_of_classifier,
    params:
        settings=settings("iterations"),
    script:
        "../workflow_scripts/steps/evaluate_iterations.py"
