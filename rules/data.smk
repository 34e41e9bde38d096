# Data sets: fetched or rendered, checked against their declarations, stored as safetensors.


rule fetch_sensitive:
    """Fetch a file of a sensitive data set and verify its hash. It stays in the sensitive zone."""
    output:
        file="results/sensitive/{dataset}/source/{file}",
    log:
        "results/sensitive/{dataset}/logs/fetch_sensitive/{file}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/fetch_sensitive/{file}.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("fetch_sensitive"),
    script:
        "../workflow_scripts/steps/fetch_file.py"


rule prepare_sensitive:
    """Read, check and split a sensitive data set. Everything it writes is sensitive."""
    input:
        sensitive_sources,
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


rule fetch_public:
    """Fetch a file of a public data set and verify its hash."""
    output:
        file="results/public/datasets/{public}/source/{file}",
    log:
        "results/logs/fetch_public/{public}/{file}.log",
    benchmark:
        "results/benchmarks/fetch_public/{public}/{file}.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("fetch_public"),
    script:
        "../workflow_scripts/steps/fetch_file.py"


rule prepare_public:
    """Read and check a public data set."""
    input:
        public_sources,
    output:
        images="results/public/datasets/{public}/images.safetensors",
    log:
        "results/logs/prepare_public/{public}.log",
    benchmark:
        "results/benchmarks/prepare_public/{public}.tsv"
    wildcard_constraints:
        public=PREPARED,
    conda:
        "../environment.yml"
    params:
        settings=settings("prepare_public"),
    script:
        "../workflow_scripts/steps/prepare_public.py"


rule render_public:
    """Render a public data set with a simulator."""
    output:
        images="results/public/datasets/{public}/images.safetensors",
    log:
        "results/logs/render_public/{public}.log",
    benchmark:
        "results/benchmarks/render_public/{public}.tsv"
    wildcard_constraints:
        public=RENDERED,
    conda:
        "../environment.yml"
    params:
        settings=settings("render"),
    script:
        "../workflow_scripts/steps/render_public.py"
