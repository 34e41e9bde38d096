# Budget before, account after: nothing is released that costs more than its run may spend.


rule calibrate:
    """(ε, δ, T) → σ, verified by the accountant that will judge the run."""
    output:
        budget="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/budget.json",
    log:
        "results/logs/calibrate/{dataset}/{method}/eps{epsilon}/seed{seed}.log",
    benchmark:
        "results/benchmarks/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/calibrate.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("calibrate"),
    script:
        "../workflow_scripts/steps/calibrate.py"


rule account:
    """Compose the ledgers of what was really executed; fail if the budget is exceeded."""
    input:
        ledgers=run_ledgers,
    output:
        privacy="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/privacy.json",
    log:
        "results/logs/account/{dataset}/{method}/eps{epsilon}/seed{seed}.log",
    benchmark:
        "results/benchmarks/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/account.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("account"),
    script:
        "../workflow_scripts/steps/account.py"


rule release:
    """A run's last population as images and labels, once its privacy statement is there."""
    input:
        privacy="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/privacy.json",
        population=final_population_files,
    output:
        release="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/release.safetensors",
    log:
        "results/logs/release/{dataset}/{method}/eps{epsilon}/seed{seed}.log",
    benchmark:
        "results/benchmarks/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/release.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("release"),
    script:
        "../workflow_scripts/steps/release.py"
