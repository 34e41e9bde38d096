# A grid of the shape of ours in which rules say nothing but strings, and a lambda where an input is of
# the iteration before: what Snakemake itself takes (benchmarks/dag.py).

T = int(config["iterations"])
CHAINS = [f"chain{i}" for i in range(int(config["chains"]))]
SHORT = [f"short{i}" for i in range(int(config["short"]))]


wildcard_constraints:
    run="[a-z]+[0-9]+",
    t="[0-9]+",


rule all:
    input:
        expand("results/evaluation/{run}/{kind}.json", run=CHAINS + SHORT, kind=["utility", "fidelity"]),


rule prepare:
    output:
        "results/train",
    shell:
        "touch {output}"


rule calibrate:
    output:
        "results/runs/{run}/budget.json",
    log:
        "results/logs/{run}/calibrate.log",
    benchmark:
        "results/benchmarks/{run}/calibrate.tsv"
    params:
        "calibrate {run}",
    shell:
        "touch {output}"


rule initialise:
    output:
        "results/runs/{run}/iter0/population",
        "results/runs/{run}/iter0/lookahead",
    log:
        "results/logs/{run}/initialise.log",
    benchmark:
        "results/benchmarks/{run}/initialise.tsv"
    params:
        "initialise {run}",
    shell:
        "touch {output}"


rule vote:
    input:
        "results/train",
        "results/runs/{run}/budget.json",
        lambda w: f"results/runs/{w.run}/iter{int(w.t) - 1}/lookahead",
    output:
        "results/runs/{run}/iter{t}/votes",
        "results/runs/{run}/iter{t}/ledger.json",
    log:
        "results/logs/{run}/vote{t}.log",
    benchmark:
        "results/benchmarks/{run}/vote{t}.tsv"
    params:
        "vote {run} {t}",
    shell:
        "touch {output}"


rule select:
    input:
        "results/runs/{run}/iter{t}/votes",
        "results/runs/{run}/budget.json",
        lambda w: f"results/runs/{w.run}/iter{int(w.t) - 1}/population",
    output:
        "results/runs/{run}/iter{t}/parents",
        "results/runs/{run}/iter{t}/diagnostics.json",
    log:
        "results/logs/{run}/select{t}.log",
    benchmark:
        "results/benchmarks/{run}/select{t}.tsv"
    params:
        "select {run} {t}",
    shell:
        "touch {output}"


rule vary:
    input:
        "results/runs/{run}/iter{t}/parents",
    output:
        "results/runs/{run}/iter{t}/population",
        "results/runs/{run}/iter{t}/lookahead",
    log:
        "results/logs/{run}/vary{t}.log",
    benchmark:
        "results/benchmarks/{run}/vary{t}.tsv"
    params:
        "vary {run} {t}",
    shell:
        "touch {output}"


rule finetune:
    input:
        "results/train",
        "results/runs/{run}/budget.json",
    output:
        "results/runs/{run}/finetuned/model",
        "results/runs/{run}/finetuned/ledger.json",
    log:
        "results/logs/{run}/finetune.log",
    benchmark:
        "results/benchmarks/{run}/finetune.tsv"
    params:
        "finetune {run}",
    shell:
        "touch {output}"


rule sample:
    input:
        "results/runs/{run}/finetuned/model",
    output:
        "results/runs/{run}/final",
    log:
        "results/logs/{run}/sample.log",
    benchmark:
        "results/benchmarks/{run}/sample.tsv"
    params:
        "sample {run}",
    shell:
        "touch {output}"


rule account:
    input:
        "results/runs/{run}/finetuned/ledger.json",
    output:
        "results/runs/{run}/privacy.json",
    log:
        "results/logs/{run}/account.log",
    benchmark:
        "results/benchmarks/{run}/account.tsv"
    params:
        "account {run}",
    shell:
        "touch {output}"


use rule account as account_chain with:
    input:
        expand("results/runs/{{run}}/iter{t}/ledger.json", t=range(1, T + 1)),
    wildcard_constraints:
        run="chain[0-9]+",


ruleorder: account_chain > account


rule release:
    input:
        "results/runs/{run}/privacy.json",
        "results/runs/{run}/final",
    output:
        "results/runs/{run}/release",
        "results/runs/{run}/statement.md",
        "results/runs/{run}/SHA256SUMS",
    log:
        "results/logs/{run}/release.log",
    benchmark:
        "results/benchmarks/{run}/release.tsv"
    params:
        "release {run}",
    shell:
        "touch {output}"


use rule release as release_chain with:
    input:
        "results/runs/{run}/privacy.json",
        f"results/runs/{{run}}/iter{T}/population",
    wildcard_constraints:
        run="chain[0-9]+",


ruleorder: release_chain > release


rule evaluate:
    input:
        "results/runs/{run}/release",
        "results/train",
    output:
        "results/evaluation/{run}/{kind}.json",
    log:
        "results/logs/{run}/evaluate.{kind}.log",
    benchmark:
        "results/benchmarks/{run}/evaluate.{kind}.tsv"
    params:
        "evaluate {run} {kind}",
    shell:
        "touch {output}"
