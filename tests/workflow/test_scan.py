"""`snakemake scan`: a correct experiment is clean, and what leaks into it is found."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from workflow_scripts.evolution.votes import count_votes
from workflow_scripts.files import write_arrays
from workflow_scripts.shards import Shards

pytestmark = pytest.mark.slow


def test_a_correct_experiment_is_clean_and_leaks_are_found(built):
    built.build("scan")
    log = built.results / "sensitive/logs/scan/small.log"
    assert ": 0 findings in results/runs/, " in log.read_text()

    train = load_file(built.one("sensitive/digits~*/train.safetensors"))
    embeddings = built.one("sensitive/digits~*/embeddings/pixels~*/train/1-of-1.safetensors")
    lookahead = built.one("public/initial/*/seed0/lookahead/*/1-of-1.safetensors")
    votes = count_votes(Shards(embeddings), Shards(lookahead))
    run = built.one("runs/digits~*/sim-pe~*/eps10/seed0")

    figure = np.full((40, 90, 3), 255, np.uint8)
    figure[11:19, 50:58] = train["images"][5]
    Image.fromarray(figure).save(built.results / "reports/small/figures/planted.png")
    counts = np.bincount(train["labels"]).tolist()
    (run / "planted.json").write_text(json.dumps({"votes_per_class": counts}))
    row = load_file(embeddings)["embeddings"][9:10]
    write_arrays(built.results / "logs/planted.safetensors", {"mean": row * np.float64(1)})
    write_arrays(run / "iter1/planted", {"x": votes, "labels": load_file(lookahead)["labels"]})

    # Asked again it looks again, though no input has changed.
    outcome = built.snakemake("--cores", "1", "scan")
    assert outcome.status != 0
    here, found = str(run.relative_to(built.folder)), log.read_text()
    for line in (
        "results/reports/small/figures/planted.png: image: private images 5 of digits~",
        f"{here}/planted.json: class counts: of the training split of digits~",
        "results/logs/planted.safetensors: embedding: embedding 0, rows 9 of digits~",
        f"{here}/iter1/planted: histogram: x: its sums are those of clean votes of digits~",
    ):
        assert line in found
    # The row is of pixels, so it is the image as well.
    assert found.count(" of digits~") == 5
    assert "sensitive/logs/scan/small.log" in outcome.text and "planted" not in outcome.text
