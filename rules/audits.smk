# `snakemake audit`: does the code of the mechanisms do what the ledgers say? Records made for it, no
# sensitive data and nothing of the experiment. Changed code is audited anew.

from workflow_scripts.audits.subject import audit_settings

AUDITS = ["votes", "query", "dp_sgd", "accounting"]


localrules:
    audit,


rule audit_votes:
    """Private Evolution's votes: sensitivity, noise, two worlds."""
    output:
        findings="results/audits/votes.json",
    log:
        "results/logs/audits/votes.log",
    benchmark:
        "results/benchmarks/audits/votes.tsv"
    conda:
        "../environment.yml"
    params:
        settings=lambda wildcards: audit_settings(),
    script:
        "../workflow_scripts/steps/audit_votes.py"


rule audit_query:
    """PrivImage's semantic query, and noisy class counts: sensitivity, noise, two worlds."""
    output:
        findings="results/audits/query.json",
    log:
        "results/logs/audits/query.log",
    benchmark:
        "results/benchmarks/audits/query.tsv"
    conda:
        "../environment.yml"
    params:
        settings=lambda wildcards: audit_settings(),
    script:
        "../workflow_scripts/steps/audit_query.py"


rule audit_dp_sgd:
    """DP-SGD: clipping, noise, two worlds, interruption, sampler."""
    output:
        findings="results/audits/dp_sgd.json",
    log:
        "results/logs/audits/dp_sgd.log",
    benchmark:
        "results/benchmarks/audits/dp_sgd.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=1,
    params:
        settings=lambda wildcards: audit_settings(),
    script:
        "../workflow_scripts/steps/audit_dp_sgd.py"


rule audit_accounting:
    """Privacy loss distributions against summation, the closed form and Opacus."""
    output:
        findings="results/audits/accounting.json",
    log:
        "results/logs/audits/accounting.log",
    benchmark:
        "results/benchmarks/audits/accounting.tsv"
    conda:
        "../environment.yml"
    params:
        settings=lambda wildcards: audit_settings(),
    script:
        "../workflow_scripts/steps/audit_accounting.py"


rule collect_audits:
    """All findings as one table."""
    input:
        findings=expand("results/audits/{audit}.json", audit=AUDITS),
    output:
        csv="results/audits/audits.csv",
        md="results/audits/audits.md",
    log:
        "results/logs/audits/collect_audits.log",
    benchmark:
        "results/benchmarks/audits/collect_audits.tsv"
    conda:
        "../environment.yml"
    script:
        "../workflow_scripts/steps/collect_audits.py"


rule check_audits:
    """Fail, and name them, if there are checks that failed."""
    input:
        # The table first: it stays when this fails.
        md="results/audits/audits.md",
        findings=expand("results/audits/{audit}.json", audit=AUDITS),
    output:
        verdict="results/audits/verdict.json",
    log:
        "results/logs/audits/check_audits.log",
    benchmark:
        "results/benchmarks/audits/check_audits.tsv"
    conda:
        "../environment.yml"
    script:
        "../workflow_scripts/steps/check_audits.py"


rule audit:
    """Print the table of audits, once all have passed."""
    input:
        md="results/audits/audits.md",
        verdict="results/audits/verdict.json",
    log:
        "results/logs/audits/audit.log",
    conda:
        "../environment.yml"
    shell:
        "cat {input.md} | tee {log}"
