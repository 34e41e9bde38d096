# Encoders: trained on public data, applied to the sensitive images inside their zone.


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
    conda:
        "../environment.yml"
    params:
        settings=settings("train_encoder"),
    script:
        "../workflow_scripts/steps/train_encoder.py"


rule embed_sensitive:
    """Embed the sensitive images. Everything it writes is sensitive."""
    input:
        images="results/sensitive/{dataset}/{split}.safetensors",
        weights=encoder_weights,
    output:
        embeddings="results/sensitive/{dataset}/embeddings/{encoder}/{split}.safetensors",
    log:
        "results/sensitive/{dataset}/logs/embed_sensitive/{encoder}.{split}.log",
    benchmark:
        "results/sensitive/{dataset}/benchmarks/embed_sensitive/{encoder}.{split}.tsv"
    conda:
        "../environment.yml"
    params:
        settings=settings("embed"),
    script:
        "../workflow_scripts/steps/embed_sensitive.py"
