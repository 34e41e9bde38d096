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
    """A run's last or chosen population, with its privacy on one page, and their checksums."""
    input:
        privacy="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/privacy.json",
        population=releasable_populations,
        choice=choice_of_iteration,
    output:
        release="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/release.safetensors",
        statement="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/statement.md",
        checksums="results/runs/{dataset}/{method}/eps{epsilon}/seed{seed}/SHA256SUMS",
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


rule add_up:
    """What all releases of a sensitive data set, ever, cost together."""
    input:
        ledgers=ledgers_of_dataset,
        register=register_of_dataset,
    output:
        total="results/accounts/{name}/privacy-total.json",
    log:
        "results/logs/add_up/{name}.log",
    benchmark:
        "results/benchmarks/add_up/{name}.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("add_up"),
    script:
        "../workflow_scripts/steps/add_up.py"


rule add_up_published:
    """What publishing an experiment's runs costs together."""
    input:
        statements=experiment_statements,
        totals=experiment_totals,
    output:
        total="results/reports/{experiment}/privacy-total.json",
    log:
        "results/logs/report/{experiment}/add_up_published.log",
    benchmark:
        "results/benchmarks/report/{experiment}/add_up_published.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("add_up_published"),
    script:
        "../workflow_scripts/steps/add_up_published.py"


# What it finds is in its log. Without an output (a benchmark is one) it looks whenever it is asked.
rule scan:
    """Look for private data in everything that may be shown."""
    input:
        images=scanned_images,
        embeddings=scanned_embeddings,
        # What is looked at is finished.
        report=f"results/reports/{EXPERIMENT}/report.html",
    log:
        f"results/sensitive/logs/scan/{EXPERIMENT}.log",
    conda:
        "../environment.yml"
    params:
        settings=settings("scan"),
    script:
        "../workflow_scripts/steps/scan.py"
