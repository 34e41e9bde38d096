# Generators that are trained by the workflow, fetched, or made of a public data set.


rule train_generator:
    """Train a class-conditional diffusion model and save it as a diffusers pipeline."""
    input:
        images=generator_images,
    output:
        pipeline=directory("results/public/generators/{generator}/pipeline"),
    log:
        "results/logs/train_generator/{generator}.log",
    benchmark:
        "results/benchmarks/train_generator/{generator}.tsv"
    wildcard_constraints:
        generator=TRAINED_GENERATORS,
    # The longest job of a small experiment, and everything of its method waits for it.
    priority: 10
    conda:
        "../environment.yml"
    resources:
        gpu=1,
    params:
        settings=settings("train_generator"),
    script:
        "../workflow_scripts/steps/train_generator.py"


rule fetch_generator:
    """Fetch a diffusers pipeline from a hub, or copy a local one."""
    input:
        generator_source,
    output:
        pipeline=directory("results/public/generators/{generator}/pipeline"),
    log:
        "results/logs/fetch_generator/{generator}.log",
    benchmark:
        "results/benchmarks/fetch_generator/{generator}.tsv"
    wildcard_constraints:
        generator=FETCHED_GENERATORS,
    conda:
        "../environment.yml"
    params:
        settings=settings("fetch_generator"),
    script:
        "../workflow_scripts/steps/fetch_generator.py"


rule embed_pool:
    """Embed a shard of the images of a pool."""
    input:
        images=generator_images,
        weights=pool_weights,
    output:
        embeddings="results/public/generators/{generator}/embeddings/{scatteritem}.safetensors",
    log:
        "results/logs/embed_pool/{generator}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/embed_pool/{generator}/{scatteritem}.tsv"
    wildcard_constraints:
        generator=POOLS,
    conda:
        "../environment.yml"
    resources:
        gpu=gpu_of_pool,
    params:
        settings=settings("embed_pool"),
    script:
        "../workflow_scripts/steps/embed_images.py"


rule index_pool:
    """The index in which a pool's neighbours are looked up."""
    input:
        embeddings=pool_embeddings,
    output:
        index="results/public/generators/{generator}/index",
    log:
        "results/logs/index_pool/{generator}.log",
    benchmark:
        "results/benchmarks/index_pool/{generator}.tsv"
    wildcard_constraints:
        generator=POOLS,
    conda:
        "../environment.yml"
    script:
        "../workflow_scripts/steps/index_pool.py"
