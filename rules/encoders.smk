# Encoders: trained on public data or fetched, applied to the sensitive images inside their zone.


rule train_encoder:
    """Train an encoder to classify a public data set."""
    input:
        images=encoder_training_images,
    output:
        weights="results/public/encoders/{encoder}/encoder.safetensors",
    log:
        "results/logs/train_encoder/{encoder}.log",
    benchmark:
        "results/benchmarks/train_encoder/{encoder}.tsv"
    wildcard_constraints:
        encoder=TRAINED_ENCODERS,
    conda:
        "../environment.yml"
    resources:
        gpu=1,
    params:
        settings=settings("train_encoder"),
    script:
        "../workflow_scripts/steps/train_encoder.py"


rule fetch_encoder:
    """Fetch or copy an encoder's weights and verify their SHA-256."""
    input:
        encoder_source,
    output:
        weights="results/public/encoders/{encoder}/weights",
    log:
        "results/logs/fetch_encoder/{encoder}.log",
    benchmark:
        "results/benchmarks/fetch_encoder/{encoder}.tsv"
    wildcard_constraints:
        encoder=FETCHED_ENCODERS,
    conda:
        "../environment.yml"
    params:
        settings=settings("fetch_encoder"),
    script:
        "../workflow_scripts/steps/fetch_encoder.py"


rule embed_sensitive:
    """Embed a shard of the sensitive images. Everything it writes is sensitive."""
    input:
        images="results/sensitive/{dataset}/{split}.safetensors",
        weights=encoder_weights,
    output:
        embeddings="results/sensitive/{dataset}/embeddings/{encoder}/{split}/{scatteritem}.safetensors",
    log:
        "results/sensitive/{dataset}/logs/embed_sensitive/{encoder}/{split}.{scatteritem}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/embed_sensitive/{encoder}/{split}.{scatteritem}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=gpu_of_encoder,
    params:
        settings=settings("embed"),
    script:
        "../workflow_scripts/steps/embed_images.py"
