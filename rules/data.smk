# Data sets: fetched or rendered, checked against their declarations, stored as safetensors.


rule prepare_sensitive:
    """Read, check and split a sensitive data set. Everything it writes is sensitive."""
    input:
        source_files,
    output:
        train="results/sensitive/{dataset}/train.safetensors",
        test="results/sensitive/{dataset}/test.safetensors",
    log:
        "results/sensitive/{dataset}/logs/prepare_sensitive.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/prepare_sensitive.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("prepare"),
    script:
        "../workflow_scripts/steps/prepare_sensitive.py"


rule render_public:
    """Render a public data set with a simulator."""
    output:
        images="results/public/datasets/{public}/images.safetensors",
    log:
        "results/logs/render_public/{public}.log",
    benchmark:
        "results/benchmarks/render_public/{public}.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("render"),
    script:
        "../workflow_scripts/steps/render_public.py"
