# From metrics to tables, figures and one HTML page. Reads metrics and released files, no images of
# the sensitive data.


rule collect_metrics:
    """Every metric of every run, one row each."""
    input:
        metrics=experiment_metrics,
    output:
        metrics="results/reports/{experiment}/metrics.csv",
    log:
        "results/logs/report/{experiment}/collect_metrics.log",
    benchmark:
        "results/benchmarks/report/{experiment}/collect_metrics.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("collect_metrics"),
    script:
        "../workflow_scripts/steps/collect_metrics.py"


rule collect_iterations:
    """Accuracy by iteration of every run of Private Evolution, one row each."""
    input:
        metrics=experiment_iterations,
    output:
        iterations="results/reports/{experiment}/iterations.csv",
    log:
        "results/logs/report/{experiment}/collect_iterations.log",
    benchmark:
        "results/benchmarks/report/{experiment}/collect_iterations.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("collect_iterations"),
    script:
        "../workflow_scripts/steps/collect_iterations.py"


rule collect_diagnostics:
    """What the noisy votes of every iteration say of themselves, one row each."""
    input:
        diagnostics=experiment_diagnostics,
    output:
        diagnostics="results/reports/{experiment}/diagnostics.csv",
    log:
        "results/logs/report/{experiment}/collect_diagnostics.log",
    benchmark:
        "results/benchmarks/report/{experiment}/collect_diagnostics.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("collect_diagnostics"),
    script:
        "../workflow_scripts/steps/collect_diagnostics.py"


rule draw_diagnostics:
    """Signal and noise of the votes by iteration."""
    input:
        diagnostics="results/reports/{experiment}/diagnostics.csv",
    output:
        figure=report(
            "results/reports/{experiment}/figures/diagnostics.png",
            caption="report/diagnostics.rst",
            category="Diagnostics",
            labels={"result": "signal and noise of the votes"},
        ),
    log:
        "results/logs/report/{experiment}/draw_diagnostics.log",
    benchmark:
        "results/benchmarks/report/{experiment}/draw_diagnostics.tsv"
    conda:
        "../environment.yml"
    script:
        "../workflow_scripts/steps/draw_diagnostics.py"


rule collect_runs:
    """Where every run lies, what it spent and what it took."""
    input:
        statements=experiment_statements,
        releases=experiment_releases,
    output:
        runs="results/reports/{experiment}/runs.csv",
    log:
        "results/logs/report/{experiment}/collect_runs.log",
    benchmark:
        "results/benchmarks/report/{experiment}/collect_runs.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("collect_runs"),
    script:
        "../workflow_scripts/steps/collect_runs.py"


rule tabulate:
    """The comparison table: methods × ε, mean ± sd over seeds."""
    input:
        metrics="results/reports/{experiment}/metrics.csv",
        runs="results/reports/{experiment}/runs.csv",
        total="results/reports/{experiment}/privacy-total.json",
    output:
        csv="results/reports/{experiment}/table.csv",
        md="results/reports/{experiment}/table.md",
        tex="results/reports/{experiment}/table.tex",
        html=report(
            "results/reports/{experiment}/table.html",
            caption="report/table.rst",
            category="Comparison",
            labels={"result": "table"},
        ),
    log:
        "results/logs/report/{experiment}/tabulate.log",
    benchmark:
        "results/benchmarks/report/{experiment}/tabulate.tsv"
    conda:
        "../environment.yml"
    script:
        "../workflow_scripts/steps/tabulate.py"


rule draw_accuracy_by_epsilon:
    """Accuracy of every method by ε, for the experiment's first classifier."""
    input:
        table="results/reports/{experiment}/table.csv",
    output:
        figure=report(
            "results/reports/{experiment}/figures/accuracy_by_epsilon.png",
            caption="report/accuracy_by_epsilon.rst",
            category="Comparison",
            labels={"result": "accuracy by ε"},
        ),
    log:
        "results/logs/report/{experiment}/draw_accuracy_by_epsilon.log",
    benchmark:
        "results/benchmarks/report/{experiment}/draw_accuracy_by_epsilon.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("report"),
    script:
        "../workflow_scripts/steps/draw_accuracy_by_epsilon.py"


rule draw_accuracy_by_iteration:
    """Accuracy by iteration of Private Evolution, for the experiment's first classifier."""
    input:
        iterations="results/reports/{experiment}/iterations.csv",
    output:
        figure=report(
            "results/reports/{experiment}/figures/accuracy_by_iteration.png",
            caption="report/accuracy_by_iteration.rst",
            category="Comparison",
            labels={"result": "accuracy by iteration"},
        ),
    log:
        "results/logs/report/{experiment}/draw_accuracy_by_iteration.log",
    benchmark:
        "results/benchmarks/report/{experiment}/draw_accuracy_by_iteration.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("report"),
    script:
        "../workflow_scripts/steps/draw_accuracy_by_iteration.py"


rule draw_samples:
    """Released images: one of each class, for every method, ε and iteration (first seed)."""
    input:
        populations=pictured_populations,
        # Nothing of a run is pictured before its account.
        statements=pictured_statements,
    output:
        figure=report(
            "results/reports/{experiment}/figures/samples_{dataset}.png",
            caption="report/samples.rst",
            category="Samples",
            labels={"data set": "{dataset}"},
        ),
    log:
        "results/logs/report/{experiment}/draw_samples.{dataset}.log",
    benchmark:
        "results/benchmarks/report/{experiment}/draw_samples.{dataset}.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("draw_samples"),
    script:
        "../workflow_scripts/steps/draw_samples.py"


rule draw_query:
    """The noisy counts of a semantic query, their noise, and what was chosen (first seed)."""
    input:
        selection=drawn_selection,
        summary=drawn_summary,
        # Nothing of a run is pictured before its account.
        statements=query_statements,
    output:
        figure=report(
            "results/reports/{experiment}/figures/query_{dataset}_{query}_{pretraining}.png",
            caption="report/query.rst",
            category="Diagnostics",
            labels={"result": "semantic query"},
        ),
    log:
        "results/logs/report/{experiment}/draw_query.{dataset}.{query}.{pretraining}.log",
    benchmark:
        "results/benchmarks/report/{experiment}/draw_query.{dataset}.{query}.{pretraining}.tsv"
    conda:
        "../environment.yml"
    script:
        "../workflow_scripts/steps/draw_query.py"


rule write_report:
    """One self-contained HTML page."""
    input:
        metrics="results/reports/{experiment}/metrics.csv",
        runs="results/reports/{experiment}/runs.csv",
        total="results/reports/{experiment}/privacy-total.json",
        table="results/reports/{experiment}/table.csv",
        figures=report_figures,
    output:
        html="results/reports/{experiment}/report.html",
    log:
        "results/logs/report/{experiment}/write_report.log",
    benchmark:
        "results/benchmarks/report/{experiment}/write_report.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("report"),
    script:
        "../workflow_scripts/steps/write_report.py"
